//! ListImages

use corten_cri::v1;

use super::image_message;
use crate::error::Result;
use crate::node::Node;

/// The images there are, or the one that a filter names.
pub async fn handle(node: &Node, request: v1::ListImagesRequest) -> Result<v1::ListImagesResponse> {
    let v1::ListImagesRequest { filter } = request;
    Ok(v1::ListImagesResponse { images: items(node, filter)? })
}

/// The images there are, or the one that a filter names.
pub(super) fn items(node: &Node, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>> {
    let v1::ImageFilter { image } = filter.unwrap_or_default();
    let images = match image_message::optional_name(node, "filter.image", image)? {
        Some(name) => node.images.resolve(&name)?.into_iter().collect(),
        None => node.images.list(),
    };
    Ok(images.iter().map(|image| image_message::of(image)).collect())
}
