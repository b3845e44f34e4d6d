//! A pod sandbox's verbose information: JSON with the names that containerd's has, for `crictl inspectp` and what reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use corten_host::network::Attached;
use serde_json::{Value, json};

use super::pod_config_message::pod_config;
use super::verbose;
use crate::error::Result;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::pod::Pod;
use crate::pod::config::PodConfig;
use crate::security::{PidNamespace, PodNamespace};
use crate::spec;

/// The information, by its one name, `info`.
pub fn info(node: &Node, pod: &Pod) -> Result<BTreeMap<String, String>> {
    let limits = pod.resources();
    // As it is now, like everything else here.
    let config = PodConfig { overhead: limits.overhead, resources: limits.resources, ..pod.config.clone() };
    let (netns, parts) = (pod.has_network().then(|| node.netns_path(&pod.id)), pod.parts());
    let attached = parts.as_ref().and_then(|parts| parts.network.as_ref());
    let monitor = pod.monitor();
    verbose(&json!({
        "pid": monitor.as_ref().map_or(0, |monitor| monitor.pid),
        "runtimeHandler": pod.handler,
        "netNamespaceClosed": netns.as_ref().is_some_and(|path| !path.exists()),
        "config": pod_config(&config),
        "runtimeSpec": runtime_spec(node, pod, &config, netns.as_deref(), monitor.as_deref())?,
        "cniResult": attached.map(|attached| cni_result(attached, netns.as_deref())),
        "netns": netns,
        "cgroupParent": pod.cgroup_parent(node),
    }))
}

/// There is no pause container; this is what its spec would say of the pod: what all containers share.
fn runtime_spec(
    node: &Node,
    pod: &Pod,
    config: &PodConfig,
    netns: Option<&Path>,
    monitor: Option<&Monitor>,
) -> Result<Value> {
    Ok(json!({
        "ociVersion": spec::OCI_VERSION,
        "hostname": config.hostname,
        "annotations": config.annotations,
        "linux": {
            "cgroupsPath": pod.cgroup_parent(node),
            "namespaces": namespaces(config, netns, monitor),
            "sysctl": spec::pod_sysctls(config)?,
        },
    }))
}

fn namespaces(config: &PodConfig, netns: Option<&Path>, monitor: Option<&Monitor>) -> Vec<Value> {
    let options = &config.security.namespaces;
    let shared = |kind: &str, pid: i32| json!({"type": kind, "path": spec::namespace_of(pid, kind)});
    let mut namespaces: Vec<Value> = netns.map(|path| json!({"type": "network", "path": path})).into_iter().collect();
    // Those live as long as the monitor.
    let Some(monitor) = monitor else { return namespaces };
    if options.network == PodNamespace::Pod {
        namespaces.push(shared("uts", monitor.pid));
    }
    if options.ipc == PodNamespace::Pod {
        namespaces.push(shared("ipc", monitor.pid));
    }
    if let (PidNamespace::Pod, Some(init)) = (&options.pid, monitor.init_pid) {
        namespaces.push(shared("pid", init));
    }
    namespaces
}

/// How the network was set up, as libcni's users see a result.
fn cni_result(attached: &Attached, netns: Option<&Path>) -> Value {
    let Attached { interface, ips, mac, gateways, dns } = attached;
    let gateway_of = |ip: &IpAddr| gateways.iter().find(|gateway| gateway.is_ipv4() == ip.is_ipv4());
    let addresses: Vec<Value> = ips.iter().map(|ip| json!({"IP": ip, "Gateway": gateway_of(ip)})).collect();
    json!({
        "Interfaces": {interface: {"IPConfigs": addresses, "Mac": mac, "Sandbox": netns}},
        "DNS": [{"nameservers": dns.servers, "search": dns.searches, "options": dns.options}],
    })
}
