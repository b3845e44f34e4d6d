//! StreamImages

use corten_cri::v1;
use futures::Stream;
use tonic::Status;

use super::{batches::batches, list_images};
use crate::error::Result;
use crate::node::Node;

/// What ListImages lists, in batches.
pub async fn handle(
    node: &Node,
    request: v1::StreamImagesRequest,
) -> Result<impl Stream<Item = Result<v1::StreamImagesResponse, Status>> + Send + 'static> {
    let v1::StreamImagesRequest { filter } = request;
    Ok(batches(list_images::items(node, filter)?, |images| v1::StreamImagesResponse { images }))
}
