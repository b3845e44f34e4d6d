//! StopContainer

use std::sync::Arc;
use std::time::Duration;

use corten_cri::v1;

use crate::container;
use crate::error::{Error, Result};
use crate::node::Node;

/// Stops a container with a grace period in seconds. One that is not there is stopped.
pub async fn handle(node: &Arc<Node>, request: v1::StopContainerRequest) -> Result<v1::StopContainerResponse> {
    let v1::StopContainerRequest { container_id, timeout } = request;
    let grace = u64::try_from(timeout).map_err(|_| Error::invalid("timeout", timeout, "must not be negative"))?;
    let grace = Duration::from_secs(grace);
    match node.containers.find(&container_id) {
        Ok(container) => container::stop::stop(node, &container, grace).await?,
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(v1::StopContainerResponse {})
}
