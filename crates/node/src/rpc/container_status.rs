//! ContainerStatus

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_cri::v1;

use super::container_config_message::container_config;
use super::{container_message, verbose};
use crate::container::config::ContainerConfig;
use crate::container::{Container, launch};
use crate::error::{Error, Result};
use crate::node::Node;

/// A container's status, from memory.
pub async fn handle(node: &Arc<Node>, request: v1::ContainerStatusRequest) -> Result<v1::ContainerStatusResponse> {
    let v1::ContainerStatusRequest { container_id, verbose: wanted } = request;
    let container = node.containers.find(&container_id)?;
    let status =
        container_message::status(&container).ok_or(Error::NotFound { kind: "container", id: container_id })?;
    let info = if wanted { info(node, &container)? } else { BTreeMap::new() };
    Ok(v1::ContainerStatusResponse { status: Some(status), info })
}

fn info(node: &Node, container: &Container) -> Result<BTreeMap<String, String>> {
    // As it is now, like everything else here.
    let config = ContainerConfig { resources: container.resources(), ..container.config().clone() };
    verbose(&serde_json::json!({
        "sandboxID": container.facts.pod_id,
        "pid": container.state().run().map_or(0, |run| run.pid),
        "cgroup": container.cgroup(node),
        "config": container_config(&config),
        "runtimeSpec": launch::read_spec(node, container).ok(),
    }))
}
