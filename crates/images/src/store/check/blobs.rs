//! Verifying kept blobs. A damaged one is dropped: nothing needs it but a `save` of the image as it came.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;
use tokio::sync::mpsc::Sender;

use super::{Anew, CheckEvent, NO_NAME, Verdict};
use crate::{
    Error, Image,
    check::Findings,
    digest::{Digest, Hasher},
    error::blocking,
    index::Original,
    reference::Reference,
    store::{Inner, State, hold::Hold, progress::Progress},
};

const BUFFER: usize = 256 << 10;

impl Inner {
    /// Verifies blobs. One that cannot be read now is kept, and told of when the others are done.
    pub(super) async fn check_blobs(
        self: &Arc<Self>,
        blobs: BTreeSet<Digest>,
        repair: bool,
        events: &Sender<CheckEvent>,
    ) -> Result<(), Error> {
        let mut all = Ok(());
        for blob in blobs {
            if let Err(error) = self.check_blob(blob, repair, events).await {
                tracing::error!(%blob, %error, "a kept blob is not verified");
                all = all.and(Err(error));
            }
        }
        all
    }

    /// Verifies a blob and tells what was found; drops it if it is damaged, and then repairs it if that is asked for.
    async fn check_blob(
        self: &Arc<Self>,
        blob: Digest,
        repair: bool,
        events: &Sender<CheckEvent>,
    ) -> Result<(), Error> {
        if events.is_closed() {
            return Ok(());
        }
        // What is verified is not collected meanwhile.
        let _hold = Hold::of_images(self, std::iter::once(blob));
        let (kept, images) = self.kept(&blob);
        let wrong = match kept {
            true => self.wrong_blob(blob, events.clone()).await?,
            // It has gone with its image.
            false if images.is_empty() => return Ok(()),
            false => Some("it was dropped because it was damaged".to_owned()),
        };
        if events.is_closed() {
            return Ok(());
        }
        let Some(why) = wrong else {
            self.tell_of(blob, Verdict::Good, events).await;
            return Ok(());
        };
        tracing::error!(%blob, why, "a kept blob is damaged and dropped: its images are not saved as they came");
        self.drop_blob(blob).await?;
        let mut findings = Findings::default();
        findings.add(Path::new(""), why);
        self.tell_of(blob, Verdict::Broken(findings), events).await;
        if repair {
            let verdict = self.repair_blob(blob).await;
            self.tell_of(blob, verdict, events).await;
        }
        Ok(())
    }

    /// Whether a blob is there, and which images came with it.
    fn kept(&self, blob: &Digest) -> (bool, Vec<Arc<Image>>) {
        let state = self.state();
        (state.blobs.contains_key(blob), state.came_with(blob))
    }

    async fn tell_of(&self, blob: Digest, verdict: Verdict, events: &Sender<CheckEvent>) {
        let images = self.state().came_with(&blob).iter().map(|image| image.shown().to_owned()).collect();
        // That nobody listens is seen elsewhere.
        let _ = events.send(CheckEvent::Blob { blob, images, verdict }).await;
    }

    /// How a blob's file is not what its name says. Ends early when nobody listens.
    ///
    /// # Errors
    /// It cannot be read now, for a reason that is not the file's.
    async fn wrong_blob(&self, blob: Digest, events: Sender<CheckEvent>) -> Result<Option<String>, Error> {
        let path = self.blob_path(&blob);
        let file = path.clone();
        match blocking("verify a blob", move || Ok(digest_of(file, &events))).await? {
            Ok(digest) if digest == blob => Ok(None),
            Ok(digest) => Ok(Some(format!("its content has the digest {digest}"))),
            Err(error) if is_damage(&error) => Ok(Some(format!("it cannot be read: {error}"))),
            Err(error) => Err(Error::io("verify", &path)(error)),
        }
    }

    /// Pulls a blob anew, by any digest of any image that came with it.
    async fn repair_blob(self: &Arc<Self>, blob: Digest) -> Verdict {
        if !self.state().keep_blobs {
            return Verdict::NotRepaired { why: "blobs are not kept any more (images.keep_blobs)".to_owned() };
        }
        let images = self.state().came_with(&blob);
        let _anew = Anew::new(self, blob);
        let mut why = NO_NAME.to_owned();
        for name in images.iter().flat_map(|image| &image.repo_digests) {
            let pulled = match name.parse::<Reference>() {
                Ok(reference) => self.clone().pull(reference, None, &Progress::default()).await.map(drop),
                Err(error) => Err(error.into()),
            };
            match pulled {
                _ if self.state().blobs.contains_key(&blob) => return Verdict::Repaired,
                Ok(()) => why = format!("{name} does not have it any more"),
                Err(error) => why = error.to_string(),
            }
        }
        tracing::warn!(%blob, why, "blob could not be pulled anew");
        Verdict::NotRepaired { why }
    }
}

/// Whether a file that cannot be read is lost. It may be too many open files, or too little memory.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn digest_of(path: PathBuf, events: &Sender<CheckEvent>) -> io::Result<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Hasher::default(), vec![0; BUFFER]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 || events.is_closed() {
            return Ok(hasher.finish().0);
        }
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
}

impl State {
    /// The blobs that images came with; without those that were dropped, unless they are to be repaired.
    pub(super) fn blobs_to_check(&self, images: &[Arc<Image>], repair: bool) -> BTreeSet<Digest> {
        let ids = images.iter().filter_map(|image| image.id.parse().ok());
        let blobs = ids.flat_map(|id| self.originals(&id)).flat_map(Original::blobs).copied();
        blobs.filter(|blob| repair || self.blobs.contains_key(blob)).collect()
    }

    /// The images that came with a blob.
    fn came_with(&self, blob: &Digest) -> Vec<Arc<Image>> {
        let has = |image: &Arc<Image>| {
            let originals = image.id.parse().map(|id| self.originals(&id)).unwrap_or_default();
            originals.iter().flat_map(Original::blobs).any(|other| other == blob)
        };
        self.list().into_iter().filter(has).collect()
    }
}
