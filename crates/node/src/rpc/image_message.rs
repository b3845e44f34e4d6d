//! Images in the CRI's messages.

use corten_cri::v1;
use corten_images::Image;

use crate::error::{Error, Result};
use crate::node::Node;

/// The image.
pub fn of(image: &Image) -> v1::Image {
    let user = image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let (uid, username) = account(&user);
    v1::Image {
        id: image.id.clone(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        uid: uid.map(|value| v1::Int64Value { value }),
        username,
        spec: Some(spec(image)),
        pinned: image.pinned,
    }
}

/// The image as a request names it: what a caller gives back with it.
fn spec(image: &Image) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.id.clone(),
        annotations: image.annotations.clone(),
        user_specified_image: String::new(),
        runtime_handler: String::new(),
        image_ref: String::new(),
    }
}

/// The user of an image's configuration, `user[:group]`, as the kubelet checks it: a number, or else a name.
fn account(user: &str) -> (Option<i64>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match user.parse() {
        Ok(uid) => (Some(uid), String::new()),
        // No user means root.
        Err(_) if user.is_empty() => (Some(0), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// The image that a request names.
///
/// # Errors
/// [`Error::Invalid`] if there is none, or no such runtime handler.
pub fn name(node: &Node, field: &str, spec: Option<v1::ImageSpec>) -> Result<String> {
    match optional_name(node, field, spec)? {
        Some(name) => Ok(name),
        None => Err(Error::invalid(format!("{field}.image"), "", "must not be empty")),
    }
}

/// The image that a request may name. There is one store for all runtime handlers, but the handler has to be one.
pub fn optional_name(node: &Node, field: &str, spec: Option<v1::ImageSpec>) -> Result<Option<String>> {
    // The rest is what is said of the image in a container's configuration: it finds nothing.
    let v1::ImageSpec { image, annotations: _, user_specified_image: _, runtime_handler, image_ref: _ } =
        spec.unwrap_or_default();
    node.handler_of(&format!("{field}.runtime_handler"), &runtime_handler)?;
    Ok(Some(image).filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_users_number_or_name_is_told() {
        assert_eq!(account(""), (Some(0), String::new()));
        assert_eq!(account("1000:100"), (Some(1000), String::new()));
        assert_eq!(account("www-data:100"), (None, "www-data".into()));
    }
}
