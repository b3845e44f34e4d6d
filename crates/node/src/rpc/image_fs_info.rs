//! ImageFsInfo

use std::sync::Arc;

use corten_cri::v1;

use super::stats_message::filesystem;
use crate::error::Result;
use crate::node::Node;
use crate::stats::layer;
use crate::timeline::now;

/// What the images' layers use, and what containers have written if that is elsewhere; else the same is told twice.
pub async fn handle(node: &Arc<Node>, request: v1::ImageFsInfoRequest) -> Result<v1::ImageFsInfoResponse> {
    let v1::ImageFsInfoRequest {} = request;
    let (images, usage) = node.images.filesystem();
    let of_images = filesystem(&images, usage, now());
    let snapshots = node.images.snapshots_in();
    let of_containers = match snapshots == images {
        true => of_images.clone(),
        false => {
            let (usage, at) = layer::total(node).await;
            filesystem(snapshots, usage, at)
        }
    };
    Ok(v1::ImageFsInfoResponse { image_filesystems: vec![of_images], container_filesystems: vec![of_containers] })
}
