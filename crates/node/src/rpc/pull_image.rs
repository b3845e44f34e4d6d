//! PullImage

use std::sync::Arc;

use corten_cri::v1;
use corten_images::Auth;

use super::image_message;
use crate::error::{Error, Result};
use crate::node::Node;

/// Pulls an image. It goes on when the caller gives up; a retry joins it.
pub async fn handle(node: &Arc<Node>, request: v1::PullImageRequest) -> Result<v1::PullImageResponse> {
    // The sandbox that it is pulled for makes no difference: there is one store.
    let v1::PullImageRequest { image, auth, sandbox_config: _ } = request;
    let name = image_message::name(node, "image", image)?;
    let auth = auth.map(credentials).transpose()?;
    let task_node = node.clone();
    let pull = tokio::spawn(async move { task_node.images.pull(&name, auth).await });
    let image = pull.await.map_err(|error| Error::node("pull", error))??;
    Ok(v1::PullImageResponse { image_ref: image.id.clone() })
}

fn credentials(auth: v1::AuthConfig) -> Result<Auth> {
    let v1::AuthConfig { username, password, auth, server_address, identity_token, registry_token } = auth;
    let auth = Auth { username, password, auth, server_address, identity_token, registry_token };
    checked(auth, "auth")
}

/// Credentials that came in a field, if they are what they are to be.
pub fn checked(auth: Auth, field: &str) -> Result<Auth> {
    auth.check().map_err(|(part, why)| Error::invalid(format!("{field}.{part}"), "...", why))?;
    Ok(auth)
}
