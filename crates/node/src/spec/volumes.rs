//! The volumes that an image declares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use crate::check;
use crate::container::config::ContainerConfig;
use crate::error::{Error, Result};

/// The image's volumes that no mount of the request covers, parents first: each shall be a directory of
/// the writable layer, with what the image has there.
///
/// # Errors
/// [`Error::Container`] if the image declares what cannot be a path in it.
pub fn image_volumes(config: &ContainerConfig, image: &ImageConfiguration) -> Result<Vec<PathBuf>> {
    let mut volumes = BTreeSet::new();
    for volume in image.config().as_ref().and_then(|config| config.volumes().as_ref()).into_iter().flatten() {
        let path = check::container_path("the image's volume", format!("/{volume}"))
            .map_err(|error| Error::Container(error.to_string()))?;
        let covered = config.mounts.iter().any(|mount| mount.container_path == path);
        if path != Path::new("/") && !covered {
            volumes.insert(path);
        }
    }
    Ok(volumes.into_iter().collect())
}
