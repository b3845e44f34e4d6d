//! What can go wrong with images, and whose fault it is.

use std::path::{Path, PathBuf};

use crate::{layer::LayerError, reference::InvalidReference};

/// Whose fault an error is; the daemon derives the gRPC code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something that cannot be.
    Caller,
    /// There is no such image, here or in the registry.
    NotFound,
    /// A registry cannot be reached or cannot serve just now; trying again may help.
    Unavailable,
    /// A registry or an image is broken or hostile.
    Outside,
    /// Not as things are: something has to be mended first.
    Precondition,
    /// This node: its disk, its index, its configuration.
    Node,
}

/// Any failure of the image store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image reference.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// More than one image id begins so.
    #[error("image id prefix {prefix:?} is ambiguous: {count} images begin with it")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many images match.
        count: usize,
    },
    /// Not a name that a snapshot can have.
    #[error("invalid snapshot name {name:?}: want 1 to 128 letters, digits, dots, dashes and underscores")]
    SnapshotName {
        /// The offending name.
        name: String,
    },
    /// The store has no such image.
    #[error("image {reference:?} not found")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// The registry has no such image.
    #[error("{reference}: not found: {host} answered {answer}")]
    NotInRegistry {
        /// The image asked for.
        reference: String,
        /// The registry asked.
        host: String,
        /// What it answered.
        answer: String,
    },
    /// The registry refused the credentials, or wants some.
    #[error("{reference}: pull access denied by {host}: {answer}")]
    Denied {
        /// The image asked for.
        reference: String,
        /// The registry asked.
        host: String,
        /// What it answered.
        answer: String,
    },
    /// A registry cannot be reached, stalled, or is overloaded.
    #[error("RegistryUnavailable: {reference}: {host}: {why}")]
    Unavailable {
        /// The image asked for.
        reference: String,
        /// The registry asked.
        host: String,
        /// What happened.
        why: String,
    },
    /// A registry answered something that it must not.
    #[error("{reference}: {host}: {why}")]
    Registry {
        /// The image asked for.
        reference: String,
        /// The registry asked.
        host: String,
        /// What was wrong.
        why: String,
    },
    /// A manifest or a configuration that cannot be used.
    #[error("{reference}: {why}")]
    Image {
        /// The image asked for.
        reference: String,
        /// What was wrong, with the digest and the field.
        why: String,
    },
    /// A layer that cannot be unpacked.
    #[error("{reference}: layer {digest}: {source}")]
    Layer {
        /// The image asked for.
        reference: String,
        /// The layer's blob.
        digest: String,
        /// What was wrong with it.
        source: LayerError,
    },
    /// An archive given to be loaded that is not one.
    #[error("image archive: {why}")]
    Archive {
        /// What was wrong.
        why: String,
    },
    /// A registry configuration file (`hosts.toml`, a certificate) that cannot be used.
    #[error("registry configuration {}: {why}", path.display())]
    HostsFile {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// A layer of this image is known to be broken.
    #[error(
        "image {image}: layer {layer} is broken on this node's disk ({why}): pull the image again, or run `corten check \
         --repair`"
    )]
    Broken {
        /// The image.
        image: String,
        /// The layer's diff id.
        layer: String,
        /// What was found.
        why: String,
    },
    /// The file system cannot limit what containers write.
    #[error("what containers write cannot be limited in {}: {why}", path.display())]
    Quota {
        /// Where they write.
        path: PathBuf,
        /// Why it cannot be.
        why: String,
    },
    /// The disk.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The image index.
    #[error("image index {}: {operation}: {why}", path.display())]
    Index {
        /// What was attempted.
        operation: &'static str,
        /// The index's file.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
    /// A part of this program ended early.
    #[error("{operation}: {why}")]
    Task {
        /// What was attempted.
        operation: &'static str,
        /// Why it ended.
        why: String,
    },
}

impl Error {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Reference(_)
            | Self::Ambiguous { .. }
            | Self::SnapshotName { .. }
            | Self::Denied { .. }
            | Self::Archive { .. } => Fault::Caller,
            Self::NotFound { .. } | Self::NotInRegistry { .. } => Fault::NotFound,
            Self::Unavailable { .. } => Fault::Unavailable,
            Self::Broken { .. } => Fault::Precondition,
            Self::Registry { .. } | Self::Image { .. } => Fault::Outside,
            Self::Layer { source, .. } => source.fault(),
            Self::HostsFile { .. } | Self::Quota { .. } | Self::Io { .. } | Self::Index { .. } | Self::Task { .. } => {
                Fault::Node
            }
        }
    }

    /// For `map_err` on disk operations.
    pub(crate) fn io<E: Into<std::io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { operation, path, source: source.into() }
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Task { operation, why: error.to_string() }),
    }
}
