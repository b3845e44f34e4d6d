//! PodSandboxStatus

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_cri::v1;

use super::{container_message, pod_message};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::Pod;
use crate::pod::config::PodConfig;
use crate::timeline::now;

/// The status of a pod sandbox with its containers', from memory.
pub async fn handle(node: &Arc<Node>, request: v1::PodSandboxStatusRequest) -> Result<v1::PodSandboxStatusResponse> {
    let v1::PodSandboxStatusRequest { pod_sandbox_id, verbose } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let status = pod_message::status(&pod).ok_or(Error::NotFound { kind: "pod sandbox", id: pod_sandbox_id })?;
    let containers = node.containers.of_pod(&pod.id);
    Ok(v1::PodSandboxStatusResponse {
        status: Some(status),
        info: if verbose { info(node, &pod)? } else { BTreeMap::new() },
        containers_statuses: containers.iter().filter_map(|container| container_message::status(container)).collect(),
        timestamp: now(),
    })
}

fn info(node: &Node, pod: &Pod) -> Result<BTreeMap<String, String>> {
    let limits = pod.resources();
    // As it is now, like everything else here.
    let config = PodConfig { overhead: limits.overhead, resources: limits.resources, ..pod.config.clone() };
    let info = serde_json::json!({
        "pid": pod.monitor().map(|monitor| monitor.pid),
        "netns": pod.has_network().then(|| node.netns_path(&pod.id)),
        "cgroupParent": pod.cgroup_parent(node),
        "config": config,
        "overhead": config.overhead,
        "resources": config.resources,
    });
    let info = serde_json::to_string(&info).map_err(|error| Error::node("verbose information", error))?;
    Ok(BTreeMap::from([("info".to_owned(), info)]))
}
