//! RemoveImage

use std::sync::Arc;

use corten_cri::v1;

use super::image_message;
use crate::error::Result;
use crate::node::Node;

/// Removes an image with all its names. One that is not there is removed.
pub async fn handle(node: &Arc<Node>, request: v1::RemoveImageRequest) -> Result<v1::RemoveImageResponse> {
    let v1::RemoveImageRequest { image } = request;
    node.images.remove(&image_message::name(node, "image", image)?).await?;
    Ok(v1::RemoveImageResponse {})
}
