//! ContainerStats

use std::sync::Arc;

use corten_cri::v1;

use super::stats_message;
use crate::error::Result;
use crate::node::Node;
use crate::stats;

/// What a container uses; of one that does not run, its writable layer.
pub async fn handle(node: &Arc<Node>, request: v1::ContainerStatsRequest) -> Result<v1::ContainerStatsResponse> {
    let v1::ContainerStatsRequest { container_id } = request;
    let container = node.containers.find(&container_id)?;
    let usage = stats::container(node, &container).await?;
    Ok(v1::ContainerStatsResponse { stats: Some(stats_message::container(node, &container, &usage)) })
}
