//! UntagImage of `corten.v1.Node`.

use corten_cri::node as api;

use crate::error::Result;
use crate::node::Node;

/// Takes a tag away, and with the last one the image.
pub async fn handle(node: &Node, request: api::UntagImageRequest) -> Result<api::UntagImageResponse> {
    let api::UntagImageRequest { name } = request;
    Ok(api::UntagImageResponse { removed: node.images.untag(&name).await? })
}
