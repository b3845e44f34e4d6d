//! Verifying what is on disk, layers known to be broken, and their repair.

mod blobs;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::mpsc::Sender;

use super::{Inner, hold::Hold, progress::Progress};
use crate::{
    Error, Image,
    check::{self, Findings},
    digest::Digest,
    error::blocking,
    index::{LayerRecord, Step},
    reference::Reference,
};

/// What a check is to do.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Names or ids of the images whose layers are verified; all layers if there are none.
    pub images: Vec<String>,
    /// Whether what is broken is pulled anew.
    pub repair: bool,
}

/// What a check tells while it goes on.
#[derive(Debug, Clone)]
pub enum CheckEvent {
    /// How far it is.
    Progress {
        /// The layer being verified.
        layer: Digest,
        /// Its number, from 1, and how many there are.
        number: usize,
        /// How many layers are verified in all.
        layers: usize,
        /// Entries of the layer done.
        done: u64,
        /// Entries that it has; 0 if that is not recorded.
        entries: u64,
    },
    /// A layer was verified, or pulled anew because it was broken.
    Layer {
        /// The layer's diff id.
        layer: Digest,
        /// The images that have it, by a name or else the id.
        images: Vec<String>,
        /// What was found.
        verdict: Verdict,
    },
    /// A kept blob was verified, or pulled anew because it was damaged. A damaged one is dropped: no image needs it to be used.
    Blob {
        /// The blob's digest.
        blob: Digest,
        /// The images that came with it, by a name or else the id.
        images: Vec<String>,
        /// What was found.
        verdict: Verdict,
    },
    /// An image whose own record is broken, or was.
    Image {
        /// The image's id.
        image: String,
        /// What was found.
        verdict: Verdict,
    },
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it was when it was unpacked.
    Good,
    /// It is not; no container is created with it.
    Broken(Findings),
    /// An earlier release unpacked it and recorded nothing that it could be compared with.
    NotRecorded,
    /// It was broken or not recorded, and was pulled anew.
    Repaired,
    /// It is broken or not recorded, and could not be pulled anew.
    NotRepaired {
        /// Why not.
        why: String,
    },
}

/// Why something cannot be pulled anew.
const NO_NAME: &str = "no image that has it has a name with a digest to pull it by";

/// What the images of a check come to: those that have to be looked at, and their layers.
struct Scope {
    layers: Vec<Digest>,
    blobs: BTreeSet<Digest>,
    images: Vec<Arc<Image>>,
}

impl Inner {
    /// Verifies, one layer after the other, and repairs what is broken if that is asked for. It ends early when nobody
    /// listens to the events any more.
    pub async fn check(self: Arc<Self>, options: CheckOptions, events: Sender<CheckEvent>) -> Result<(), Error> {
        let _one_at_a_time = self.checking.lock().await;
        let scope = self.scope(&options)?;
        for (number, layer) in scope.layers.iter().enumerate() {
            if events.is_closed() {
                return Ok(());
            }
            let place = (number + 1, scope.layers.len());
            let Some(verdict) = self.check_layer(*layer, place, &events).await? else { continue };
            let verdict = match options.repair && verdict != Verdict::Good {
                true => {
                    // What is wrong is told before it is mended.
                    self.tell(&events, *layer, verdict).await;
                    self.repair(*layer).await
                }
                false => verdict,
            };
            self.tell(&events, *layer, verdict).await;
        }
        let blobs = self.check_blobs(scope.blobs, options.repair, &events).await;
        for image in scope.images {
            self.check_image(&image, options.repair, &events).await;
        }
        blobs
    }

    fn scope(&self, options: &CheckOptions) -> Result<Scope, Error> {
        let state = self.state();
        if options.images.is_empty() {
            let (layers, images) = (state.layers.keys().copied().collect(), state.list());
            let mut blobs = state.blobs_to_check(&images, options.repair);
            blobs.extend(state.blobs.keys());
            return Ok(Scope { layers, blobs, images });
        }
        let mut scope = Scope { layers: Vec::new(), blobs: BTreeSet::new(), images: Vec::new() };
        for name in &options.images {
            let image = state.resolve(name)?.ok_or_else(|| Error::NotFound { reference: name.clone() })?;
            for layer in &image.layers {
                if !scope.layers.contains(&layer.diff_id) {
                    scope.layers.push(layer.diff_id);
                }
            }
            scope.images.push(image);
        }
        scope.blobs = state.blobs_to_check(&scope.images, options.repair);
        Ok(scope)
    }

    async fn tell(&self, events: &Sender<CheckEvent>, layer: Digest, verdict: Verdict) {
        let images = self.state().names_with(&layer);
        // That nobody listens is seen elsewhere.
        let _ = events.send(CheckEvent::Layer { layer, images, verdict }).await;
    }

    /// Verifies a layer and remembers what was found. Nothing if it is gone, or nobody listens any more.
    async fn check_layer(
        self: &Arc<Self>,
        layer: Digest,
        (number, layers): (usize, usize),
        events: &Sender<CheckEvent>,
    ) -> Result<Option<Verdict>, Error> {
        // What is verified is not collected meanwhile.
        let _hold = Hold::of_images(self, std::iter::once(layer));
        let Some(record) = self.state().layers.get(&layer).cloned() else { return Ok(None) };
        let Some(sum) = record.files else { return self.check_unrecorded(layer, record).await.map(Some) };
        let (inner, events, directory) = (self.clone(), events.clone(), record.directory);
        let findings = blocking("verify a layer", move || {
            let progress = |done| {
                let event = CheckEvent::Progress { layer, number, layers, done, entries: sum.entries };
                let _ = events.try_send(event);
                !events.is_closed()
            };
            let (directory, files) = (inner.layer_path(directory), inner.files_path(directory));
            Ok(check::verify(&check::Place { directory: &directory, files: &files, sum }, &progress))
        })
        .await?;
        let Some(findings) = findings else { return Ok(None) };
        self.mark(layer, record.directory, why(&findings)).await?;
        Ok(Some(if findings.count == 0 { Verdict::Good } else { Verdict::Broken(findings) }))
    }

