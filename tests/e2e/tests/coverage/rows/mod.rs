//! The table: what is done about every field, by area.

mod container;
mod events;
mod images;
mod mounts;
mod resources;
mod runtime;
mod sandbox;
mod security;
mod services;
mod stats;
mod streaming;
mod windows;

use super::table::Message;

/// All of it, in the document's order.
pub const TABLE: &[(&str, &[Message])] = &[
    ("The services", services::ROWS),
    ("Pod sandboxes", sandbox::ROWS),
    ("Containers", container::ROWS),
    ("Mounts and devices", mounts::ROWS),
    ("Security", security::ROWS),
    ("Resources", resources::ROWS),
    ("Images", images::ROWS),
    ("Exec, attach, port-forward and logs", streaming::ROWS),
    ("Stats and metrics", stats::ROWS),
    ("Events", events::ROWS),
    ("The runtime", runtime::ROWS),
    ("Windows", windows::ROWS),
];
