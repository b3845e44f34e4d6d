//! GetContainerEvents

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use crate::error::Result;
use crate::node::Node;

/// Everything that happens to pods and containers from now on.
pub async fn handle(
    node: &Node,
    request: v1::GetEventsRequest,
) -> Result<impl Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send + 'static> {
    let v1::GetEventsRequest {} = request;
    Ok(node.events.listen())
}
