//! LoadImage of `corten.v1.Node`: an OCI archive, in chunks.

use std::sync::Arc;

use corten_cri::node as api;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tonic::Streaming;

use crate::error::{Error, Result};
use crate::node::Node;

/// How many bytes wait between the connection and the unpacking.
const BUFFER: usize = 1 << 20;

/// Loads the images of an archive.
pub async fn handle(node: &Arc<Node>, mut chunks: Streaming<api::LoadImageRequest>) -> Result<api::LoadImageResponse> {
    let (reader, mut writer) = tokio::io::duplex(BUFFER);
    let feed = async move {
        while let Some(chunk) = chunks.next().await {
            let api::LoadImageRequest { chunk } = chunk.map_err(|error| Error::node("receive the archive", error))?;
            // The reader has its reasons to stop early, and tells them itself.
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
        Ok::<_, Error>(())
    };
    let (fed, loaded) = tokio::join!(feed, node.images.load(reader));
    fed?;
    let images = loaded?.iter().map(|image| loaded_image(image)).collect();
    Ok(api::LoadImageResponse { images })
}

/// An image by what it is called.
pub(super) fn loaded_image(image: &corten_images::Image) -> api::LoadedImage {
    api::LoadedImage { id: image.id.clone(), references: image.repo_tags.clone() }
}
