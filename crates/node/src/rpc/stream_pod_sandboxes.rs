//! StreamPodSandboxes

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_pod_sandbox};
use crate::error::Result;
use crate::node::Node;

/// What ListPodSandbox lists, in batches.
pub async fn handle(
    node: &Node,
    request: v1::StreamPodSandboxesRequest,
) -> Result<impl Stream<Item = Result<v1::StreamPodSandboxesResponse, Status>> + Send + 'static> {
    let v1::StreamPodSandboxesRequest { filter } = request;
    Ok(batches(list_pod_sandbox::items(node, filter)?, |pod_sandboxes| v1::StreamPodSandboxesResponse {
        pod_sandboxes,
    }))
}
