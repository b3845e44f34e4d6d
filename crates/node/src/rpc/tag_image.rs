//! TagImage of `corten.v1.Node`.

use corten_cri::node as api;

use crate::error::Result;
use crate::node::Node;

/// Gives an image one more tag.
pub async fn handle(node: &Node, request: api::TagImageRequest) -> Result<api::TagImageResponse> {
    let api::TagImageRequest { image, target } = request;
    let name = node.images.tag(&image, &target).await?;
    Ok(api::TagImageResponse { name: name.to_string() })
}
