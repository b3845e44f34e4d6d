//! The daemon's configuration: one TOML file, every key optional, unknown keys refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use corten_cri::wire::Shapes;
use corten_images::WritableLimits;
use serde::{Deserialize, Serialize};

use crate::cgroups;
use crate::interface::InterfaceConfig;
use crate::metrics::MetricsConfig;
use crate::network::NetworkConfig;
use crate::streaming::StreamingConfig;

/// The name of the built-in launcher as a runtime handler.
pub const BUILT_IN: &str = "corten";

/// The file read when `--config` is not given, if it exists.
pub const DEFAULT_PATH: &str = "/etc/corten/config.toml";

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where images (but see [`ImagesConfig::root`]) and writable layers are kept. Survives a reboot.
    pub root: PathBuf,
    /// Where the records, sockets and files of running pods are kept. Should be a tmpfs.
    pub state: PathBuf,
    /// The unix socket on which the CRI is served (root only, mode 0660).
    pub socket: PathBuf,
    /// The `corten-monitor` program. Default: beside `cortend` itself, else from `PATH`.
    pub monitor: Option<PathBuf>,
    /// Where pods' network namespace files are.
    pub netns_dir: PathBuf,
    /// The runtime handler of pods that name none.
    pub default_runtime: String,
    /// Runtime handlers beside `corten`, the built-in launcher, by name.
    pub runtimes: BTreeMap<String, RuntimeConfig>,
    /// Images and registries.
    pub registry: corten_images::Config,
    /// Images on this node.
    pub images: ImagesConfig,
    /// The pod network.
    pub network: NetworkConfig,
    /// Cgroups.
    pub cgroup: CgroupConfig,
    /// Containers' logs.
    pub container_log: ContainerLogConfig,
    /// ExecSync.
    pub exec: ExecConfig,
    /// Exec, attach and port-forward.
    pub streaming: StreamingConfig,
    /// Seccomp.
    pub seccomp: SeccompConfig,
    /// Clients of other versions.
    pub interface: InterfaceConfig,
    /// The daemon's own metrics.
    pub metrics: MetricsConfig,
    /// The daemon's own log.
    pub log: LogConfig,
}

/// Images on this node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImagesConfig {
    /// Where images are kept if not in [`Config::root`] with what containers write: on a disk of their own, say.
    pub root: Option<PathBuf>,
    /// Patterns of full image names (`registry.k8s.io/pause:*`), in which `*` stands for any text and `?` for any character.
    /// Neither the kubelet nor `corten image prune` clears such images up.
    pub pinned: Vec<String>,
    /// Whether layers' archives and manifests are kept as they came, too, so that `corten image save` gives them out unchanged.
    pub keep_blobs: bool,
    /// The most bytes that one container may write into its own files (not its volumes). Needs a file system that enforces
    /// project quotas, below `root`.
    pub writable_layer_bytes: Option<u64>,
    /// The most files, directories and everything else that it may have there. Needs the same.
    pub writable_layer_inodes: Option<u64>,
}

impl ImagesConfig {
    /// What a container may write.
    pub fn limits(&self) -> WritableLimits {
        WritableLimits { bytes: self.writable_layer_bytes, inodes: self.writable_layer_inodes }
    }

    /// Less than this, and no container starts: mount points and the like are made there.
    fn check_limits(&self) -> Result<(), ConfigError> {
        let (bytes, inodes) =
            (self.writable_layer_bytes.unwrap_or(u64::MAX), self.writable_layer_inodes.unwrap_or(u64::MAX));
        require(bytes >= 1 << 20, "images.writable_layer_bytes", bytes, "must be at least 1048576")?;
        require(inodes >= 100, "images.writable_layer_inodes", inodes, "must be at least 100")
    }
}

/// A runtime handler: a program with runc's command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// The program's absolute path.
    pub binary: PathBuf,
}

/// Where containers are in the cgroup hierarchies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CgroupConfig {
    /// Who makes cgroups.
    pub driver: CgroupDriver,
    /// A container's cgroup is `<prefix>-<id>` in its pod's; cAdvisor recognises runtimes by it.
    pub prefix: String,
    /// The parent of pods that name none: a path, or a slice under systemd.
    pub default_parent: Option<String>,
}

/// Who makes cgroups. The kubelet's driver must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd where it is the machine's init and cgroup v2 the only hierarchy, else the daemon.
    Auto,
    /// The daemon.
    Cgroupfs,
    /// systemd.
    Systemd,
}

/// How containers' logs are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerLogConfig {
    /// The most bytes of a line before it is split into partial lines.
    pub max_line: usize,
}

