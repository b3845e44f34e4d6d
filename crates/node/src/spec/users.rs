//! A container's part in its pod's user namespace.

use corten_host::user_namespace::IdMapping;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::SpecInput;
use crate::check;
use crate::error::{Error, Result};

/// Checks that the container asks for its pod's user namespace, and to be somebody in it.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub(super) fn check(input: &SpecInput<'_>) -> Result<()> {
    let (pod, own) = (&input.pod.security.namespaces.users, &input.config.security.namespaces.users);
    if pod != own {
        let field = "config.linux.security_context.namespace_options.userns_options";
        return Err(check::invalid(
            field,
            "",
            "must be the pod sandbox's: a pod has one user namespace, or the node's",
        ));
    }
    let Some(users) = pod else { return Ok(()) };
    let (user, field) = (input.user, "config.linux.security_context");
    let nobody = |name: &str, id: u32| {
        Error::invalid(format!("{field}.{name}"), id, "has no id on the node in the pod's user namespace")
    };
    if users.uid(user.uid).is_none() {
        return Err(nobody("run_as_user", user.uid));
    }
    if users.gid(user.gid).is_none() {
        return Err(nobody("run_as_group", user.gid));
    }
    match user.additional_gids.iter().find(|gid| users.gid(**gid).is_none()) {
        Some(gid) => Err(nobody("supplemental_groups", *gid)),
        None => Ok(()),
    }
}

/// Ranges as the OCI runtime spec has them.
pub(super) fn ranges(ranges: &[IdMapping]) -> Vec<LinuxIdMapping> {
    let range = |range: &IdMapping| {
        let mapping = LinuxIdMappingBuilder::default().container_id(range.inside).host_id(range.outside);
        // Only a field that is not set would be an error.
        mapping.size(range.length).build().unwrap_or_default()
    };
    ranges.iter().map(range).collect()
}
