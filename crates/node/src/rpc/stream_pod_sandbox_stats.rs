//! StreamPodSandboxStats

use std::sync::Arc;

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_pod_sandbox_stats};
use crate::error::Result;
use crate::node::Node;

/// What ListPodSandboxStats lists, in batches.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::StreamPodSandboxStatsRequest,
) -> Result<impl Stream<Item = Result<v1::StreamPodSandboxStatsResponse, Status>> + Send + 'static> {
    let v1::StreamPodSandboxStatsRequest { filter } = request;
    Ok(batches(list_pod_sandbox_stats::items(node, filter).await, |pod_sandbox_stats| {
        v1::StreamPodSandboxStatsResponse { pod_sandbox_stats }
    }))
}
