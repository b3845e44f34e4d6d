//! Who the container's process is: user, groups, capabilities, no_new_privs.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, User};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::errors::{Blame, refused};
use crate::protocol::CallError;

/// Capabilities as sets, limited to those that the caller has itself: what the node does not have it cannot give, and
/// asking for it would fail the container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capabilities {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Capabilities {
    /// Those of the specification; none if it has none.
    pub(super) fn limited(wanted: Option<&LinuxCapabilities>) -> Result<Self, CallError> {
        let own = capabilities(None).node(|| "read capabilities".into())?.permitted;
        let pick = |of: fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>| {
            wanted.and_then(|w| of(w).as_ref()).map_or(CapabilitySet::empty(), set_of) & own
        };
        let permitted = pick(LinuxCapabilities::permitted);
        let inheritable = pick(LinuxCapabilities::inheritable);
        Ok(Capabilities {
            bounding: pick(LinuxCapabilities::bounding),
            effective: pick(LinuxCapabilities::effective) & permitted,
            permitted,
            inheritable,
            // The kernel takes no others.
            ambient: pick(LinuxCapabilities::ambient) & permitted & inheritable,
        })
    }

    /// Drops from the bounding set what is not wanted, and lets the permitted set survive the change of user.
    pub(super) fn before_user(&self) -> Result<(), CallError> {
        let step = || "drop capabilities from the bounding set".to_owned();
        for bit in (0..u64::BITS).map(|number| 1 << number) {
            let capability = CapabilitySet::from_bits_retain(bit);
            if !self.bounding.contains(capability) {
                match remove_capability_from_bounding_set(capability) {
                    Err(Errno::INVAL) => break,
                    other => other.node(step)?,
                }
            }
        }
        set_keep_capabilities(true).node(|| "keep capabilities".into())
    }

    /// Sets the sets, as the new user.
    pub(super) fn after_user(&self) -> Result<(), CallError> {
        let step = || "set capabilities".to_owned();
        set_keep_capabilities(false).node(step)?;
        let sets =
            CapabilitySets { effective: self.effective, permitted: self.permitted, inheritable: self.inheritable };
        set_capabilities(None, sets).node(step)?;
        clear_ambient_capability_set().node(step)?;
        let ambient = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
        for capability in ambient.filter(|capability| self.ambient.contains(*capability)) {
            configure_capability_in_ambient_set(capability, true).node(step)?;
        }
        Ok(())
    }
}

/// Refuses the id that means "unchanged" to the kernel: it would be a process that stayed root.
pub(super) fn check_ids(field: &str, ids: impl IntoIterator<Item = u32>) -> Result<(), CallError> {
    match ids.into_iter().find(|id| *id == u32::MAX) {
        Some(id) => Err(refused(format!("{field}: {id} is not an id"))),
        None => Ok(()),
    }
}

/// The ids of a user and its groups.
pub(super) fn ids(user: &User) -> impl Iterator<Item = u32> {
    [user.uid(), user.gid()].into_iter().chain(user.additional_gids().iter().flatten().copied())
}

/// Becomes the user, with exactly the groups given.
pub(super) fn become_user(user: &User) -> Result<(), CallError> {
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).node(|| "set groups".into())?;
    let gid = Gid::from_raw(user.gid());
    set_thread_res_gid(gid, gid, gid).node(|| format!("become group {}", user.gid()))?;
    let uid = Uid::from_raw(user.uid());
    set_thread_res_uid(uid, uid, uid).node(|| format!("become user {}", user.uid()))
}

fn set_of(list: &HashSet<Capability>) -> CapabilitySet {
    list.iter().map(|capability| single(*capability)).fold(CapabilitySet::empty(), |all, one| all | one)
}

fn single(capability: Capability) -> CapabilitySet {
    match capability {
        Capability::AuditControl => CapabilitySet::AUDIT_CONTROL,
        Capability::AuditRead => CapabilitySet::AUDIT_READ,
        Capability::AuditWrite => CapabilitySet::AUDIT_WRITE,
        Capability::BlockSuspend => CapabilitySet::BLOCK_SUSPEND,
        Capability::Bpf => CapabilitySet::BPF,
        Capability::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
        Capability::Chown => CapabilitySet::CHOWN,
        Capability::DacOverride => CapabilitySet::DAC_OVERRIDE,
        Capability::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        Capability::Fowner => CapabilitySet::FOWNER,
        Capability::Fsetid => CapabilitySet::FSETID,
        Capability::IpcLock => CapabilitySet::IPC_LOCK,
        Capability::IpcOwner => CapabilitySet::IPC_OWNER,
        Capability::Kill => CapabilitySet::KILL,
        Capability::Lease => CapabilitySet::LEASE,
        Capability::LinuxImmutable => CapabilitySet::LINUX_IMMUTABLE,
        Capability::MacAdmin => CapabilitySet::MAC_ADMIN,
        Capability::MacOverride => CapabilitySet::MAC_OVERRIDE,
        Capability::Mknod => CapabilitySet::MKNOD,
        Capability::NetAdmin => CapabilitySet::NET_ADMIN,
        Capability::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        Capability::NetBroadcast => CapabilitySet::NET_BROADCAST,
        Capability::NetRaw => CapabilitySet::NET_RAW,
        Capability::Perfmon => CapabilitySet::PERFMON,
        Capability::Setgid => CapabilitySet::SETGID,
        Capability::Setfcap => CapabilitySet::SETFCAP,
        Capability::Setpcap => CapabilitySet::SETPCAP,
        Capability::Setuid => CapabilitySet::SETUID,
        Capability::SysAdmin => CapabilitySet::SYS_ADMIN,
        Capability::SysBoot => CapabilitySet::SYS_BOOT,
        Capability::SysChroot => CapabilitySet::SYS_CHROOT,
        Capability::SysModule => CapabilitySet::SYS_MODULE,
        Capability::SysNice => CapabilitySet::SYS_NICE,
        Capability::SysPacct => CapabilitySet::SYS_PACCT,
        Capability::SysPtrace => CapabilitySet::SYS_PTRACE,
        Capability::SysRawio => CapabilitySet::SYS_RAWIO,
        Capability::SysResource => CapabilitySet::SYS_RESOURCE,
        Capability::SysTime => CapabilitySet::SYS_TIME,
        Capability::SysTtyConfig => CapabilitySet::SYS_TTY_CONFIG,
        Capability::Syslog => CapabilitySet::SYSLOG,
        Capability::WakeAlarm => CapabilitySet::WAKE_ALARM,
    }
}
