//! What plugins are told about a pod: CNI_ARGS and the capability arguments that Kubernetes' networks rely on.

use serde_json::{Map, Value, json};

use super::super::{HostPort, PodNetwork};
use super::config::{Conflist, PluginConf};
use super::error::Error;

/// The most that a traffic shaper takes for a burst, in bits; Kubernetes' annotations have no burst.
const LARGEST_BURST: u64 = i32::MAX as u64;

/// `CNI_ARGS` as every Kubernetes runtime sends it.
pub(super) fn arguments(pod: &PodNetwork) -> Result<String, Error> {
    let pairs = [
        ("K8S_POD_NAMESPACE", &pod.namespace),
        ("K8S_POD_NAME", &pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", &pod.id),
        ("K8S_POD_UID", &pod.uid),
    ];
    let mut text = "IgnoreUnknown=1".to_owned();
    for (field, value) in pairs {
        if value.contains([';', '=', '\0', '\n']) {
            let reason = "it has a character that separates CNI_ARGS".to_owned();
            return Err(Error::Invalid { field, value: value.escape_debug().to_string(), reason });
        }
        text.push_str(&format!(";{field}={value}"));
    }
    Ok(text)
}

/// Every capability argument there is a value for; each plugin gets those it declares.
pub(super) fn capabilities(pod: &PodNetwork) -> Map<String, Value> {
    let mut all = Map::new();
    let ports: Vec<Value> = pod.host_ports.iter().filter(|port| port.host_port != 0).map(port_mapping).collect();
    if !ports.is_empty() {
        all.insert("portMappings".to_owned(), ports.into());
    }
    if let Some(limits) = pod.bandwidth {
        let mut bandwidth = Map::new();
        for (direction, rate) in [("ingress", limits.ingress), ("egress", limits.egress)] {
            if let Some(rate) = rate {
                bandwidth.insert(format!("{direction}Rate"), rate.into());
                bandwidth.insert(format!("{direction}Burst"), LARGEST_BURST.into());
            }
        }
        all.insert("bandwidth".to_owned(), bandwidth.into());
    }
    let dns = &pod.dns;
    if !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty()) {
        let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        all.insert("dns".to_owned(), dns);
    }
    if !pod.cgroup_parent.is_empty() {
        all.insert("cgroupPath".to_owned(), pod.cgroup_parent.clone().into());
    }
    if let Some(mac) = &pod.mac {
        all.insert("mac".to_owned(), mac.clone().into());
    }
    all.insert("io.kubernetes.cri.pod-annotations".to_owned(), json!(pod.annotations));
    all
}

fn port_mapping(port: &HostPort) -> Value {
    let mut mapping = json!({
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.as_str(),
    });
    if let (Some(ip), Some(object)) = (port.host_ip, mapping.as_object_mut()) {
        object.insert("hostIP".to_owned(), ip.to_string().into());
    }
    mapping
}

/// The configuration that a plugin reads: its own, with the network's name and version, the capability arguments it
/// declares, and the previous plugin's result.
pub(super) fn plugin_config(
    conflist: &Conflist,
    plugin: &PluginConf,
    capabilities: &Map<String, Value>,
    previous: Option<&Value>,
) -> Map<String, Value> {
    let mut config = plugin.object.clone();
    config.remove("capabilities");
    config.insert("name".to_owned(), conflist.name.clone().into());
    config.insert("cniVersion".to_owned(), conflist.version.as_str().into());
    let declared: Map<String, Value> = capabilities
        .iter()
        .filter(|(name, _)| plugin.has_capability(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !declared.is_empty() {
        config.insert("runtimeConfig".to_owned(), declared.into());
    }
    if let Some(previous) = previous {
        config.insert("prevResult".to_owned(), previous.clone());
    }
    config
}
