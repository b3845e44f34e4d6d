//! InspectImage of `corten.v1.Node`.

use corten_cri::node as api;
use corten_images::{ImageLayer, Usage};

use crate::error::{Error, Result};
use crate::node::Node;

/// Everything about an image.
pub async fn handle(node: &Node, request: api::InspectImageRequest) -> Result<api::InspectImageResponse> {
    let api::InspectImageRequest { image: name } = request;
    let found = node.images.inspect(&name)?.ok_or(Error::NotFound { kind: "image", id: name })?;
    let image = found.image;
    Ok(api::InspectImageResponse {
        id: image.id.clone(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        pinned: image.pinned,
        annotations: image.annotations.clone(),
        layers: found.layers.iter().map(layer).collect(),
        config: found.config,
        containers: found.containers,
    })
}

fn layer((layer, usage): &(ImageLayer, Usage)) -> api::InspectedLayer {
    api::InspectedLayer {
        diff_id: layer.diff_id.to_string(),
        digest: layer.blob.to_string(),
        size: layer.size,
        disk_bytes: usage.bytes,
        disk_inodes: usage.inodes,
    }
}
