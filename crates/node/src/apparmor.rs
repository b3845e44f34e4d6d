//! The AppArmor profile of containers that ask for the runtime's default.

use corten_host::apparmor::{is_enabled, is_loaded, load};

use crate::error::{Error, Result};
use crate::spec::AppArmor;

/// The profile's name. One that the node's administrator has loaded under it is used as it is.
pub const DEFAULT_PROFILE: &str = "corten-default";

const FIELD: &str = "config.linux.security_context.apparmor.localhost_ref";

const TEXT: &str = include_str!("apparmor.profile");

/// Whether the kernel has AppArmor; if so, the default profile is loaded where it is missing. Blocks.
pub fn prepare() -> AppArmor {
    if !is_enabled() {
        return AppArmor::Absent;
    }
    let default = match ensure() {
        Ok(()) => Some(DEFAULT_PROFILE.to_owned()),
        Err(error) => {
            tracing::warn!(%error, "containers have no AppArmor profile unless they name one");
            None
        }
    };
    AppArmor::Present { default }
}

/// Checks that a container's profile is there. The default one is loaded again if somebody has removed it. Blocks.
///
/// # Errors
/// [`Error::Invalid`] for a profile by name that the kernel has not.
pub fn check(profile: Option<&str>) -> Result<()> {
    match profile {
        None | Some("unconfined") => Ok(()),
        Some(DEFAULT_PROFILE) => ensure(),
        Some(profile) => match is_loaded(profile) {
            Some(false) => Err(Error::invalid(FIELD, profile, "is not loaded on this node")),
            // Where nobody can tell, the kernel does when the container starts.
            Some(true) | None => Ok(()),
        },
    }
}

fn ensure() -> Result<()> {
    if is_loaded(DEFAULT_PROFILE) == Some(true) {
        return Ok(());
    }
    load(TEXT).map_err(|error| Error::node(format!("load the AppArmor profile {DEFAULT_PROFILE}"), error))
}
