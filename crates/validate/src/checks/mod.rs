//! The checks, by area.

mod containers;
mod sandboxes;
mod version;

use crate::check::Check;

/// All of them, by area.
pub fn all() -> Vec<Check> {
    [vec![version::CHECKS], sandboxes::checks(), containers::checks()].concat().concat()
}
