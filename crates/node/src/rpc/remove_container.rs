//! RemoveContainer

use std::sync::Arc;

use corten_cri::v1;

use crate::container;
use crate::error::{Error, Result};
use crate::node::Node;

/// Removes a container, killing it if it runs. One that is not there is removed.
pub async fn handle(node: &Arc<Node>, request: v1::RemoveContainerRequest) -> Result<v1::RemoveContainerResponse> {
    let v1::RemoveContainerRequest { container_id } = request;
    match node.containers.find(&container_id) {
        Ok(container) => container::remove::remove(node, &container).await?,
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(v1::RemoveContainerResponse {})
}
