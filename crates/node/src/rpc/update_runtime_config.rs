//! UpdateRuntimeConfig

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;

/// Takes over what the kubelet knows of the node: its pod CIDR. An empty one changes nothing.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::UpdateRuntimeConfigRequest,
) -> Result<v1::UpdateRuntimeConfigResponse> {
    let v1::UpdateRuntimeConfigRequest { runtime_config } = request;
    let v1::RuntimeConfig { network_config } = runtime_config.unwrap_or_default();
    let v1::NetworkConfig { pod_cidr } = network_config.unwrap_or_default();
    if !pod_cidr.is_empty() {
        node.blocking(move |node| node.network.set_pod_cidr(&pod_cidr)).await?;
    }
    Ok(v1::UpdateRuntimeConfigResponse {})
}
