//! Pod sandboxes.

mod filters;
mod lifecycle;
mod namespaces;
mod network;
mod resources;
mod status;

use crate::check::Check;

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![lifecycle::CHECKS, status::CHECKS, filters::CHECKS, network::CHECKS, namespaces::CHECKS, resources::CHECKS]
}
