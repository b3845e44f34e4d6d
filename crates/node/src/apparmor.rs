//! The AppArmor profile of containers that ask for the runtime's default.

use std::path::Path;

use corten_host::apparmor::{self, is_enabled, is_loaded};

use crate::error::{Error, Result};
use crate::spec::AppArmor;

/// The profile's name.
pub const DEFAULT_PROFILE: &str = "corten-default";

/// Where the node's administrator may have another profile of this name, which is not replaced then.
const OVERRIDE: &str = "/etc/apparmor.d/corten-default";

const FIELD: &str = "config.linux.security_context.apparmor.localhost_ref";

const TEXT: &str = include_str!("apparmor.profile");

/// Whether the kernel has AppArmor; if so, the default profile is loaded, also over that of an earlier version. Blocks.
pub fn prepare() -> AppArmor {
    if !is_enabled() {
        return AppArmor::Absent;
    }
    if Path::new(OVERRIDE).exists() && is_loaded(DEFAULT_PROFILE) == Some(true) {
        return AppArmor::Present { default: Some(DEFAULT_PROFILE.to_owned()) };
    }
    match apparmor::load(TEXT) {
        Ok(()) => {}
        Err(error @ apparmor::Error::NoParser) => {
            tracing::warn!(%error, "containers have no AppArmor profile unless they name one");
            return AppArmor::Present { default: None };
        }
        // It is tried again for each container.
        Err(error) => tracing::error!(%error, "the AppArmor profile {DEFAULT_PROFILE} is not loaded"),
    }
    AppArmor::Present { default: Some(DEFAULT_PROFILE.to_owned()) }
}

/// Checks that a container's profile is there. The default one is loaded again if somebody has removed it. Blocks.
///
/// # Errors
/// [`Error::Invalid`] for a profile by name that the kernel has not; [`Error::Node`] if the default one cannot be loaded.
pub fn check(profile: Option<&str>) -> Result<()> {
    match profile {
        None | Some("unconfined") => Ok(()),
        Some(DEFAULT_PROFILE) if is_loaded(DEFAULT_PROFILE) == Some(true) => Ok(()),
        Some(DEFAULT_PROFILE) => {
            let failed = |error| Error::node(format!("load the AppArmor profile {DEFAULT_PROFILE}"), error);
            apparmor::load(TEXT).map_err(failed)
        }
        Some(profile) => match is_loaded(profile) {
            Some(false) => Err(Error::invalid(FIELD, profile, "is not loaded on this node")),
            // Where nobody can tell, the kernel does when the container starts.
            Some(true) | None => Ok(()),
        },
    }
}
