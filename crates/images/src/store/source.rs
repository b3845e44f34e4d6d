//! Where images come from.

use bytes::Bytes;

use crate::{
    Error, Limits,
    archive::{BlobFile, Layout},
    manifest::Content,
    reference::Version,
    registry::{Download, Fetched, Session},
};

/// Where an image's content comes from.
pub(super) enum Source {
    Registry(Session),
    Archive(Layout),
}

/// A blob's bytes, wherever they come from.
pub(super) enum Stream {
    Http(Download),
    File(BlobFile),
}

impl Stream {
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Http(download) => download.chunk().await,
            Self::File(file) => file.chunk().await,
        }
    }
}

impl Source {
    pub async fn manifest(&self, version: &Version, limits: &Limits, shown: &str) -> Result<Fetched, Error> {
        match (self, version) {
            (Self::Registry(session), version) => session.manifest(version, limits).await,
            (Self::Archive(layout), Version::Digest(digest)) => layout.manifest(*digest, limits.manifest_bytes).await,
            (Self::Archive(_), Version::Tag(_)) => Err(Error::NotFound { reference: shown.to_owned() }),
        }
    }

    pub async fn blob(&self, content: &Content, limit: u64, shown: &str) -> Result<Vec<u8>, Error> {
        match self {
            Self::Registry(session) => session.blob(content, limit).await,
            Self::Archive(layout) => layout.blob(content, limit, shown).await,
        }
    }

    /// The registry it comes from, if any.
    pub fn registry(&self) -> &str {
        match self {
            Self::Registry(session) => session.registry(),
            Self::Archive(_) => "",
        }
    }

    /// Whether its manifests are those that the images were made with.
    pub fn has_originals(&self) -> bool {
        match self {
            Self::Registry(_) => true,
            Self::Archive(layout) => layout.has_originals(),
        }
    }

    /// How many places a blob can be read from.
    pub fn count(&self) -> usize {
        match self {
            Self::Registry(session) => session.sources(),
            Self::Archive(_) => 1,
        }
    }

    pub async fn open(&self, attempt: usize, content: &Content) -> Result<Stream, Error> {
        match self {
            Self::Registry(session) => session.download(attempt, content).map(Stream::Http),
            Self::Archive(layout) => layout.open(content).await.map(Stream::File),
        }
    }
}
