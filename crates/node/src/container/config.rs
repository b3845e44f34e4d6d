//! What a container shall be: `ContainerConfig`, checked and in our own types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_cri::v1;
use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::Result;
use crate::pod::config::PodConfig;
use crate::resources::Resources;
use crate::security::{self, NamespaceOptions, SecurityProfile, Selinux, SupplementalGroupsPolicy};

/// A container as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Which container of its pod it is.
    pub metadata: ContainerMetadata,
    /// Its image.
    pub image: ImageSpec,
    /// What to run instead of the image's entrypoint.
    pub command: Vec<String>,
    /// Arguments instead of the image's.
    pub args: Vec<String>,
    /// The working directory; `None` for the image's.
    pub working_dir: Option<PathBuf>,
    /// Environment variables, in order; later ones win.
    pub envs: Vec<(String, String)>,
    /// What of the node is mounted in it.
    pub mounts: Vec<Mount>,
    /// The node's devices that it gets.
    pub devices: Vec<Device>,
    /// To select it by.
    pub labels: BTreeMap<String, String>,
    /// Anything else said of it.
    pub annotations: BTreeMap<String, String>,
    /// Its log file, relative to the pod's log directory.
    pub log_path: Option<PathBuf>,
    /// What its stdin is.
    pub stdin: Stdin,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// What it may use.
    pub resources: Resources,
    /// What it may do.
    pub security: Security,
    /// What it is stopped with; `None` for what the image says.
    pub stop_signal: Option<StopSignal>,
}

/// By what a container is known in its pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Its name.
    pub name: String,
    /// How many containers of this name its sandbox had before.
    pub attempt: u32,
}

/// An image as named in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// The image: an id or a reference.
    pub image: String,
    /// Anything else said of it.
    pub annotations: BTreeMap<String, String>,
    /// The name that the user gave.
    pub user_specified_image: String,
    /// The runtime handler that it was pulled for.
    pub runtime_handler: String,
    /// The reference that the kubelet got when it was pulled.
    pub image_ref: String,
}

/// What a container reads from its stdin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// What attached clients send.
    Open,
    /// What the first attached client sends, until it goes.
    Once,
}

/// A file or directory of the node, mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where in the container; absolute and without `..`.
    pub container_path: PathBuf,
    /// What of the node; absolute and without `..`.
    pub host_path: PathBuf,
    /// Whether it can be written to.
    #[serde(default)]
    pub access: MountAccess,
    /// Whether mounts below it travel between the node and the container.
    #[serde(default)]
    pub propagation: Propagation,
    /// Whether SELinux labels are to be set on it. Without SELinux there are none.
    #[serde(default)]
    pub selinux_relabel: bool,
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountAccess {
    /// It can.
    #[default]
    ReadWrite,
    /// It cannot; mounts below it may.
    ReadOnly,
    /// Neither it nor any mount below it can.
    RecursiveReadOnly,
}

/// How mounts below a mount travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the node to the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A device of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where in the container.
    pub container_path: PathBuf,
    /// The node's device, or a directory of them.
    pub host_path: PathBuf,
    /// What may be done: some of `r`, `w` and `m`, each at most once.
    pub permissions: String,
}

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

/// A signal by its name, as in `SIGTERM` or `SIGRTMIN+3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StopSignal(String);

