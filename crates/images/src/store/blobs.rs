//! Blobs kept as they came, if that is asked for: layers' compressed archives, manifests, indexes, each in a file named
//! after its digest. Without them nothing is missing but the image's first form.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use super::{Inner, PRIVATE, State, Store};
use crate::{
    Error,
    digest::Digest,
    disk::{self, Workspace},
    error::blocking,
    index::{BlobRecord, Original, Step},
    manifest::Content,
    registry::Fetched,
};

const DIRECTORY: &str = "b";

/// A blob that is written and verified, and has no place yet.
pub(super) struct Written {
    pub file: Workspace,
    pub digest: Digest,
}

impl Store {
    /// The same store, which keeps what it pulls or loads as it came, too, or not any more. What was kept before stays as
    /// long as its image.
    ///
    /// # Errors
    /// The directory for it cannot be made.
    pub fn keeping_blobs(self, keep: bool) -> Result<Self, Error> {
        if keep {
            let directory = self.inner.root.join(DIRECTORY);
            super::make(&directory, PRIVATE)?;
            disk::sync_directory(&self.inner.root)?;
        }
        self.inner.state().keep_blobs = keep;
        Ok(self)
    }
}

impl Inner {
    pub(super) fn blob_path(&self, blob: &Digest) -> PathBuf {
        self.root.join(DIRECTORY).join(blob.hex())
    }

    /// Gives blobs that are on disk for good their places. One that is there is replaced.
    pub(super) fn place_blobs(&self, blobs: impl IntoIterator<Item = Written>) -> Result<(), Error> {
        let mut placed = Vec::new();
        for Written { file, digest } in blobs {
            let (usage, size) = disk::measure_file(file.path())?;
            file.keep(&self.blob_path(&digest))?;
            placed.push((digest, BlobRecord::new(size, usage)));
        }
        if !placed.is_empty() {
            disk::sync_directory(&self.root.join(DIRECTORY))?;
            self.state().blobs.extend(placed);
        }
        Ok(())
    }

    /// Keeps the documents that led to an image.
    pub(super) async fn keep_documents(self: &Arc<Self>, documents: Vec<Fetched>) -> Result<(), Error> {
        if documents.is_empty() {
            return Ok(());
        }
        let (turn, inner) = (self.turn().await, self.clone());
        blocking("keep a manifest", move || {
            let missing = documents.into_iter().filter(|document| !inner.state().blobs.contains_key(&document.digest));
            let missing: Vec<_> = missing.collect();
            let written = missing.iter().map(|document| inner.write_document(document));
            inner.place_blobs(written.collect::<Result<Vec<_>, _>>()?)?;
            drop(turn);
            Ok(())
        })
        .await
    }

    fn write_document(&self, document: &Fetched) -> Result<Written, Error> {
        let (file, mut content) = self.new_blob()?;
        let written = content.write_all(&document.bytes).and_then(|()| content.sync_all());
        written.map_err(Error::io("write", file.path()))?;
        Ok(Written { file, digest: document.digest })
    }

    /// A file to write a blob to.
    pub(super) fn new_blob(&self) -> Result<(Workspace, File), Error> {
        self.trash.file().map_err(Error::io("create a file below", &self.root))
    }

    /// Deletes a blob that is not what it should be, and forgets it. Fine if there is none.
    pub(super) async fn drop_blob(self: &Arc<Self>, blob: Digest) -> Result<(), Error> {
        let turn = self.turn().await;
        if !self.state().blobs.contains_key(&blob) {
            return Ok(());
        }
        self.trash.take_path(&self.blob_path(&blob))?;
        self.apply(turn, vec![Step::DropBlob(blob)]).await?;
        self.trash.clone().empty_soon();
        Ok(())
    }

    /// Discards files that are not recorded blobs, and forgets blobs without their file. What the disk refuses to do with one
    /// file is logged: no image needs it to be used.
    pub(super) fn discard_unrecorded_blobs(&self) -> Result<(), Error> {
        let path = self.root.join(DIRECTORY);
        let names = match File::open(&path) {
            Ok(directory) => disk::children(&directory).map_err(Error::io("list", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let mut missing = self.state().blobs.clone();
        for name in names {
            let digest = name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
            let path = path.join(&name);
            let known = digest.and_then(|digest| Some((digest, missing.get(&digest)?.size)));
            let looked = disk::measure_file(&path).and_then(|(_, size)| match known.filter(|known| known.1 == size) {
                Some((digest, _)) => {
                    missing.remove(&digest);
                    Ok(())
                }
                None => self.trash.take_path(&path),
            });
            if let Err(error) = looked {
                tracing::error!(path = %path.display(), %error, "a file among the kept blobs stays, and is not used");
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let forget = |blob| {
            tracing::warn!(%blob, "a kept blob is missing, short or unreadable: its images are not saved as they came");
            Step::DropBlob(blob)
        };
        let steps: Vec<_> = missing.into_keys().map(forget).collect();
        self.index.apply(&steps)?;
        self.state().apply(steps);
        Ok(())
    }
}

impl State {
    /// Whether a layer is there, and need not be got for its blob.
    pub fn has(&self, diff_id: &Digest, blob: &Digest) -> bool {
        self.has_layer(diff_id) && !self.anew.contains(blob)
    }

    /// Whether an image is to be kept as it comes. Not if a layer is here already without its blob: the image would never be
    /// complete, and its other blobs in vain.
    pub fn keeps(&self, id: &Digest, original: &Original, layers: &[(Content, Digest)]) -> bool {
        let comes = |(content, diff_id): &(Content, Digest)| {
            !self.has(diff_id, &content.digest) || self.blobs.contains_key(&content.digest)
        };
        self.keep_blobs && (self.originals(id).contains(original) || layers.iter().all(comes))
    }

    /// Whether an image whose layers are here can be kept as it came: it is already, or no layer's blob is missing.
    pub fn can_keep(&self, id: &Digest, original: &Original) -> bool {
        self.originals(id).contains(original) || original.layers.iter().all(|blob| self.blobs.contains_key(blob))
    }

    /// Whether nothing is missing of what an image came as.
    pub fn is_whole(&self, original: &Original) -> bool {
        original.blobs().all(|blob| self.blobs.contains_key(blob))
    }

    /// What makes the index name the blobs of an image.
    pub fn steps_to_keep(&self, original: &Original) -> Vec<Step> {
        let blobs = original.blobs().filter_map(|blob| Some((*blob, self.blobs.get(blob)?.clone())));
        blobs.map(|(blob, record)| Step::PutBlob(blob, record)).collect()
    }
}
