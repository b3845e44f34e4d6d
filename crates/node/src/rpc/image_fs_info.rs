//! ImageFsInfo

use std::sync::Arc;

use corten_cri::v1;

use super::stats_message::filesystem;
use crate::error::Result;
use crate::node::Node;
use crate::timeline::now;

/// What the images' layers use, and the containers' writable layers: one filesystem has both.
pub async fn handle(node: &Arc<Node>, request: v1::ImageFsInfoRequest) -> Result<v1::ImageFsInfoResponse> {
    let v1::ImageFsInfoRequest {} = request;
    let (mountpoint, usage) = node.images.filesystem();
    let filesystem = filesystem(&mountpoint, usage, now());
    Ok(v1::ImageFsInfoResponse { image_filesystems: vec![filesystem.clone()], container_filesystems: vec![filesystem] })
}