impl ContainerConfig {
    /// Checks and converts `CreateContainerRequest.config`.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::error::Error::Invalid) or [`Error::Unsupported`](crate::error::Error::Unsupported)
    /// naming the field.
    pub fn from_cri(config: v1::ContainerConfig) -> Result<Self> {
        let v1::ContainerConfig {
            metadata,
            image,
            command,
            args,
            working_dir,
            envs,
            mounts,
            devices,
            labels,
            annotations,
            log_path,
            stdin,
            stdin_once,
            tty,
            linux,
            windows,
            cdi_devices,
            stop_signal,
        } = config;
        if windows.is_some_and(|windows| windows != v1::WindowsContainerConfig::default()) {
            return Err(check::invalid("config.windows", "", "is not applicable on Linux"));
        }
        if let Some(v1::CdiDevice { name }) = cdi_devices.first() {
            return Err(check::unsupported(
                &format!("config.CDI_devices {:?}", check::shown(name)),
                "devices of the Container Device Interface are not supported",
            ));
        }
        let v1::LinuxContainerConfig { resources, security_context } = linux.unwrap_or_default();
        Ok(Self {
            metadata: ContainerMetadata::from_cri(metadata)?,
            image: ImageSpec::from_cri("config.image", image)?,
            command: arguments("config.command", command)?,
            args: arguments("config.args", args)?,
            working_dir: container_path("config.working_dir", working_dir)?,
            envs: environment("config.envs", envs)?,
            mounts: numbered("config.mounts", mounts, Mount::from_cri)?,
            devices: numbered("config.devices", devices, Device::from_cri)?,
            labels: check::map("config.labels", labels, check::MAX_LABEL)?,
            annotations: check::map("config.annotations", annotations, check::MAX_MAP)?,
            log_path: relative_path("config.log_path", log_path)?,
            stdin: Stdin::from_cri(stdin, stdin_once),
            tty,
            resources: Resources::from_cri("config.linux.resources", resources.unwrap_or_default())?,
            security: Security::from_cri("config.linux.security_context", security_context)?,
            stop_signal: StopSignal::from_cri("config.stop_signal", stop_signal)?,
        })
    }

    /// The container's log file on the node; `None` if it or the pod's log directory was not named: then there is no
    /// log.
    pub fn log_file(&self, pod: &PodConfig) -> Option<PathBuf> {
        Some(pod.log_directory.as_ref()?.join(self.log_path.as_ref()?))
    }
}

/// Converts every element, with its index in the field's name.
fn numbered<T, U>(field: &str, values: Vec<T>, convert: fn(&str, T) -> Result<U>) -> Result<Vec<U>> {
    values.into_iter().enumerate().map(|(index, value)| convert(&format!("{field}[{index}]"), value)).collect()
}

fn arguments(field: &str, values: Vec<String>) -> Result<Vec<String>> {
    numbered(field, values, |field, value| check::text(field, value, check::MAX_ARGUMENT - 1))
}

fn container_path(field: &str, path: String) -> Result<Option<PathBuf>> {
    (!path.is_empty()).then(|| check::container_path(field, path)).transpose()
}

fn relative_path(field: &str, path: String) -> Result<Option<PathBuf>> {
    (!path.is_empty()).then(|| check::relative_path(field, path)).transpose()
}

fn environment(field: &str, envs: Vec<v1::KeyValue>) -> Result<Vec<(String, String)>> {
    numbered(field, envs, |field, v1::KeyValue { key, value }| {
        let name = format!("{field}.key");
        let key = check::required(&name, key, check::MAX_ARGUMENT / 2)?;
        if key.contains('=') {
            return Err(check::invalid(&name, &key, "contains '='"));
        }
        // The OCI runtime spec is JSON, which has no bytes.
        let value = String::from_utf8(value).map_err(|error| {
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            check::invalid(&format!("{field}.value"), &lossy, "is not UTF-8, which the OCI runtime spec cannot carry")
        })?;
        Ok((key, check::text(&format!("{field}.value"), value, check::MAX_ARGUMENT / 2 - 2)?))
    })
}

impl ContainerMetadata {
    fn from_cri(metadata: Option<v1::ContainerMetadata>) -> Result<Self> {
        let Some(v1::ContainerMetadata { name, attempt }) = metadata else {
            return Err(check::invalid("config.metadata", "", "must be set"));
        };
        Ok(Self { name: check::line("config.metadata.name", name, check::MAX_NAME)?, attempt })
    }
}

impl ImageSpec {
    /// Checks and converts the message; the image must be named.
    pub fn from_cri(field: &str, image: Option<v1::ImageSpec>) -> Result<Self> {
        let v1::ImageSpec { image, annotations, user_specified_image, runtime_handler, image_ref } =
            image.unwrap_or_default();
        Ok(Self {
            image: check::line(&format!("{field}.image"), image, check::MAX_NAME)?,
            annotations: check::map(&format!("{field}.annotations"), annotations, check::MAX_MAP)?,
            user_specified_image: check::text(
                &format!("{field}.user_specified_image"),
                user_specified_image,
                check::MAX_NAME,
            )?,
            runtime_handler: check::text(&format!("{field}.runtime_handler"), runtime_handler, check::MAX_NAME)?,
            image_ref: check::text(&format!("{field}.image_ref"), image_ref, check::MAX_NAME)?,
        })
    }
}

