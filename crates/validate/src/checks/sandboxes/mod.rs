//! Pod sandboxes.

mod filters;
mod lifecycle;
mod status;

use crate::check::Check;

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![lifecycle::CHECKS, status::CHECKS, filters::CHECKS]
}
