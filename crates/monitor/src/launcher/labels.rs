//! Labels of Linux security modules, which the kernel applies at execve(2).

use std::path::Path;

use oci_spec::runtime::Process;

use super::errors::{Blame, node};
use crate::protocol::CallError;

/// Asks for the process's AppArmor profile and SELinux label. Reads and writes the host's `/proc`, in which nothing of
/// the container's can stand in for the file.
pub(super) fn set_for_exec(process: &Process) -> Result<(), CallError> {
    if let Some(profile) = process.apparmor_profile().as_deref().filter(|profile| !profile.is_empty()) {
        set_apparmor(profile)?;
    }
    match process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        Some(label) => set_selinux(label),
        None => Ok(()),
    }
}

fn set_apparmor(profile: &str) -> Result<(), CallError> {
    let step = || format!("set AppArmor profile {profile:?}");
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'));
    if !enabled {
        return Err(node(step(), "AppArmor is not enabled on this node"));
    }
    // The first is AppArmor's own, for kernels with several modules; the second is all that older ones have.
    let own = Path::new("/proc/thread-self/attr/apparmor/exec");
    let file = if own.exists() { own } else { Path::new("/proc/thread-self/attr/exec") };
    std::fs::write(file, format!("exec {profile}")).node(step)
}

fn set_selinux(label: &str) -> Result<(), CallError> {
    let step = || format!("set SELinux label {label:?}");
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(node(step(), "SELinux is not enabled on this node"));
    }
    std::fs::write("/proc/thread-self/attr/exec", label).node(step)
}