impl Stdin {
    /// A pod may say `stdinOnce` without `stdin`, which then means nothing.
    fn from_cri(stdin: bool, once: bool) -> Self {
        match (stdin, once) {
            (false, _) => Self::Null,
            (true, false) => Self::Open,
            (true, true) => Self::Once,
        }
    }
}

impl Mount {
    fn from_cri(field: &str, mount: v1::Mount) -> Result<Self> {
        let v1::Mount {
            container_path,
            host_path,
            readonly,
            selinux_relabel,
            propagation,
            uid_mappings,
            gid_mappings,
            recursive_read_only,
            image,
            image_sub_path,
            mount_options,
        } = mount;
        let name = |name: &str| format!("{field}.{name}");
        if image.is_some_and(|image| image != v1::ImageSpec::default()) || !image_sub_path.is_empty() {
            return Err(check::unsupported(&name("image"), "image volumes are not supported"));
        }
        if !uid_mappings.is_empty() || !gid_mappings.is_empty() {
            return Err(check::unsupported(&name("uidMappings"), "idmapped mounts are not supported"));
        }
        if !mount_options.is_empty() {
            return Err(check::unsupported(&name("mount_options"), "mount options are not supported"));
        }
        let container_path = check::container_path(&name("container_path"), container_path)?;
        if container_path == Path::new("/") {
            return Err(check::invalid(&name("container_path"), "/", "must not be the container's root"));
        }
        let propagation = Propagation::from_cri(&name("propagation"), propagation)?;
        let access = MountAccess::from_cri(&name("recursive_read_only"), readonly, recursive_read_only, propagation)?;
        let host_path = check::host_path(&name("host_path"), host_path)?;
        Ok(Self { container_path, host_path, access, propagation, selinux_relabel })
    }
}

impl MountAccess {
    fn from_cri(field: &str, readonly: bool, recursive: bool, propagation: Propagation) -> Result<Self> {
        match (readonly, recursive) {
            (false, false) => Ok(Self::ReadWrite),
            (true, false) => Ok(Self::ReadOnly),
            (true, true) if propagation == Propagation::Private => Ok(Self::RecursiveReadOnly),
            (true, true) => Err(check::invalid(field, "true", "must not be set unless the propagation is private")),
            (false, true) => Err(check::invalid(field, "true", "must not be set without readonly")),
        }
    }
}

impl Propagation {
    fn from_cri(field: &str, propagation: i32) -> Result<Self> {
        Ok(match check::known(field, propagation)? {
            v1::MountPropagation::PropagationPrivate => Self::Private,
            v1::MountPropagation::PropagationHostToContainer => Self::HostToContainer,
            v1::MountPropagation::PropagationBidirectional => Self::Bidirectional,
        })
    }
}

impl Device {
    fn from_cri(field: &str, device: v1::Device) -> Result<Self> {
        let v1::Device { container_path, host_path, permissions } = device;
        let name = |name: &str| format!("{field}.{name}");
        let host_path = check::host_path(&name("host_path"), host_path)?;
        let container_path = match container_path.is_empty() {
            true => host_path.clone(),
            false => check::container_path(&name("container_path"), container_path)?,
        };
        let known = permissions.bytes().all(|byte| b"rwm".contains(&byte));
        let once = "rwm".chars().all(|c| permissions.matches(c).count() <= 1);
        match known && once && !permissions.is_empty() {
            true => Ok(Self { container_path, host_path, permissions }),
            false => Err(check::invalid(&name("permissions"), &permissions, "must be some of 'r', 'w' and 'm'")),
        }
    }
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

    fn from_cri(field: &str, context: Option<v1::LinuxContainerSecurityContext>) -> Result<Self> {
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

impl StopSignal {
    /// `SIGNAL_SIGRTMINPLUS3` becomes `SIGRTMIN+3`.
    fn from_cri(field: &str, signal: i32) -> Result<Option<Self>> {
        let signal = check::known::<v1::Signal>(field, signal)?;
        if signal == v1::Signal::RuntimeDefault {
            return Ok(None);
        }
        let name = signal.as_str_name();
        let name = name.strip_prefix("SIGNAL_").unwrap_or(name);
        Ok(Some(Self(name.replace("PLUS", "+").replace("MINUS", "-"))))
    }

    /// The name, as in `SIGTERM`, `SIGRTMIN+3` or `SIGRTMAX-3`.
    pub fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
