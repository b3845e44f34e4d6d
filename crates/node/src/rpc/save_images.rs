//! SaveImages of `corten.v1.Node`: an archive, in chunks.

use std::sync::Arc;

use corten_cri::node as api;
use corten_images::{Form, Saved};
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::Status;

use crate::error::{Error, Result};
use crate::node::Node;

/// How many chunks wait for the caller, who may be slow.
const WAITING: usize = 4;

/// Writes an archive of images as fast as the caller takes it, until the caller goes away.
pub fn handle(
    node: &Arc<Node>,
    request: api::SaveImagesRequest,
) -> Result<impl Stream<Item = Result<api::SaveImagesResponse, Status>> + Send + 'static> {
    let form = match request.form() {
        api::ArchiveForm::Oci => Form::Oci,
        api::ArchiveForm::Docker => Form::Docker,
    };
    let api::SaveImagesRequest { images, form: _ } = request;
    if images.is_empty() {
        return Err(Error::invalid("images", "", "must not be empty"));
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let node = node.clone();
    let saving = tokio::spawn(async move { node.images.save(&images, form, sender).await });
    let chunks = stream::unfold(receiver, async |mut receiver| {
        let chunk = receiver.recv().await?;
        Some((Ok(api::SaveImagesResponse { chunk: chunk.into(), images: Vec::new() }), receiver))
    });
    // The chunks end when the work does, however it does.
    let end = stream::once(async move {
        let saved = saving.await.map_err(|error| Error::node("save images", error))?.map_err(Error::from)?;
        Ok(api::SaveImagesResponse { chunk: Vec::new(), images: saved.into_iter().map(saved_image).collect() })
    });
    Ok(chunks.chain(end))
}

fn saved_image(image: Saved) -> api::SavedImage {
    let Saved { id, saved_id, names } = image;
    api::SavedImage { id, saved_id, names }
}
