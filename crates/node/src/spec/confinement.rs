//! Seccomp, AppArmor, SELinux, masked and read-only paths.

use std::path::{Path, PathBuf};

use corten_host::selinux::with_parts;

use super::{AppArmor, Host, SpecInput};
use crate::check;
use crate::container::config::Security;
use crate::error::Result;
use crate::security::{SecurityProfile, Selinux};

/// Which seccomp profile a container runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seccomp {
    /// None.
    Unconfined,
    /// The runtime's own.
    RuntimeDefault,
    /// The one in a file on the node.
    Localhost(PathBuf),
}

/// The profile. None asked for is none: the kubelet has `SeccompDefault` for that.
pub(super) fn seccomp(security: &Security, host: &Host) -> Result<Seccomp> {
    let field = "config.linux.security_context.seccomp";
    let profile = match (&security.seccomp, security.privileged) {
        (None | Some(SecurityProfile::Unconfined), _) | (_, true) => return Ok(Seccomp::Unconfined),
        (Some(SecurityProfile::RuntimeDefault), false) => Seccomp::RuntimeDefault,
        (Some(SecurityProfile::Localhost(file)), false) if Path::new(file).is_absolute() => {
            Seccomp::Localhost(PathBuf::from(file))
        }
        (Some(SecurityProfile::Localhost(file)), false) => {
            return Err(check::invalid(&format!("{field}.localhost_ref"), file, "must be an absolute path"));
        }
    };
    match host.seccomp {
        true => Ok(profile),
        false => Err(check::unsupported(field, "the kernel has no seccomp filters")),
    }
}

/// The AppArmor profile to run under. The runtime's default is silently none where the kernel has no AppArmor, as
/// clusters of mixed nodes need; a profile by name is not.
pub(super) fn apparmor(security: &Security, host: &Host) -> Result<Option<String>> {
    let field = "config.linux.security_context.apparmor";
    match (&security.apparmor, &host.apparmor) {
        (Some(SecurityProfile::Localhost(_)), AppArmor::Absent) => {
            Err(check::unsupported(field, "the kernel has no AppArmor"))
        }
        (_, AppArmor::Absent) => Ok(None),
        (Some(SecurityProfile::Localhost(profile)), AppArmor::Present { .. }) => apparmor_name(field, profile),
        (Some(SecurityProfile::Unconfined), AppArmor::Present { .. }) => Ok(Some("unconfined".to_owned())),
        (None, AppArmor::Present { .. }) if security.privileged => Ok(None),
        (None, AppArmor::Present { default }) => Ok(default.clone()),
        (Some(SecurityProfile::RuntimeDefault), AppArmor::Present { default: Some(profile) }) => {
            Ok(Some(profile.clone()))
        }
        (Some(SecurityProfile::RuntimeDefault), AppArmor::Present { default: None }) => {
            Err(check::unsupported(field, "the runtime's default AppArmor profile is not loaded on this node"))
        }
    }
}

/// The name is written to a file of /proc in which a NUL or a line end would end it.
fn apparmor_name(field: &str, profile: &str) -> Result<Option<String>> {
    check::line(&format!("{field}.localhost_ref"), profile.to_owned(), check::MAX_NAME).map(Some)
}

/// The SELinux label of the processes, if one is asked for. The parts that are not are the policy's.
pub(super) fn process_label(input: &SpecInput<'_>) -> Result<Option<String>> {
    let field = "config.linux.security_context.selinux_options";
    match (&input.config.security.selinux, &input.host.selinux) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(check::unsupported(field, "the kernel has no SELinux")),
        (Some(Selinux { user, role, kind, level }), Some(policy)) => {
            Ok(Some(with_parts(&policy.process, [user, role, kind, &level_of(input.pod_id, level)])))
        }
    }
}

/// The SELinux label of a container's or pod's files, of the same level as its processes, if one is asked for.
pub fn file_label(asked: Option<&Selinux>, pod_id: &str, host: &Host) -> Option<String> {
    let (asked, policy) = (asked?, host.selinux.as_ref()?);
    Some(with_parts(&policy.file, ["", "", "", &level_of(pod_id, &asked.level)]))
}

/// The level that is asked for, else one that the pod's containers have and hardly any other: two of the 1024 categories,
/// after the pod's id.
fn level_of(pod_id: &str, asked: &str) -> String {
    if !asked.is_empty() {
        return asked.to_owned();
    }
    // Ids are random; 20 bits are two categories.
    let bits = pod_id.chars().take(5).filter_map(|digit| digit.to_digit(16)).fold(0, |bits, digit| bits << 4 | digit);
    let (one, other) = (bits >> 10, bits & 0x3ff);
    match one == other {
        true => format!("s0:c{one}"),
        false => format!("s0:c{},c{}", one.min(other), one.max(other)),
    }
}

/// Paths to mask or to make read-only: those asked for (the kubelet sends the usual ones, or none for an unmasked
/// procMount), and none if privileged.
pub(super) fn paths(security: &Security, paths: &[PathBuf]) -> Vec<String> {
    match security.privileged {
        true => Vec::new(),
        false => paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    }
}
