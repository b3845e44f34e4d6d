//! The checks, by area.

mod containers;
mod random;
mod sandboxes;
mod version;

use crate::check::Check;

/// All of them, by area.
pub fn all() -> Vec<Check> {
    [vec![version::CHECKS, random::CHECKS], sandboxes::checks(), containers::checks()].concat().concat()
}
