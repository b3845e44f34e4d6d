//! What the store knows of an image.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;

/// An image that is whole on this node.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:` and the digest of the configuration.
    pub id: String,
    /// Full names with tags that are this image's now (`docker.io/library/busybox:1.36`), sorted.
    pub repo_tags: Vec<String>,
    /// Full names with the digest of a manifest or index (`docker.io/library/busybox@sha256:...`), sorted.
    pub repo_digests: Vec<String>,
    /// Bytes of manifest, configuration and compressed layers, as containerd counts.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What its manifest says of it.
    pub annotations: BTreeMap<String, String>,
    /// The image's configuration.
    pub config: ImageConfiguration,
    /// Whether garbage collection must leave it alone.
    pub pinned: bool,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageLayer {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The digest of the blob it came as.
    pub blob: Digest,
    /// Bytes of that blob.
    pub size: u64,
}

impl Image {
    /// What to call it: a name, or else its id.
    pub(crate) fn shown(&self) -> &str {
        self.repo_tags.first().or(self.repo_digests.first()).unwrap_or(&self.id)
    }

    /// `USER` of the configuration, empty if there is none.
    pub fn user(&self) -> &str {
        self.config.config().as_ref().and_then(|config| config.user().as_deref()).unwrap_or_default()
    }
}
