//! Settings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::registry::{Credentials, HostsBlocks};

/// The `[registry]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directories in containerd's `certs.d` form: `<host>/hosts.toml` says which mirrors, certificates and headers a
    /// registry wants. The first directory that knows the host wins.
    pub config_path: Vec<PathBuf>,
    /// How many layers are downloaded at once, over all pulls.
    pub max_concurrent_downloads: usize,
    /// How each of them is downloaded.
    pub download: Downloads,
    /// Whether credentials of a request that name no server are shown to the registry's mirrors, too.
    pub credentials_for_mirrors: bool,
    /// Docker's `config.json`, for credentials that neither the request nor `credentials` has.
    pub docker_config: Option<PathBuf>,
    /// Where the `docker-credential-*` programs are that `docker_config` names.
    pub credential_helper_dir: Option<PathBuf>,
    /// How long such a program may run before it is killed.
    pub credential_helper_timeout_seconds: u64,
    /// What an image may not exceed.
    pub limits: Limits,
    /// What a registry's `hosts.toml` could say, by registry. Comes before the directories; `_default` after them.
    pub hosts: HostsBlocks,
    /// Credentials, by the host that may see them.
    pub credentials: Credentials,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            config_path: Vec::new(),
            max_concurrent_downloads: 6,
            download: Downloads::default(),
            credentials_for_mirrors: false,
            docker_config: None,
            credential_helper_dir: None,
            credential_helper_timeout_seconds: 30,
            limits: Limits::default(),
            hosts: HostsBlocks::default(),
            credentials: Credentials::default(),
        }
    }
}

/// How one blob is downloaded, and how much patience there is with its registry. Zeros count as ones, except of `retries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Downloads {
    /// How many connections fetch one large blob.
    pub connections: usize,
    /// Blobs of fewer bytes are fetched over one connection.
    pub parallel_bytes: u64,
    /// How many bytes of a large blob are asked for at once.
    pub range_bytes: u64,
    /// How many bytes of a blob may be in memory, waiting for those before them.
    pub window_bytes: u64,
    /// How often a host may fail in a row before the next one is asked.
    pub retries: u32,
    /// The time before the first retry; it doubles with each, up to 30 seconds.
    pub retry_milliseconds: u64,
    /// The longest time to wait because a registry says so.
    pub retry_after_seconds: u64,
    /// A connection is given up when fewer bytes per second than this arrive...
    pub stall_bytes_per_second: u64,
    /// ... over so many seconds.
    pub stall_seconds: u64,
}

impl Default for Downloads {
    fn default() -> Self {
        Self {
            connections: 4,
            parallel_bytes: 16 << 20,
            range_bytes: 4 << 20,
            window_bytes: 16 << 20,
            retries: 5,
            retry_milliseconds: 250,
            retry_after_seconds: 60,
            stall_bytes_per_second: 1024,
            stall_seconds: 30,
        }
    }
}

impl Config {
    /// Whether the values can be: the key and why not.
    ///
    /// # Errors
    /// The first that cannot, without a secret.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (key, path) in
            [("docker_config", &self.docker_config), ("credential_helper_dir", &self.credential_helper_dir)]
        {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err((key.to_owned(), "must be an absolute path".to_owned()));
            }
        }
        if self.credential_helper_timeout_seconds == 0 {
            return Err(("credential_helper_timeout_seconds".to_owned(), "must not be 0".to_owned()));
        }
        for (key, login) in &self.credentials {
            login.check().map_err(|why| (format!("credentials.{key:?}"), why.to_owned()))?;
        }
        self.hosts.check()
    }
}

/// What an image may not exceed; anything over is refused with an error that names the limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a manifest or an index.
    pub manifest_bytes: u64,
    /// Bytes of an image's configuration.
    pub config_bytes: u64,
    /// Layers of an image; overlayfs itself ends at 500.
    pub layers: usize,
    /// Entries of one layer's archive.
    pub layer_entries: u64,
    /// Bytes of one layer when unpacked; also of an image archive with all in it.
    pub layer_bytes: u64,
    /// Bytes of one entry's path.
    pub path_bytes: usize,
    /// Whether layers may hold any device node. Without, only those that every container has anyway are unpacked
    /// (null, zero, full, random, urandom, tty, console, ptmx) and others are refused.
    pub allow_device_nodes: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            config_bytes: 8 << 20,
            layers: 500,
            layer_entries: 4_000_000,
            layer_bytes: 128 << 30,
            path_bytes: 4095,
            allow_device_nodes: false,
        }
    }
}
