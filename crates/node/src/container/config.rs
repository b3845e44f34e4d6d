//! What a container shall be: `ContainerConfig`, checked and in our own types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use corten_cri::v1;
use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::Result;
use crate::pod::config::PodConfig;
use crate::resources::Resources;

mod mount_options;
mod mounts;
mod security;

pub use mount_options::MountOption;
pub use mounts::{Device, ImageSource, Mount, MountAccess, Propagation, Source};
pub use security::{RunAs, Security};

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
        let resources = Resources::from_cri("config.linux.resources", resources.unwrap_or_default())?;
        resources.check("config.linux.resources")?;
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
            resources,
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

    /// `SIGRTMIN+3` becomes `SIGNAL_SIGRTMINPLUS3`.
    pub fn to_cri(&self) -> v1::Signal {
        let name = format!("SIGNAL_{}", self.0.replace('+', "PLUS").replace('-', "MINUS"));
        v1::Signal::from_str_name(&name).unwrap_or(v1::Signal::RuntimeDefault)
    }

    /// The name, as in `SIGTERM`, `SIGRTMIN+3` or `SIGRTMAX-3`.
    pub fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
