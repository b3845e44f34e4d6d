//! Settings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[registry]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Directories in containerd's `certs.d` form: `<host>/hosts.toml` says which mirrors, certificates and headers a
    /// registry wants. The first directory that knows the host wins.
    pub config_path: Vec<PathBuf>,
    /// How many layers are downloaded at once, over all pulls.
    pub max_concurrent_downloads: usize,
    /// What an image may not exceed.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { config_path: Vec::new(), max_concurrent_downloads: 6, limits: Limits::default() }
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
