//! The `RuntimeDefault` profile.

use oci_spec::runtime::{
    Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::{Platform, table};
use corten_host::kernel::Kernel;

/// The `RuntimeDefault` profile for a container whose bounding set is `capabilities`.
pub fn default_profile(capabilities: &Capabilities, platform: &Platform) -> LinuxSeccomp {
    let mut syscalls = vec![allow(table::ALLOWED.iter().flat_map(|group| group.iter()))];
    let (major, minor) = table::TRACING_KERNEL;
    if platform.kernel >= (Kernel { major, minor }) {
        syscalls.push(allow(table::TRACING));
    }
    let of_architecture = table::BY_ARCHITECTURE.iter().filter(|(name, _)| *name == platform.goarch);
    syscalls.extend(of_architecture.map(|(_, names)| allow(*names)));
    let of_capabilities = table::BY_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability));
    syscalls.extend(of_capabilities.map(|(_, names)| allow(*names)));
    if !capabilities.contains(&Capability::SysAdmin) {
        syscalls.extend(clone_without_namespaces(platform));
    }
    syscalls.extend(table::PERSONALITIES.iter().map(|value| allow_if("personality", equal(0, *value))));
    syscalls.extend(table::ADDRESS_FAMILIES.iter().map(|(mask, value)| allow_if("socket", masked(0, *mask, *value))));

    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(libc::EPERM.unsigned_abs()))
        .set_architectures(Some(platform.architectures.to_vec()))
        .set_syscalls(Some(syscalls));
    profile
}

/// `clone` may not make namespaces. The flags of `clone3` are behind a pointer, where a filter cannot look: it does not exist then,
/// which has every C library fall back on `clone`.
fn clone_without_namespaces(platform: &Platform) -> [LinuxSyscall; 2] {
    let flags = if platform.goarch == "s390x" { 1 } else { 0 };
    let mut clone3 = allow(["clone3"].iter());
    clone3.set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(libc::ENOSYS.unsigned_abs()));
    [allow_if("clone", masked(flags, table::CLONE_NAMESPACES, 0)), clone3]
}

fn allow<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> LinuxSyscall {
    let mut syscall = LinuxSyscall::default();
    let names = names.into_iter().map(|name| (*name).to_owned()).collect();
    syscall.set_names(names).set_action(LinuxSeccompAction::ScmpActAllow);
    syscall
}

fn allow_if(name: &str, condition: LinuxSeccompArg) -> LinuxSyscall {
    let mut syscall = allow([name].iter());
    syscall.set_args(Some(vec![condition]));
    syscall
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    condition(index, value, 0, LinuxSeccompOperator::ScmpCmpEq)
}

fn masked(index: usize, mask: u64, value: u64) -> LinuxSeccompArg {
    condition(index, mask, value, LinuxSeccompOperator::ScmpCmpMaskedEq)
}

fn condition(index: usize, value: u64, second: u64, op: LinuxSeccompOperator) -> LinuxSeccompArg {
    // The builder cannot fail: every field has a default.
    LinuxSeccompArgBuilder::default().index(index).value(value).value_two(second).op(op).build().unwrap_or_default()
}
