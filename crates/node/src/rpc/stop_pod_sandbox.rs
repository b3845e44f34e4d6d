//! StopPodSandbox

use std::sync::Arc;

use corten_cri::v1;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod;

/// Stops a pod sandbox. One that is not there is stopped.
pub async fn handle(node: &Arc<Node>, request: v1::StopPodSandboxRequest) -> Result<v1::StopPodSandboxResponse> {
    let v1::StopPodSandboxRequest { pod_sandbox_id } = request;
    match node.pods.find(&pod_sandbox_id) {
        Ok(pod) => pod::stop::stop(node, &pod).await?,
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(v1::StopPodSandboxResponse {})
}
