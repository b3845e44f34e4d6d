//! StartContainer

use std::sync::Arc;

use corten_cri::v1;

use crate::container;
use crate::error::Result;
use crate::node::Node;

/// Starts a created container.
pub async fn handle(node: &Arc<Node>, request: v1::StartContainerRequest) -> Result<v1::StartContainerResponse> {
    let v1::StartContainerRequest { container_id } = request;
    container::start::start(node, &node.containers.find(&container_id)?).await?;
    Ok(v1::StartContainerResponse {})
}
