//! StreamContainerStats

use std::sync::Arc;

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_container_stats};
use crate::error::Result;
use crate::node::Node;

/// What ListContainerStats lists, in batches.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::StreamContainerStatsRequest,
) -> Result<impl Stream<Item = Result<v1::StreamContainerStatsResponse, Status>> + Send + 'static> {
    let v1::StreamContainerStatsRequest { filter } = request;
    Ok(batches(list_container_stats::items(node, filter).await, |container_stats| v1::StreamContainerStatsResponse {
        container_stats,
    }))
}
