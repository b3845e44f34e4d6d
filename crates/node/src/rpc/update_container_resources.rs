//! UpdateContainerResources

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;
use crate::resources::Resources;
use crate::{check, container};

/// Changes a container's limits, all of them or none, before it answers.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::UpdateContainerResourcesRequest,
) -> Result<v1::UpdateContainerResourcesResponse> {
    let v1::UpdateContainerResourcesRequest { container_id, linux, windows, annotations } = request;
    if windows.is_some_and(|windows| windows != v1::WindowsContainerResources::default()) {
        return Err(check::invalid("windows", "", "is not applicable on Linux"));
    }
    // They are words to extensions of a runtime about this update, not annotations of the container; we have none.
    check::map("annotations", annotations, check::MAX_MAP)?;
    let change = Resources::from_cri("linux", linux.unwrap_or_default())?;
    let container = node.containers.find(&container_id)?;
    container::update::update(node, &container, change).await?;
    Ok(v1::UpdateContainerResourcesResponse {})
}
