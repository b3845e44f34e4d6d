//! The checks, by area.

mod containers;
mod events;
mod exec;
mod images;
mod logs;
mod random;
mod sandboxes;
mod stats;
mod streaming;
mod version;

use crate::check::Check;

/// All of them, by area.
pub fn all() -> Vec<Check> {
    let areas = [
        vec![version::CHECKS],
        sandboxes::checks(),
        containers::checks(),
        vec![logs::CHECKS, exec::CHECKS, streaming::CHECKS],
        stats::checks(),
        vec![events::CHECKS],
        images::checks(),
        vec![random::CHECKS],
    ];
    areas.concat().concat()
}
