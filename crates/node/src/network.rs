//! The pod network, as configured: the built-in bridge, or CNI plugins.

mod pod_cidr;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use corten_host::network::bridge::{Bridge, BridgeConfig, Subnet};
use corten_host::network::cni::{Cni, CniConfig};
use corten_host::network::{Attached, PodNetwork};
use corten_host::whole_file;
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
    /// Mode `cni`: a template of a network configuration, for which the kubelet gives the node's pod CIDR.
    pub conf_template: Option<PathBuf>,
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
        Self {
            mode: Mode::Cni,
            conf_dir,
            conf_template: None,
            bin_dirs,
            plugin_timeout_seconds,
            bridge: BridgeConfig::default(),
        }
    }
}

/// Whoever connects pods. Everything blocks.
pub enum Network {
    /// CNI plugins.
    Cni {
        /// The plugins.
        cni: Cni,
        /// [`NetworkConfig::conf_template`]
        template: Option<PathBuf>,
    },
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
            Mode::Cni => {
                let cni = Cni::open(CniConfig {
                    conf_dir: config.conf_dir.clone(),
                    bin_dirs: config.bin_dirs.clone(),
                    plugin_timeout_seconds: config.plugin_timeout_seconds,
                    cache_dir: root.join("cni"),
                });
                Ok(Self::Cni { cni, template: config.conf_template.clone() })
            }
        }
    }

    /// Connects a pod.
    pub fn attach(&self, pod: &PodNetwork) -> Result<Attached> {
        match self {
            Self::Cni { cni, .. } => cni.attach(pod).map_err(|error| Error::Outside(format!("network: {error}"))),
            Self::Bridge(bridge, _) => bridge.attach(pod).map_err(|error| Error::node("network", error)),
        }
    }

    /// Disconnects a pod; one that is not connected is fine.
    pub fn detach(&self, id: &str) -> Result<()> {
        match self {
            Self::Cni { cni, .. } => cni.detach(id).map_err(|error| Error::Outside(format!("network: {error}"))),
            Self::Bridge(bridge, _) => bridge.detach(id).map_err(|error| Error::node("network", error)),
        }
    }

    /// Whether pods can be connected; if not, why.
    pub fn ready(&self) -> std::result::Result<(), String> {
        match self {
            Self::Cni { cni, .. } => cni.status().map(drop).map_err(|error| error.to_string()),
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
            Self::Cni { cni, .. } => {
                cni.gc(live).map(drop).map_err(|error| Error::Outside(format!("network: {error}")))
            }
            Self::Bridge(bridge, _) => bridge.collect(live).map(drop).map_err(|error| Error::node("network", error)),
        }
    }

    /// Has new pods get their addresses from the node's pod CIDR, as the kubelet gives it.
    ///
    /// The built-in bridge takes it as its subnets. For CNI, the configured template is rendered with it, unless somebody else's
    /// configuration is there, which counts then: a network add-on brings its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no CIDR, or none that the bridge can have; [`Error::Node`] naming the template.
    pub fn set_pod_cidr(&self, text: &str) -> Result<()> {
        let ranges = pod_cidr::parse(text)?;
        match self {
            Self::Bridge(bridge, _) => {
                let invalid = |error: &dyn std::fmt::Display| Error::invalid(pod_cidr::FIELD, text, error.to_string());
                let subnets: Result<Vec<Subnet>> =
                    ranges.iter().map(|range| range.text.parse().map_err(|error| invalid(&error))).collect();
                bridge.set_subnets(&subnets?).map_err(|error| match error {
                    corten_host::network::bridge::Error::Invalid { .. } => invalid(&error),
                    other => Error::node("network", other),
                })
            }
            Self::Cni { cni, template: Some(template) } => configure(cni, template, &ranges),
            Self::Cni { template: None, .. } => {
                tracing::info!(
                    pod_cidr = text,
                    "network.conf_template is not set: whoever configures CNI knows the pod CIDR"
                );
                Ok(())
            }
        }
    }

    /// Which network there is, for people.
    pub fn describe(&self) -> serde_json::Value {
        match self {
            Self::Bridge(bridge, _) => {
                let subnets: Vec<String> = bridge.subnets().iter().map(ToString::to_string).collect();
                serde_json::json!({"mode": "bridge", "bridge": bridge.config().name, "subnets": subnets})
            }
            Self::Cni { cni, .. } => match cni.configured() {
                Ok(found) => serde_json::json!({"mode": "cni", "network": found.network, "file": found.file}),
                Err(_) => serde_json::json!({"mode": "cni", "network": null, "file": null}),
            },
        }
    }

    /// Removes what the network has on the host, if no pod is connected.
    pub fn close(&self) -> Result<()> {
        match self {
            Self::Cni { .. } => Ok(()),
            Self::Bridge(bridge, _) => bridge.close().map(drop).map_err(|error| Error::node("network", error)),
        }
    }
}

/// The name of the configuration that is made of the template.
const MADE: &str = "10-corten.conflist";

fn configure(cni: &Cni, template: &Path, ranges: &[pod_cidr::PodCidr]) -> Result<()> {
    let directory = &cni.config().conf_dir;
    let made = directory.join(MADE);
    if let Ok(found) = cni.configured()
        && found.file != made
    {
        tracing::info!(file = %found.file.display(), "CNI is configured: network.conf_template is not used");
        return Ok(());
    }
    let rendered = rendered(template, ranges)?;
    let failed = |error| Error::node(format!("write {}", made.display()), error);
    fs::create_dir_all(directory).map_err(failed)?;
    whole_file::write(&made, rendered).map_err(failed)
}

/// The most bytes of a template.
const LARGEST_TEMPLATE: u64 = 1 << 20;

fn rendered(path: &Path, ranges: &[pod_cidr::PodCidr]) -> Result<String> {
    let failed =
        |error: &dyn std::fmt::Display| Error::node(format!("network.conf_template {}", path.display()), error);
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > LARGEST_TEMPLATE {
        return Err(failed(&format!("it is larger than {LARGEST_TEMPLATE} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let route = |ipv6: bool, route: &str| ranges.iter().any(|range| range.ipv6 == ipv6).then(|| route.to_owned());
    let values = template::Values {
        pod_cidr: ranges.first().map(|range| range.text.clone()).unwrap_or_default(),
        pod_cidr_ranges: ranges.iter().map(|range| range.text.clone()).collect(),
        routes: [route(false, "0.0.0.0/0"), route(true, "::/0")].into_iter().flatten().collect(),
    };
    let rendered = template::render(&text, &values).map_err(|error| failed(&error))?;
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&rendered) {
        Ok(_) => Ok(rendered),
        Err(error) => Err(failed(&format!("what it renders to is not a JSON object: {error}"))),
    }
}

/// The kubelet asks every few seconds: a warning is told once, not each time.
fn tell_new(known: &mut Vec<String>, warnings: Vec<String>) {
    for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
        tracing::warn!("{warning}");
    }
    *known = warnings;
}