/// Limits of ExecSync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecConfig {
    /// The most bytes of output (both streams together) that one answer carries; more is read and dropped.
    pub max_output: usize,
    /// How long, in seconds, output is awaited after the process has ended while a child of it holds the pipe open.
    pub drain_seconds: u64,
}

/// Seccomp profiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeccompConfig {
    /// The directory that `Localhost` profiles must be in, the kubelet's `<root>/seccomp` say. Default: anywhere, as the
    /// kubelet checks the path itself.
    pub localhost_root: Option<PathBuf>,
}

/// The daemon's own log, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A filter as `tracing-subscriber` reads it: a level, or `module=level` pairs. `RUST_LOG` overrides it.
    pub filter: String,
    /// The format.
    pub format: LogFormat,
}

/// The log's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text an event.
    Text,
    /// A JSON object an event.
    Json,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid TOML, has an unknown key, or a value of the wrong type. The line is not repeated: it may be a
    /// secret.
    #[error("{path}: line {line}: {why}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What.
        why: String,
    },
    /// A key of the section `registry` has a value that cannot be; it is not repeated, as it may be a secret.
    #[error("{key}: {why}")]
    Registry {
        /// The key.
        key: String,
        /// Why it cannot be.
        why: String,
    },
    /// A key has a value that cannot be.
    #[error("{key} = {value:?}: {why}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// Why it cannot be.
        why: &'static str,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root: "/var/lib/corten".into(),
            state: "/run/corten".into(),
            socket: "/run/corten/corten.sock".into(),
            monitor: None,
            netns_dir: "/run/netns".into(),
            default_runtime: BUILT_IN.into(),
            runtimes: BTreeMap::new(),
            registry: corten_images::Config::default(),
            images: ImagesConfig::default(),
            network: NetworkConfig::default(),
            cgroup: CgroupConfig::default(),
            container_log: ContainerLogConfig::default(),
            exec: ExecConfig::default(),
            streaming: StreamingConfig::default(),
            seccomp: SeccompConfig::default(),
            interface: InterfaceConfig::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for CgroupConfig {
    fn default() -> Self {
        Self { driver: CgroupDriver::Auto, prefix: "corten".into(), default_parent: None }
    }
}

impl Default for ContainerLogConfig {
    fn default() -> Self {
        Self { max_line: 16 * 1024 }
    }
}

impl Default for ExecConfig {
    fn default() -> Self {
        Self { max_output: 16 * 1024 * 1024, drain_seconds: 2 }
    }
}

impl ExecConfig {
    /// [`ExecConfig::drain_seconds`] as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

impl Config {
    /// The image store's directory.
    pub fn images_directory(&self) -> PathBuf {
        self.images.root.clone().unwrap_or_else(|| self.snapshots_directory())
    }

