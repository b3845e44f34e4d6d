//! StreamContainers

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_containers};
use crate::error::Result;
use crate::node::Node;

/// What ListContainers lists, in batches.
pub async fn handle(
    node: &Node,
    request: v1::StreamContainersRequest,
) -> Result<impl Stream<Item = Result<v1::StreamContainersResponse, Status>> + Send + 'static> {
    let v1::StreamContainersRequest { filter } = request;
    Ok(batches(list_containers::items(node, filter)?, |containers| v1::StreamContainersResponse { containers }))
}
