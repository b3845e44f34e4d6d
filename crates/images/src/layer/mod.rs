//! Layers: one compressed archive becomes one directory in overlayfs' own form.
//!
//! A layer is unpacked alone, so that its directory depends on nothing but its diff id and all images share it:
//! whiteouts become character devices 0:0 and opaque directories carry `trusted.overlay.opaque`
//! (OCI image specification, layer.md; kernel documentation, overlayfs.rst).

mod bounded;
mod copied;
mod directory;
mod entry;
mod members;
mod pack;
mod paths;
mod pax;
mod sparse;
mod stream;
mod unpack;

use std::{io, path::Path, sync::Arc};

pub(crate) use bounded::Bounded;
pub(crate) use copied::Copied;
pub(crate) use entry::Attributes;
pub(crate) use members::Members;
pub(crate) use pack::{Entry, Packing, finish, pad};
pub(crate) use stream::{Blob, decompress, unpack_blob};

use crate::{
    Limits,
    check::Recorded,
    digest::Digest,
    disk::{Trash, Usage},
    error::Fault,
};

/// What a layer's archive turned out to be.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// What it takes on disk.
    pub usage: Usage,
    /// Whether the archive says who owns the root directory and how it may be used.
    pub has_root: bool,
    /// Directories that the archive uses but does not describe; their attributes are those of the layers below.
    pub implied: Vec<String>,
    /// What was unpacked, file by file.
    pub files: Recorded,
}

/// A layer that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry that would leave the layer, forge something, or cannot be.
    #[error("entry {entry:?}: {why}")]
    Entry {
        /// The entry's name in the archive.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than a limit allows.
    #[error("more than the limit of {limit} {what}")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Not an archive, or a broken one.
    #[error("broken archive: {why}")]
    Format {
        /// What the parser said.
        why: String,
    },
    /// The content is not what its digest or size says.
    #[error("{what} is {got}, want {want}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// What it should be.
        want: String,
        /// What it is.
        got: String,
    },
    /// This node's disk.
    #[error("{operation} {path:?}: {source}")]
    Disk {
        /// What was attempted.
        operation: &'static str,
        /// On what, relative to the layer.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl LayerError {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Entry { .. } | Self::Limit { .. } | Self::Format { .. } | Self::Mismatch { .. } => Fault::Outside,
            Self::Disk { .. } => Fault::Node,
        }
    }

    pub(crate) fn disk<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.display().to_string();
        move |source| Self::Disk { operation, path, source: source.into() }
    }

    fn format(why: impl Into<String>) -> Self {
        Self::Format { why: why.into() }
    }

    fn entry(entry: &Path, why: impl Into<String>) -> Self {
        Self::Entry { entry: entry.display().to_string(), why: why.into() }
    }
}

/// An error of this module may travel through a reader inside an [`io::Error`].
impl From<io::Error> for LayerError {
    fn from(error: io::Error) -> Self {
        if !error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            return Self::Format { why: error.to_string() };
        }
        match error.into_inner().map(|inner| inner.downcast::<Self>()) {
            Some(Ok(inner)) => *inner,
            _ => Self::Format { why: "unreadable".to_owned() },
        }
    }
}

/// Where a layer is unpacked, and what it may not exceed.
pub(crate) struct Target<'a> {
    /// An existing empty directory.
    pub directory: &'a Path,
    /// Where what an entry replaces goes.
    pub trash: &'a Arc<Trash>,
    pub limits: &'a Limits,
}

#[cfg(test)]
mod tests;
