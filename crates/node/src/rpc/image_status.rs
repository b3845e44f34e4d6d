//! ImageStatus

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_cri::v1;

use super::{image_message, verbose};
use crate::error::Result;
use crate::node::Node;

/// An image's status. One that is not there is no error: the answer has no image. Nor has it one that is known to be
/// broken, so that the kubelet pulls it again, which mends it.
pub async fn handle(node: &Arc<Node>, request: v1::ImageStatusRequest) -> Result<v1::ImageStatusResponse> {
    let v1::ImageStatusRequest { image, verbose: wanted } = request;
    let image = node.images.resolve(&image_message::name(node, "image", image)?)?;
    let image = image.filter(|image| node.images.usable(image).is_ok());
    let info = match &image {
        Some(image) if wanted => info(image)?,
        _ => BTreeMap::new(),
    };
    Ok(v1::ImageStatusResponse { image: image.map(|image| image_message::of(&image)), info })
}

fn info(image: &corten_images::Image) -> Result<BTreeMap<String, String>> {
    verbose(&serde_json::json!({ "imageSpec": image.config }))
}
