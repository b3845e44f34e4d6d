//! The images that a container's mounts show (KEP-4639). The kubelet has pulled them before.

use std::path::PathBuf;
use std::sync::Arc;

use corten_images::{Image, Kind};
use corten_monitor::protocol::ImageMount;

use super::config::{ContainerConfig, ImageSource};
use crate::check;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::config::PodConfig;

/// What the kubelet knows errors of image volumes by.
const FAILED: &str = "ImageVolumeMountFailed";

/// Finds the images, in the mounts' order, and that they have what shall be seen of them.
///
/// # Errors
/// [`Error::Invalid`] naming the mount; [`Error::Image`] for the kubelet's user.
pub async fn find(node: &Node, pod: &PodConfig, config: &ContainerConfig) -> Result<Vec<Arc<Image>>> {
    let mut images = Vec::new();
    for (index, mount) in config.mounts.iter().enumerate() {
        let Some(source) = mount.image() else { continue };
        let field = format!("config.mounts[{index}]");
        if mount.users.is_some() && mount.users != pod.security.namespaces.users {
            let why = "must be those of the pod's user namespace, which images are mapped to";
            return Err(check::invalid(&format!("{field}.uidMappings"), "", why));
        }
        node.handler_of(&format!("{field}.image.runtime_handler"), &source.spec.runtime_handler)?;
        let found = look_up(node, &field, source).await;
        images.push(found.map_err(|error| Error::Image { code: error.code(), text: format!("{FAILED}: {error}") })?);
    }
    Ok(images)
}

async fn look_up(node: &Node, field: &str, source: &ImageSource) -> Result<Arc<Image>> {
    let ImageSource { spec, sub_path } = source;
    let image = node.images.resolve(&spec.image)?;
    let image = image.ok_or_else(|| Error::NotFound { kind: "image", id: spec.image.clone() })?;
    node.images.usable(&image)?;
    let Some(path) = sub_path else { return Ok(image) };
    let name = if spec.user_specified_image.is_empty() { &spec.image } else { &spec.user_specified_image };
    let why = match node.images.kind(&image, path).await? {
        Some(Kind::Directory) => return Ok(image),
        Some(Kind::File) => format!("is a file in image {name:?}: only directories can be mounted"),
        None => format!("does not exist in image {name:?}"),
    };
    Err(check::invalid(&format!("{field}.image_sub_path"), &path.to_string_lossy(), why))
}

/// What the monitor is told of them, with the directories that the image store keeps for each.
pub fn plan(config: &ContainerConfig, layers: Vec<Vec<PathBuf>>) -> Vec<ImageMount> {
    let sources = config.mounts.iter().filter_map(|mount| mount.image());
    sources.zip(layers).map(|(source, layers)| ImageMount { layers, sub_path: source.sub_path.clone() }).collect()
}
