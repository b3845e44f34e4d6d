//! ReopenContainerLog

use std::sync::Arc;

use corten_cri::v1;

use crate::container;
use crate::error::Result;
use crate::node::Node;

/// Opens a running container's log path again, after the kubelet has rotated the file. On an error the old file goes on, and
/// there is no new one.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ReopenContainerLogRequest,
) -> Result<v1::ReopenContainerLogResponse> {
    let v1::ReopenContainerLogRequest { container_id } = request;
    let container = node.containers.find(&container_id)?;
    container::log::reopen(&container).await?;
    Ok(v1::ReopenContainerLogResponse {})
}
