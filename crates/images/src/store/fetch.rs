//! Getting one layer: from its source through both hashes into a directory.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::{
    Inner,
    blobs::Written,
    progress::{Phase, Unpacking},
    source::{Source, Stream},
};
use crate::{
    Error, Fault,
    digest::{Digest, Hasher},
    disk::Workspace,
    layer::{Blob, Copied, LayerError, Target, Unpacked, unpack_blob},
    manifest::Content,
};

/// Chunks in flight between the network and the disk, each up to 128 KiB.
const CHUNKS: usize = 8;

/// A layer that an image needs.
pub(super) struct Wanted {
    pub content: Content,
    pub diff_id: Digest,
    /// Whether its blob is kept.
    pub keep: bool,
    /// The image, in errors.
    pub shown: String,
}

/// A layer that is unpacked and has no place yet, and its blob if that is kept.
pub(super) struct Arrived {
    pub workspace: Workspace,
    pub unpacked: Unpacked,
    pub blob: Option<Written>,
}

impl Inner {
    /// Gets one layer, unless it is there or somebody else gets it first.
    pub(super) async fn layer(
        self: &Arc<Self>,
        source: &Source,
        wanted: &Wanted,
        unpacking: &Unpacking,
    ) -> Result<(), Error> {
        let _mine = unpacking.turn.lock().await;
        if self.state().has(&wanted.diff_id, &wanted.content.digest) {
            unpacking.found();
            return Ok(());
        }
        // Who had the turn may have failed.
        unpacking.enter(Phase::Waiting);
        let permit = self.downloads.acquire().await;
        let arrived = self.unpack_from_any(source, wanted, unpacking).await?;
        drop(permit);
        unpacking.enter(Phase::Syncing);
        self.commit_layer(arrived).await?;
        unpacking.enter(Phase::Done);
        Ok(())
    }

    /// Where the content is wrong, the next host may have the right one. A download asks all hosts that are left itself, so
    /// its other failures are final; what is wrong with the content is worth more to know than who else is away.
    async fn unpack_from_any(
        self: &Arc<Self>,
        source: &Source,
        wanted: &Wanted,
        unpacking: &Unpacking,
    ) -> Result<Arrived, Error> {
        let mut told: Option<Error> = None;
        for attempt in 0..source.count() {
            match self.unpack(source, attempt, wanted, unpacking).await {
                Err(error @ Error::Layer { .. }) if error.fault() != Fault::Node => {
                    tracing::debug!(%error, "wrong content");
                    told.get_or_insert(error);
                }
                Err(error) if error.fault() != Fault::Node => return Err(told.unwrap_or(error)),
                result => return result,
            }
        }
        Err(told.unwrap_or_else(|| Error::NotFound { reference: wanted.shown.clone() }))
    }

    /// Streams a blob from its source through both hashes into a fresh directory, and into a file if it is kept.
    async fn unpack(
        self: &Arc<Self>,
        source: &Source,
        attempt: usize,
        wanted: &Wanted,
        progress: &Unpacking,
    ) -> Result<Arrived, Error> {
        progress.enter(Phase::Downloading);
        let Content { digest, size } = wanted.content;
        let stream = source.open(attempt, &wanted.content).await?;
        let (sender, blob) = Blob::channel(CHUNKS);
        let workspace = self.trash.workspace_in(&self.root.join("l"))?;
        let copy = wanted.keep.then(|| self.new_blob()).transpose()?;
        let (trash, limits) = (self.trash.clone(), self.config.limits.clone());
        let unpacking = tokio::task::spawn_blocking(move || {
            let target = Target { directory: workspace.path(), trash: &trash, limits: &limits };
            let (unpacked, blob) = match copy {
                None => (unpack_blob(blob, &target)?, None),
                Some((file, content)) => {
                    let unpacked = unpack_blob(Copied::new(blob, content, limits.layer_bytes), &target)?;
                    (unpacked, Some(Written { file, digest }))
                }
            };
            Ok(Arrived { workspace, unpacked, blob })
        });
        let received = feed(stream, sender, size, progress).await;
        progress.enter(Phase::Unpacking);
        // Also after a failure: when a pull has ended, nothing of it goes on.
        let arrived =
            unpacking.await.map_err(|error| Error::Task { operation: "unpack a layer", why: error.to_string() })?;
        verdict(received?, &wanted.content, arrived, wanted.diff_id).map_err(|source| Error::Layer {
            reference: wanted.shown.clone(),
            digest: digest.to_string(),
            source,
        })
    }
}

/// What of a blob arrived.
enum Received {
    All(Digest, u64),
    /// The unpacker gave up, and says why.
    Part,
    /// It is longer than its descriptor says.
    TooMuch(u64),
}

/// Passes a blob on to the unpacker, hashing it.
async fn feed(mut stream: Stream, sender: Sender<Bytes>, size: u64, progress: &Unpacking) -> Result<Received, Error> {
    let (mut hasher, mut received) = (Hasher::default(), 0);
    while let Some(chunk) = stream.chunk().await? {
        received += chunk.len() as u64;
        progress.arrived(chunk.len());
        if received > size {
            return Ok(Received::TooMuch(received));
        }
        hasher.update(&chunk);
        if sender.send(chunk).await.is_err() {
            return Ok(Received::Part);
        }
    }
    let (digest, size) = hasher.finish();
    Ok(Received::All(digest, size))
}

/// Whether a layer is what it should be. A blob that is not may fail to unpack in any way, so that is said first.
fn verdict(
    received: Received,
    content: &Content,
    arrived: Result<Arrived, LayerError>,
    diff_id: Digest,
) -> Result<Arrived, LayerError> {
    match (received, arrived) {
        (_, Err(error)) if error.fault() == Fault::Node => Err(error),
        (Received::TooMuch(got), _) => Err(mismatch("size", content.size, format!("at least {got}"))),
        (Received::All(_, size), _) if size != content.size => Err(mismatch("size", content.size, size)),
        (Received::All(digest, _), _) if digest != content.digest => Err(mismatch("digest", content.digest, digest)),
        (_, Ok(Arrived { unpacked, .. })) if unpacked.diff_id != diff_id => {
            Err(mismatch("digest of the uncompressed layer (diff id)", diff_id, unpacked.diff_id))
        }
        (Received::Part, Ok(_)) => Err(mismatch("size", content.size, "less")),
        (_, result) => result,
    }
}

fn mismatch(what: &'static str, want: impl ToString, got: impl ToString) -> LayerError {
    LayerError::Mismatch { what, want: want.to_string(), got: got.to_string() }
}
