//! RemovePodSandbox

use std::sync::Arc;

use corten_cri::v1;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod;

/// Removes a pod sandbox with its containers. One that is not there is removed.
pub async fn handle(node: &Arc<Node>, request: v1::RemovePodSandboxRequest) -> Result<v1::RemovePodSandboxResponse> {
    let v1::RemovePodSandboxRequest { pod_sandbox_id } = request;
    match node.pods.find(&pod_sandbox_id) {
        Ok(pod) => pod::remove::remove(node, &pod).await?,
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(v1::RemovePodSandboxResponse {})
}
