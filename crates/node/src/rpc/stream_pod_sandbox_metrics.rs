//! StreamPodSandboxMetrics

use std::sync::Arc;

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_pod_sandbox_metrics};
use crate::error::Result;
use crate::node::Node;

/// What ListPodSandboxMetrics lists, in batches.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::StreamPodSandboxMetricsRequest,
) -> Result<impl Stream<Item = Result<v1::StreamPodSandboxMetricsResponse, Status>> + Send + 'static> {
    let v1::StreamPodSandboxMetricsRequest {} = request;
    Ok(batches(list_pod_sandbox_metrics::items(node).await, |pod_sandbox_metrics| {
        v1::StreamPodSandboxMetricsResponse { pod_sandbox_metrics }
    }))
}
