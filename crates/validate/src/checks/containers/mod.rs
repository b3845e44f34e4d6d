//! Containers.

mod ends;
mod filters;
mod image_volumes;
mod lifecycle;
mod mounts;
mod process;
mod resources;
mod security;
mod status;
mod stop;
mod users;

use crate::check::Check;

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![
        lifecycle::CHECKS,
        status::CHECKS,
        filters::CHECKS,
        process::CHECKS,
        ends::CHECKS,
        stop::CHECKS,
        mounts::CHECKS,
        image_volumes::CHECKS,
        users::CHECKS,
        security::CHECKS,
        resources::CHECKS,
    ]
}
