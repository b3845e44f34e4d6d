//! Who a container is and what it may do.

use std::path::Path;

use corten_cri::v1;

use crate::manifest::{
    FieldError,
    schema::{Container, GroupsPolicy, ProcMount, Profile, ProfileKind, SeLinux, Spec},
};

/// Where `localhostProfile` starts for seccomp: the kubelet's directory.
const SECCOMP_ROOT: &str = "/var/lib/kubelet/seccomp";

/// What Kubernetes hides of /proc and /sys.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// What Kubernetes makes read-only of /proc.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The sandbox's security context.
pub(super) fn sandbox(spec: &Spec) -> v1::LinuxSandboxSecurityContext {
    let security = &spec.security_context;
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        selinux_options: security.se_linux_options.as_ref().map(selinux),
        run_as_user: id(security.run_as_user),
        run_as_group: id(security.run_as_group),
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec).into(),
        privileged: spec.init_containers.iter().chain(&spec.containers).any(|one| one.security_context.privileged),
        seccomp: Some(seccomp(security.seccomp_profile.as_ref())),
        apparmor: security.app_armor_profile.as_ref().map(profile),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// A container's security context: its own settings, else the pod's.
pub(super) fn container(container: &Container, spec: &Spec) -> v1::LinuxContainerSecurityContext {
    let (own, pods) = (&container.security_context, &spec.security_context);
    let masked = own.proc_mount == ProcMount::Default && !own.privileged;
    let paths = |paths: &[&str]| paths.iter().filter(|_| masked).map(|path| (*path).to_owned()).collect();
    let seccomp_profile = own.seccomp_profile.as_ref().or(pods.seccomp_profile.as_ref());
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities(&own.capabilities.add),
            drop_capabilities: capabilities(&own.capabilities.drop),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: own.privileged,
        namespace_options: Some(namespaces(spec)),
        selinux_options: own.se_linux_options.as_ref().or(pods.se_linux_options.as_ref()).map(selinux),
        run_as_user: id(own.run_as_user.or(pods.run_as_user)),
        run_as_group: id(own.run_as_group.or(pods.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem,
        supplemental_groups: groups(spec),
        supplemental_groups_policy: groups_policy(spec).into(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(if own.privileged { unconfined() } else { seccomp(seccomp_profile) }),
        apparmor: own.app_armor_profile.as_ref().or(pods.app_armor_profile.as_ref()).map(profile),
        ..v1::LinuxContainerSecurityContext::default()
    }
}

/// Refuses a container that must not be root and would be, by its settings or by its image.
///
/// # Errors
/// [`FieldError`] naming `runAsNonRoot`, relative to the container.
pub fn check_non_root(container: &Container, spec: &Spec, image: &v1::Image) -> Result<(), FieldError> {
    let (own, pods) = (&container.security_context, &spec.security_context);
    if own.run_as_non_root.or(pods.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let user = own.run_as_user.or(pods.run_as_user).map(i64::from).or(image.uid.as_ref().map(|uid| uid.value));
    let reason = match user {
        Some(0) => "is set, and the user is 0".to_owned(),
        Some(_) => return Ok(()),
        None if image.username.is_empty() => "is set, and the image runs as root".to_owned(),
        None => {
            format!(
                "is set, and the image's user {:?} is not a number that could be checked; set runAsUser",
                image.username
            )
        }
    };
    Err(FieldError::new("securityContext.runAsNonRoot", reason))
}

fn namespaces(spec: &Spec) -> v1::NamespaceOption {
    use v1::NamespaceMode::{Container, Node, Pod};
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (true, _) => Node,
        (false, true) => Pod,
        (false, false) => Container,
    };
    v1::NamespaceOption {
        network: if spec.host_network { Node } else { Pod }.into(),
        pid: pid.into(),
        ipc: if spec.host_ipc { Node } else { Pod }.into(),
        ..v1::NamespaceOption::default()
    }
}

/// The pod's supplementary groups and the group its volumes belong to.
fn groups(spec: &Spec) -> Vec<i64> {
    let security = &spec.security_context;
    security.supplemental_groups.iter().chain(&security.fs_group).copied().map(i64::from).collect()
}

fn groups_policy(spec: &Spec) -> v1::SupplementalGroupsPolicy {
    match spec.security_context.supplemental_groups_policy {
        GroupsPolicy::Merge => v1::SupplementalGroupsPolicy::Merge,
        GroupsPolicy::Strict => v1::SupplementalGroupsPolicy::Strict,
    }
}

/// The CRI wants capabilities without the prefix.
fn capabilities(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_owned()).collect()
}

/// Confined by the runtime's profile unless the manifest says otherwise, like a kubelet with `seccompDefault`.
fn seccomp(chosen: Option<&Profile>) -> v1::SecurityProfile {
    let Some(chosen) = chosen else {
        return v1::SecurityProfile::default();
    };
    let mut profile = profile(chosen);
    if chosen.kind == ProfileKind::Localhost {
        profile.localhost_ref = Path::new(SECCOMP_ROOT).join(&chosen.localhost_profile).display().to_string();
    }
    profile
}

fn profile(profile: &Profile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let profile_type = match profile.kind {
        ProfileKind::RuntimeDefault => ProfileType::RuntimeDefault,
        ProfileKind::Unconfined => ProfileType::Unconfined,
        ProfileKind::Localhost => ProfileType::Localhost,
    };
    v1::SecurityProfile { profile_type: profile_type.into(), localhost_ref: profile.localhost_profile.clone() }
}

fn unconfined() -> v1::SecurityProfile {
    v1::SecurityProfile {
        profile_type: v1::security_profile::ProfileType::Unconfined.into(),
        localhost_ref: String::new(),
    }
}

fn selinux(options: &SeLinux) -> v1::SeLinuxOption {
    let SeLinux { user, role, kind, level } = options.clone();
    v1::SeLinuxOption { user, role, r#type: kind, level }
}

fn id(id: Option<u32>) -> Option<v1::Int64Value> {
    id.map(|value| v1::Int64Value { value: value.into() })
}
