//! PruneImages of `corten.v1.Node`.

use corten_cri::node as api;

use super::load_image::loaded_image;
use crate::error::Result;
use crate::node::Node;

/// Removes what no container uses.
pub async fn handle(node: &Node, request: api::PruneImagesRequest) -> Result<api::PruneImagesResponse> {
    let api::PruneImagesRequest { all, dry_run } = request;
    let pruned = node.images.prune(all, dry_run).await?;
    Ok(api::PruneImagesResponse {
        images: pruned.images.iter().map(|image| loaded_image(image)).collect(),
        freed_bytes: pruned.freed.bytes,
        freed_inodes: pruned.freed.inodes,
    })
}
