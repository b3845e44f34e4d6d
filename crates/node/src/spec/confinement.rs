//! Seccomp, AppArmor, SELinux, masked and read-only paths.

use std::path::{Path, PathBuf};

use super::{AppArmor, Host};
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

/// The SELinux label of the processes. Only whole labels: choosing the missing parts is for the node's policy, which is
/// not read yet.
pub(super) fn process_label(security: &Security, host: &Host) -> Result<Option<String>> {
    let field = "config.linux.security_context.selinux_options";
    let Some(selinux) = &security.selinux else { return Ok(None) };
    let Selinux { user, role, kind, level } = selinux;
    if !host.selinux {
        return Err(check::unsupported(field, "the kernel has no SELinux"));
    }
    match [user, role, kind, level].iter().any(|part| part.is_empty()) {
        true => Err(check::unsupported(field, "user, role, type and level must all be given")),
        false => Ok(Some(format!("{user}:{role}:{kind}:{level}"))),
    }
}

/// The SELinux label of the container's own mounts, of the same level as its processes.
pub(super) fn mount_label(security: &Security) -> Option<String> {
    let selinux = security.selinux.as_ref()?;
    Some(format!("system_u:object_r:container_file_t:{}", selinux.level))
}

/// Paths to mask or to make read-only: those asked for (the kubelet sends the usual ones, or none for an unmasked
/// procMount), and none if privileged.
pub(super) fn paths(security: &Security, paths: &[PathBuf]) -> Vec<String> {
    match security.privileged {
        true => Vec::new(),
        false => paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
    }
}