    /// The directory of what containers write: the image store's unless that is elsewhere.
    pub fn snapshots_directory(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Reads and checks a configuration: `path` if given, else [`DEFAULT_PATH`] if it exists, else the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = match path {
            Some(path) => path,
            None if Path::new(DEFAULT_PATH).exists() => Path::new(DEFAULT_PATH),
            None => return Ok(Self::default()),
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            // Of the line only the key is told: its value may be a secret.
            let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
            let why = [key, Some(error.message())].into_iter().flatten().collect::<Vec<_>>().join(": ");
            ConfigError::Parse { path: path.to_owned(), line, why }
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let paths = [
            ("root", Some(&self.root)),
            ("state", Some(&self.state)),
            ("socket", Some(&self.socket)),
            ("netns_dir", Some(&self.netns_dir)),
            ("images.root", self.images.root.as_ref()),
            ("network.conf_template", self.network.conf_template.as_ref()),
            ("seccomp.localhost_root", self.seccomp.localhost_root.as_ref()),
        ];
        for (key, path) in paths.into_iter().filter_map(|(key, path)| Some((key, path?))) {
            require(path.is_absolute(), key, path.display(), "must be an absolute path")?;
        }
        for (name, runtime) in &self.runtimes {
            let key = format!("runtimes.{name}.binary");
            require(name != BUILT_IN, "runtimes", name, "is the built-in launcher's own name")?;
            require(runtime.binary.is_absolute(), &key, runtime.binary.display(), "must be an absolute path")?;
        }
        require(
            self.default_runtime == BUILT_IN || self.runtimes.contains_key(&self.default_runtime),
            "default_runtime",
            &self.default_runtime,
            "is not a configured runtime handler",
        )?;
        let prefix = &self.cgroup.prefix;
        let plain = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        require(plain, "cgroup.prefix", prefix, "must be of letters, digits, '-' and '_'")?;
        if let Some(parent) = &self.cgroup.default_parent {
            let fits = parent.starts_with('/') || parent.ends_with(".slice");
            require(fits, "cgroup.default_parent", parent, "must begin with '/', or be a slice")?;
            let wrong = cgroups::wrong_default_parent(&self.cgroup);
            require(wrong.is_none(), "cgroup.default_parent", parent, wrong.unwrap_or_default())?;
        }
        let line = self.container_log.max_line;
        require((256..=1 << 20).contains(&line), "container_log.max_line", line, "must be from 256 to 1048576")?;
        let output = self.exec.max_output;
        require(output <= 16 << 20, "exec.max_output", output, "must be at most 16777216, the CRI's largest message")?;
        self.registry.check().map_err(|(key, why)| ConfigError::Registry { key: format!("registry.{key}"), why })?;
        for pattern in &self.images.pinned {
            let plain = !pattern.is_empty() && !pattern.contains(char::is_whitespace);
            require(plain, "images.pinned", pattern, "must be a pattern of image names")?;
        }
        self.images.check_limits()?;
        if let Some(root) = &self.images.root {
            let inside = root != &self.snapshots_directory() && root.starts_with(self.snapshots_directory());
            require(!inside, "images.root", root.display(), "must not be in the directory that it stands for")?;
        }
        let messages = Shapes::compiled().ok();
        for name in &self.interface.refuse_unknown_fields_in {
            let known = messages.is_none_or(|messages| messages.message(name).is_some());
            require(known, "interface.refuse_unknown_fields_in", name, "is not a message of the CRI")?;
        }
        self.check_streaming()
    }

    fn check_streaming(&self) -> Result<(), ConfigError> {
        let StreamingConfig { tls_cert, tls_key, idle_timeout_seconds: idle, attach_buffer: buffer, .. } =
            &self.streaming;
        for (key, path) in [("streaming.tls_cert", tls_cert), ("streaming.tls_key", tls_key)] {
            let shown = path.as_deref().unwrap_or(Path::new("")).display();
            require(path.as_ref().is_none_or(|path| path.is_absolute()), key, &shown, "must be an absolute path")?;
            let paired = tls_cert.is_some() == tls_key.is_some();
            require(paired, key, shown, "streaming.tls_cert and streaming.tls_key need each other")?;
        }
        require(*idle > 0, "streaming.idle_timeout_seconds", idle, "must not be 0")?;
        let range = (64 << 10)..=(64 << 20);
        require(range.contains(buffer), "streaming.attach_buffer", buffer, "must be from 65536 to 67108864")
    }
}

fn require(holds: bool, key: &str, value: impl ToString, why: &'static str) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Value { key: key.to_owned(), value: value.to_string(), why })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(Some(file.path()))
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(load("").unwrap(), Config::default());
    }

    #[test]
    fn the_defaults_survive_being_written_and_read() {
        assert_eq!(load(&toml::to_string(&Config::default()).unwrap()).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for text in ["rooot = \"/x\"", "[network]\nmood = \"cni\"", "[runtimes.runc]\nbinary = \"/x\"\nroot = 1"] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_key_and_value() {
        for (text, key) in [
            ("root = \"relative\"", "root"),
            ("[images]\nroot = \"relative\"", "images.root"),
            ("[images]\nroot = \"/var/lib/corten/images/s\"", "images.root"),
            ("default_runtime = \"kata\"", "default_runtime"),
            ("[runtimes.runc]\nbinary = \"runc\"", "runtimes.runc.binary"),
            ("[runtimes.corten]\nbinary = \"/bin/runc\"", "runtimes"),
            ("[cgroup]\nprefix = \"a/b\"", "cgroup.prefix"),
            ("[registry]\ndocker_config = \"x\"", "registry.docker_config"),
            ("[container_log]\nmax_line = 1", "container_log.max_line"),
            ("[images]\npinned = [\"a b\"]", "images.pinned"),
            ("[images]\nwritable_layer_bytes = 1000", "images.writable_layer_bytes"),
            ("[images]\nwritable_layer_inodes = 1", "images.writable_layer_inodes"),
            ("[streaming]\ntls_cert = \"/x\"", "streaming.tls_cert"),
            ("[streaming]\ntls_cert = \"x\"\ntls_key = \"/y\"", "streaming.tls_cert"),
            ("[streaming]\nattach_buffer = 1", "streaming.attach_buffer"),
            ("[interface]\nrefuse_unknown_fields_in = [\"Mount\", \"Mout\"]", "interface.refuse_unknown_fields_in"),
        ] {
            match load(text).unwrap_err() {
                ConfigError::Value { key: found, .. } | ConfigError::Registry { key: found, .. } => {
                    assert_eq!(found, key)
                }
                other => panic!("{text}: {other}"),
            }
        }
    }
}
