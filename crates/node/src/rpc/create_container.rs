//! CreateContainer

use std::sync::Arc;

use corten_cri::v1;

use crate::container;
use crate::container::config::ContainerConfig;
use crate::error::{Error, Result};
use crate::node::Node;

/// Creates a container in a pod sandbox, or joins or acknowledges the create that made it.
pub async fn handle(node: &Arc<Node>, request: v1::CreateContainerRequest) -> Result<v1::CreateContainerResponse> {
    // The sandbox's own configuration is known from its run.
    let v1::CreateContainerRequest { pod_sandbox_id, config, sandbox_config: _ } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let config = config.ok_or_else(|| Error::invalid("config", "", "must be set"))?;
    let config = ContainerConfig::from_cri(config)?;
    node.handler_of("config.image.runtime_handler", &config.image.runtime_handler)?;
    for (index, mount) in config.mounts.iter().enumerate() {
        let handler = mount.image().map_or("", |image| &image.spec.runtime_handler);
        node.handler_of(&format!("config.mounts[{index}].image.runtime_handler"), handler)?;
    }
    let container_id = container::create::create(node, &pod, config).await?;
    Ok(v1::CreateContainerResponse { container_id })
}
