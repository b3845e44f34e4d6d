//! Containers.

mod lifecycle;

use crate::check::Check;

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![lifecycle::CHECKS]
}
