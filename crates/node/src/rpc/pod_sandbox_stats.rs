//! PodSandboxStats

use std::sync::Arc;

use corten_cri::v1;

use super::stats_message;
use crate::error::Result;
use crate::node::Node;
use crate::stats;

/// What a ready pod and its containers use.
pub async fn handle(node: &Arc<Node>, request: v1::PodSandboxStatsRequest) -> Result<v1::PodSandboxStatsResponse> {
    let v1::PodSandboxStatsRequest { pod_sandbox_id } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let usage = stats::pod(node, &pod).await?;
    Ok(v1::PodSandboxStatsResponse { stats: Some(stats_message::pod(node, &pod, &usage)) })
}
