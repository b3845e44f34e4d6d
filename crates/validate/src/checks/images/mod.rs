//! Images.

mod list;
mod pull;

use crate::check::Check;

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![pull::CHECKS, list::CHECKS]
}
