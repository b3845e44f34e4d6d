//! PodSandboxStatus

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_cri::v1;

use super::{container_message, pod_info, pod_message};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::timeline::now;

/// The status of a pod sandbox with its containers', from memory.
pub async fn handle(node: &Arc<Node>, request: v1::PodSandboxStatusRequest) -> Result<v1::PodSandboxStatusResponse> {
    let v1::PodSandboxStatusRequest { pod_sandbox_id, verbose } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let status = pod_message::status(&pod).ok_or(Error::NotFound { kind: "pod sandbox", id: pod_sandbox_id })?;
    let containers = node.containers.of_pod(&pod.id);
    Ok(v1::PodSandboxStatusResponse {
        status: Some(status),
        info: if verbose { pod_info::info(node, &pod)? } else { BTreeMap::new() },
        containers_statuses: containers.iter().filter_map(|container| container_message::status(container)).collect(),
        timestamp: now(),
    })
}
