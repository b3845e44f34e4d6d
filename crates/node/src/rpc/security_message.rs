//! What security contexts have in common, in the CRI's messages: the inverse of [`crate::security`]'s readers.

use corten_cri::v1;
use corten_host::user_namespace::{IdMapping, Mappings};
use v1::NamespaceMode;
use v1::security_profile::ProfileType;

use crate::security::{
    NamespaceOptions, PidNamespace, PodNamespace, SecurityProfile, Selinux, SupplementalGroupsPolicy,
};

/// Which namespaces are whose.
pub fn namespaces(options: &NamespaceOptions) -> v1::NamespaceOption {
    let NamespaceOptions { network, ipc, pid, users } = options;
    let mode = |namespace: PodNamespace| match namespace {
        PodNamespace::Pod => NamespaceMode::Pod.into(),
        PodNamespace::Node => NamespaceMode::Node.into(),
    };
    let (pid, target_id) = match pid {
        PidNamespace::Pod => (NamespaceMode::Pod, String::new()),
        PidNamespace::Container => (NamespaceMode::Container, String::new()),
        PidNamespace::Node => (NamespaceMode::Node, String::new()),
        PidNamespace::Target(id) => (NamespaceMode::Target, id.clone()),
    };
    v1::NamespaceOption {
        network: mode(*network),
        pid: pid.into(),
        ipc: mode(*ipc),
        target_id,
        userns_options: users.as_ref().map(user_namespace),
    }
}

fn user_namespace(Mappings { uids, gids }: &Mappings) -> v1::UserNamespace {
    v1::UserNamespace { mode: NamespaceMode::Pod.into(), uids: id_mappings(uids), gids: id_mappings(gids) }
}

/// Ranges of ids.
pub fn id_mappings(ranges: &[IdMapping]) -> Vec<v1::IdMapping> {
    let message = |IdMapping { inside, outside, length }: &IdMapping| v1::IdMapping {
        container_id: *inside,
        host_id: *outside,
        length: *length,
    };
    ranges.iter().map(message).collect()
}

/// A profile of seccomp or AppArmor.
pub fn profile(profile: &SecurityProfile) -> v1::SecurityProfile {
    let (kind, localhost_ref) = match profile {
        SecurityProfile::RuntimeDefault => (ProfileType::RuntimeDefault, String::new()),
        SecurityProfile::Unconfined => (ProfileType::Unconfined, String::new()),
        SecurityProfile::Localhost(name) => (ProfileType::Localhost, name.clone()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

/// An SELinux label.
pub fn selinux(label: &Selinux) -> v1::SeLinuxOption {
    let Selinux { user, role, kind, level } = label.clone();
    v1::SeLinuxOption { user, role, r#type: kind, level }
}

/// Where supplemental groups come from.
pub fn groups_policy(policy: SupplementalGroupsPolicy) -> v1::SupplementalGroupsPolicy {
    match policy {
        SupplementalGroupsPolicy::Merge => v1::SupplementalGroupsPolicy::Merge,
        SupplementalGroupsPolicy::Strict => v1::SupplementalGroupsPolicy::Strict,
    }
}

/// A user or group.
pub fn id(id: u32) -> v1::Int64Value {
    v1::Int64Value { value: id.into() }
}

/// Groups.
pub fn ids(ids: &[u32]) -> Vec<i64> {
    ids.iter().copied().map(i64::from).collect()
}