    /// Of a layer without a record it is known only whether it is there.
    async fn check_unrecorded(self: &Arc<Self>, layer: Digest, record: LayerRecord) -> Result<Verdict, Error> {
        if self.layer_path(record.directory).is_dir() {
            return Ok(Verdict::NotRecorded);
        }
        let mut findings = Findings::default();
        findings.add(std::path::Path::new(""), "its directory is missing");
        self.mark(layer, record.directory, why(&findings)).await?;
        Ok(Verdict::Broken(findings))
    }

    /// Remembers that a layer is broken and why, or that it is not, if it is still the one that was looked at.
    async fn mark(self: &Arc<Self>, layer: Digest, directory: u64, why: Option<String>) -> Result<(), Error> {
        let turn = self.turn().await;
        let record = self.state().layers.get(&layer).cloned();
        let Some(mut record) = record.filter(|record| record.directory == directory && record.broken != why) else {
            return Ok(());
        };
        match &why {
            Some(why) => tracing::error!(%layer, directory, why, "layer is broken: no container is created with it"),
            None => tracing::info!(%layer, directory, "layer was thought broken and is whole"),
        }
        record.broken = why;
        self.apply(turn, vec![Step::PutLayer(layer, record)]).await
    }

    /// Pulls a layer anew, by any digest of any image that has it.
    async fn repair(self: &Arc<Self>, layer: Digest) -> Verdict {
        let images = self.state().images_with(&layer);
        let directory = self.state().layers.get(&layer).map(|record| record.directory);
        let _anew = Anew::new(self, layer);
        let mut why = NO_NAME.to_owned();
        for name in images.iter().flat_map(|image| &image.repo_digests) {
            let pulled = match name.parse::<Reference>() {
                Ok(reference) => self.clone().pull(reference, None, &Progress::default()).await.map(drop),
                Err(error) => Err(error.into()),
            };
            let now = self.state().layers.get(&layer).map(|record| (record.directory, record.broken.is_some()));
            match (pulled, now) {
                (_, Some((now, false))) if Some(now) != directory => return Verdict::Repaired,
                (Ok(()), _) => why = format!("{name} does not have it any more"),
                (Err(error), _) => why = error.to_string(),
            }
        }
        tracing::warn!(%layer, why, "layer could not be pulled anew");
        Verdict::NotRepaired { why }
    }

    /// Verifies that an image's configuration is the one that its id names.
    async fn check_image(self: &Arc<Self>, image: &Image, repair: bool, events: &Sender<CheckEvent>) {
        let Some(why) = self.state().wrong_image(&image.id) else { return };
        let mut findings = Findings::default();
        findings.add(std::path::Path::new(""), why.clone());
        let tell = async |verdict| {
            let _ = events.send(CheckEvent::Image { image: image.id.clone(), verdict }).await;
        };
        tell(Verdict::Broken(findings)).await;
        if !repair {
            return;
        }
        let mut told = "it has no name with a digest to pull it by".to_owned();
        for name in &image.repo_digests {
            let Ok(reference) = name.parse::<Reference>() else { continue };
            match self.clone().pull(reference, None, &Progress::default()).await {
                Ok(_) if self.state().wrong_image(&image.id).is_none() => return tell(Verdict::Repaired).await,
                Ok(_) => told = format!("{name} is another image"),
                Err(error) => told = error.to_string(),
            }
        }
        tell(Verdict::NotRepaired { why: told }).await;
    }
}

fn why(findings: &Findings) -> Option<String> {
    let first = findings.first.first()?;
    let place = if first.path.is_empty() { String::new() } else { format!("{} ", first.path) };
    let more = match findings.count {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(format!("{place}{}{more}", first.what))
}

/// While this is there, a pull gets the layer, or that of the blob, although it is there.
struct Anew {
    inner: Arc<Inner>,
    what: Digest,
}

impl Anew {
    fn new(inner: &Arc<Inner>, what: Digest) -> Self {
        inner.state().anew.insert(what);
        Self { inner: inner.clone(), what }
    }
}

impl Drop for Anew {
    fn drop(&mut self) {
        self.inner.state().anew.remove(&self.what);
    }
}

/// Which layers an image or a snapshot may not be used for, and why.
pub(super) fn refuse<'a>(
    layers: &BTreeMap<Digest, LayerRecord>,
    image: &str,
    mut used: impl Iterator<Item = &'a Digest>,
) -> Result<(), Error> {
    let wrong = |layer| match layers.get(layer) {
        None => Some("it is not in the store".to_owned()),
        Some(record) => record.broken.clone(),
    };
    let broken = used.find_map(|layer| Some((layer, wrong(layer)?)));
    match broken {
        None => Ok(()),
        Some((layer, why)) => Err(Error::Broken { image: image.to_owned(), layer: layer.to_string(), why }),
    }
}
