//! A container's security context.

use std::path::PathBuf;

use corten_cri::v1;
use serde::{Deserialize, Serialize};

use super::numbered;
use crate::check;
use crate::error::Result;
use crate::security::{self, NamespaceOptions, SecurityProfile, Selinux, SupplementalGroupsPolicy};

/// A container's security context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// Capabilities to add to the default ones; `ALL` is all.
    pub add_capabilities: Vec<String>,
    /// Capabilities to take from the default ones; `ALL` is all.
    pub drop_capabilities: Vec<String>,
    /// Capabilities to add to the ambient ones as well.
    pub add_ambient_capabilities: Vec<String>,
    /// Whether it may do whatever the node may.
    pub privileged: bool,
    /// Its namespaces.
    pub namespaces: NamespaceOptions,
    /// Its SELinux label.
    pub selinux: Option<Selinux>,
    /// Whom it runs as; `None` for whom the image says.
    pub run_as: Option<RunAs>,
    /// The primary group.
    pub run_as_group: Option<u32>,
    /// Groups beside the primary one.
    pub supplemental_groups: Vec<u32>,
    /// Where groups beside the primary one come from.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Whether its root is read-only.
    pub readonly_rootfs: bool,
    /// Whether its processes cannot gain privileges.
    pub no_new_privs: bool,
    /// Paths that it shall not see.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that it shall not write to.
    pub readonly_paths: Vec<PathBuf>,
    /// Its seccomp profile.
    pub seccomp: Option<SecurityProfile>,
    /// Its AppArmor profile.
    pub apparmor: Option<SecurityProfile>,
}

/// Whom a container runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunAs {
    /// A user by id.
    Uid(u32),
    /// A user of the image's `/etc/passwd`.
    Name(String),
}

/// What a container shall not see unless it may see all of /proc; the kubelet's list.
const MASKED_PATHS: [&str; 12] = [
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
/// What a container shall not write to, likewise.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl Security {
    /// Without a security context the usual paths are masked. With one, empty lists mean just that: it is how the
    /// kubelet asks for an unmasked /proc.
    fn unsaid() -> Self {
        let masked_paths = MASKED_PATHS.iter().map(PathBuf::from).collect();
        let readonly_paths = READONLY_PATHS.iter().map(PathBuf::from).collect();
        Self { masked_paths, readonly_paths, ..Self::default() }
    }

    pub(super) fn from_cri(field: &str, context: Option<v1::LinuxContainerSecurityContext>) -> Result<Self> {
        let Some(context) = context else { return Ok(Self::unsaid()) };
        let v1::LinuxContainerSecurityContext {
            capabilities,
            privileged,
            namespace_options,
            selinux_options,
            run_as_user,
            run_as_username,
            readonly_rootfs,
            supplemental_groups,
            apparmor_profile,
            seccomp_profile_path,
            no_new_privs,
            run_as_group,
            masked_paths,
            readonly_paths,
            seccomp,
            apparmor,
            supplemental_groups_policy,
        } = context;
        let name = |name: &str| format!("{field}.{name}");
        let v1::Capability { add_capabilities, drop_capabilities, add_ambient_capabilities } =
            capabilities.unwrap_or_default();
        let run_as = RunAs::from_cri(field, run_as_user, run_as_username)?;
        if run_as_group.is_some() && run_as.is_none() {
            return Err(check::invalid(
                &name("run_as_group"),
                &run_as_group.unwrap_or_default().value.to_string(),
                "must not be set without run_as_user or run_as_username",
            ));
        }
        Ok(Self {
            add_capabilities: capability_names(&name("capabilities.add_capabilities"), add_capabilities)?,
            drop_capabilities: capability_names(&name("capabilities.drop_capabilities"), drop_capabilities)?,
            add_ambient_capabilities: capability_names(
                &name("capabilities.add_ambient_capabilities"),
                add_ambient_capabilities,
            )?,
            privileged,
            namespaces: NamespaceOptions::from_cri(&name("namespace_options"), namespace_options)?,
            selinux: Selinux::from_cri(&name("selinux_options"), selinux_options)?,
            run_as,
            run_as_group: security::optional_id(&name("run_as_group"), run_as_group)?,
            supplemental_groups: security::groups(&name("supplemental_groups"), supplemental_groups)?,
            supplemental_groups_policy: SupplementalGroupsPolicy::from_cri(
                &name("supplemental_groups_policy"),
                supplemental_groups_policy,
            )?,
            readonly_rootfs,
            no_new_privs,
            masked_paths: numbered(&name("masked_paths"), masked_paths, check::container_path)?,
            readonly_paths: numbered(&name("readonly_paths"), readonly_paths, check::container_path)?,
            seccomp: SecurityProfile::from_cri(
                &name("seccomp"),
                seccomp,
                &name("seccomp_profile_path"),
                seccomp_profile_path,
            )?,
            apparmor: SecurityProfile::from_cri(
                &name("apparmor"),
                apparmor,
                &name("apparmor_profile"),
                apparmor_profile,
            )?,
        })
    }
}

/// Which capabilities there are is the kernel's to say; see [`crate::spec`].
fn capability_names(field: &str, names: Vec<String>) -> Result<Vec<String>> {
    numbered(field, names, |field, name| check::required(field, name, 64))
}

impl RunAs {
    fn from_cri(field: &str, uid: Option<v1::Int64Value>, name: String) -> Result<Option<Self>> {
        let name_field = format!("{field}.run_as_username");
        let uid = security::optional_id(&format!("{field}.run_as_user"), uid)?;
        match (uid, check::optional(&name_field, name, check::MAX_NAME)?) {
            (None, None) => Ok(None),
            (Some(uid), None) => Ok(Some(Self::Uid(uid))),
            (None, Some(name)) => Ok(Some(Self::Name(name))),
            (Some(_), Some(name)) => Err(check::invalid(&name_field, &name, "must not be set with run_as_user")),
        }
    }
}
