//! What an administrator does with images: names, and clearing up.

use std::{collections::BTreeSet, sync::Arc};

use super::{State, Store, pins::Pins};
use crate::{
    Error, Image, ImageLayer, Usage,
    digest::Digest,
    index::Step,
    reference::{InvalidReference, Reference, Version},
    snapshot::SnapshotRecord,
};

/// What was, or would be, cleared up.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// The images.
    pub images: Vec<Arc<Image>>,
    /// What the layers and kept blobs take that only they used.
    pub freed: Usage,
}

/// All there is to say of an image.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The image.
    pub image: Arc<Image>,
    /// Its configuration, byte for byte.
    pub config: String,
    /// Its layers, lowest first, and what each takes on disk.
    pub layers: Vec<(ImageLayer, Usage)>,
    /// The containers that use it, also as a volume.
    pub containers: Vec<String>,
}

impl Store {
    /// The same store, which keeps the images that these patterns name.
    pub fn pinning(self, pins: Pins) -> Self {
        self.inner.state().pin(pins);
        self
    }

    /// Gives an image one more tag, and returns it in full. If that means another image, it does not any more.
    pub async fn tag(&self, source: &str, target: &str) -> Result<Reference, Error> {
        let target = tag(target)?;
        let turn = self.inner.turn().await;
        let image = self.resolve(source)?.ok_or_else(|| Error::NotFound { reference: source.to_owned() })?;
        self.inner.apply(turn, State::steps_to_name(&target, None, id_of(&image)?)).await?;
        Ok(target)
    }

    /// Takes a tag away, and with the last one the image. Whether that was the last one.
    pub async fn untag(&self, name: &str) -> Result<bool, Error> {
        let tag = tag(name)?.to_string();
        let missing = || Error::NotFound { reference: tag.clone() };
        let turn = self.inner.turn().await;
        let image = self.resolve(&tag)?.filter(|image| image.repo_tags.contains(&tag)).ok_or_else(missing)?;
        let last = image.repo_tags.len() == 1;
        let steps = match last {
            true => self.inner.state().steps_to_remove(id_of(&image)?),
            false => vec![Step::DropReference(tag.clone())],
        };
        self.inner.apply(turn, steps).await?;
        if last {
            self.inner.clone().collect().await?;
        }
        Ok(last)
    }

    /// Removes the images that no container uses and, unless `all`, that have no tag. Pinned ones stay. A `dry_run` only
    /// tells what would be removed.
    pub async fn prune(&self, all: bool, dry_run: bool) -> Result<Pruned, Error> {
        let turn = self.inner.turn().await;
        let (pruned, steps) = self.inner.state().to_prune(all);
        if !dry_run {
            self.inner.apply(turn, steps).await?;
            self.inner.clone().collect().await?;
        }
        Ok(pruned)
    }

    /// Everything about an image; nothing if it is not there.
    pub fn inspect(&self, reference_or_id: &str) -> Result<Option<Inspected>, Error> {
        let state = self.inner.state();
        let Some(image) = state.resolve(reference_or_id)? else { return Ok(None) };
        let config = state.config(&id_of(&image)?).unwrap_or_default();
        let usage = |layer: &ImageLayer| state.layers.get(&layer.diff_id).map(|known| known.usage).unwrap_or_default();
        let layers = image.layers.iter().map(|layer| (layer.clone(), usage(layer))).collect();
        let uses = |record: &SnapshotRecord| record.held().any(|held| held.image == image.id);
        let containers = state.snapshots.iter().filter(|(_, record)| uses(record)).map(|(name, _)| name.clone());
        let containers = containers.collect();
        drop(state);
        Ok(Some(Inspected { image, config, layers, containers }))
    }
}

impl State {
    fn to_prune(&self, all: bool) -> (Pruned, Vec<Step>) {
        let used: BTreeSet<&str> =
            self.snapshots.values().flat_map(SnapshotRecord::held).map(|held| held.image.as_str()).collect();
        let goes = |image: &Arc<Image>| {
            !image.pinned && !used.contains(image.id.as_str()) && (all || image.repo_tags.is_empty())
        };
        let images: Vec<_> = self.list().into_iter().filter(goes).collect();
        let ids: BTreeSet<Digest> = images.iter().filter_map(|image| image.id.parse().ok()).collect();
        let mut freed = Usage::default();
        self.unused_without(&ids).iter().filter_map(|id| self.layers.get(id)).for_each(|layer| freed += layer.usage);
        let blobs = self.unused_blobs_without(&ids);
        blobs.iter().filter_map(|id| self.blobs.get(id)).for_each(|blob| freed += blob.usage);
        let steps = ids.into_iter().flat_map(|id| self.steps_to_remove(id)).collect();
        (Pruned { images, freed }, steps)
    }
}

/// A name that may mean one image or another.
fn tag(name: &str) -> Result<Reference, Error> {
    let reference: Reference = name.parse()?;
    match reference.version() {
        Version::Tag(_) => Ok(reference),
        Version::Digest(_) => Err(InvalidReference::new(name, "a tag is wanted, not a digest").into()),
    }
}

fn id_of(image: &Image) -> Result<Digest, Error> {
    image.id.parse().map_err(|_| Error::NotFound { reference: image.id.clone() })
}
