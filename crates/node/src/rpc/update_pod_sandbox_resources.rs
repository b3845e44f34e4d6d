//! UpdatePodSandboxResources

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;
use crate::pod::resources::{self, PodResources};
use crate::resources::Resources;

/// Notes a ready pod's new limits, and sets them where the pod's cgroup is ours; the kubelet sets its own before it calls.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::UpdatePodSandboxResourcesRequest,
) -> Result<v1::UpdatePodSandboxResourcesResponse> {
    let v1::UpdatePodSandboxResourcesRequest { pod_sandbox_id, overhead, resources } = request;
    let change = PodResources {
        overhead: overhead.map(|limits| Resources::from_cri("overhead", limits)).transpose()?,
        resources: resources.map(|limits| Resources::from_cri("resources", limits)).transpose()?,
    };
    let pod = node.pods.find(&pod_sandbox_id)?;
    resources::update(node, &pod, change).await?;
    Ok(v1::UpdatePodSandboxResourcesResponse {})
}
