//! The pod network, as configured: the built-in bridge, or CNI plugins.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use corten_host::network::bridge::{Bridge, BridgeConfig};
use corten_host::network::cni::{Cni, CniConfig};
use corten_host::network::{Attached, PodNetwork};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::operation::lock;

/// The pod network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Who connects pods.
    pub mode: Mode,
    /// Mode `cni`: the directory of network configuration lists.
    pub conf_dir: PathBuf,
    /// Mode `cni`: where the plugins are.
    pub bin_dirs: Vec<PathBuf>,
    /// Mode `cni`: how long one plugin may run, in seconds, before it is killed.
    pub plugin_timeout_seconds: u64,
    /// Mode `bridge`: the bridge.
    pub bridge: BridgeConfig,
}

/// Who connects pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// CNI plugins.
    Cni,
    /// The built-in bridge.
    Bridge,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let CniConfig { conf_dir, bin_dirs, plugin_timeout_seconds, cache_dir: _ } = CniConfig::default();
        Self { mode: Mode::Cni, conf_dir, bin_dirs, plugin_timeout_seconds, bridge: BridgeConfig::default() }
    }
}

/// Whoever connects pods. Everything blocks.
pub enum Network {
    /// CNI plugins.
    Cni(Cni),
    /// The built-in bridge, and the warnings that it last gave.
    Bridge(Bridge, Mutex<Vec<String>>),
}

impl Network {
    /// Opens the configured network.
    pub fn open(config: &NetworkConfig, state: &Path, root: &Path) -> Result<Self> {
        match config.mode {
            Mode::Bridge => {
                let bridge = Bridge::open(config.bridge.clone(), &state.join("network"));
                Ok(Self::Bridge(bridge.map_err(|error| Error::node("network", error))?, Mutex::default()))
            }
            Mode::Cni => Ok(Self::Cni(Cni::open(CniConfig {
                conf_dir: config.conf_dir.clone(),
                bin_dirs: config.bin_dirs.clone(),
                plugin_timeout_seconds: config.plugin_timeout_seconds,
                cache_dir: root.join("cni"),
            }))),
        }
    }

    /// Connects a pod.
    pub fn attach(&self, pod: &PodNetwork) -> Result<Attached> {
        match self {
            Self::Cni(cni) => cni.attach(pod).map_err(|error| Error::Outside(format!("network: {error}"))),
            Self::Bridge(bridge, _) => bridge.attach(pod).map_err(|error| Error::node("network", error)),
        }
    }

    /// Disconnects a pod; one that is not connected is fine.
    pub fn detach(&self, id: &str) -> Result<()> {
        match self {
            Self::Cni(cni) => cni.detach(id).map_err(|error| Error::Outside(format!("network: {error}"))),
            Self::Bridge(bridge, _) => bridge.detach(id).map_err(|error| Error::node("network", error)),
        }
    }

    /// Whether pods can be connected; if not, why.
    pub fn ready(&self) -> std::result::Result<(), String> {
        match self {
            Self::Cni(cni) => cni.status().map(drop).map_err(|error| error.to_string()),
            Self::Bridge(bridge, known) => match bridge.status() {
                Ok(warnings) => {
                    tell_new(&mut lock(known), warnings);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Gives back what belongs to no pod of `live`.
    pub fn collect(&self, live: &[String]) -> Result<()> {
        match self {
            Self::Cni(cni) => cni.gc(live).map(drop).map_err(|error| Error::Outside(format!("network: {error}"))),
            Self::Bridge(bridge, _) => bridge.collect(live).map(drop).map_err(|error| Error::node("network", error)),
        }
    }

    /// Removes what the network has on the host, if no pod is connected.
    pub fn close(&self) -> Result<()> {
        match self {
            Self::Cni(_) => Ok(()),
            Self::Bridge(bridge, _) => bridge.close().map(drop).map_err(|error| Error::node("network", error)),
        }
    }
}

/// The kubelet asks every few seconds: a warning is told once, not each time.
fn tell_new(known: &mut Vec<String>, warnings: Vec<String>) {
    for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
        tracing::warn!("{warning}");
    }
    *known = warnings;
}
