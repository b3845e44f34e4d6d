//! What the store knows, in memory: lists and look-ups never wait for the disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
};

use super::{pins::Pins, progress::Unpacking};
use crate::{
    Error, Image, Usage,
    digest::Digest,
    index::{BlobRecord, Contents, ImageRecord, LayerRecord, Original, Step},
    manifest,
    reference::{Reference, Version},
    snapshot::SnapshotRecord,
};

/// What nothing uses any more.
#[derive(Default)]
pub(super) struct Unused {
    pub layers: BTreeMap<Digest, LayerRecord>,
    pub blobs: BTreeMap<Digest, BlobRecord>,
}

/// Everything that is whole, and who uses it.
#[derive(Default)]
pub(super) struct State {
    images: BTreeMap<Digest, (ImageRecord, Arc<Image>)>,
    references: BTreeMap<String, Digest>,
    pub layers: BTreeMap<Digest, LayerRecord>,
    /// Those that have their places. The index names them when an image does.
    pub blobs: BTreeMap<Digest, BlobRecord>,
    pub snapshots: BTreeMap<String, SnapshotRecord>,
    /// Layers and blobs that a pull counts on.
    pub held: HashMap<Digest, usize>,
    /// Layers and blobs that a pull gets although they are there.
    pub anew: HashSet<Digest>,
    /// Whether what is pulled or loaded is kept as it came, too.
    pub keep_blobs: bool,
    /// Who unpacks a layer from a registry has its turn; others wait for it and then find the layer. Nobody waits for
    /// another registry, which may be slow on purpose.
    unpacking: HashMap<(String, Digest), Weak<Unpacking>>,
    /// Which images are not to be cleared up.
    pins: Pins,
}

impl State {
    /// Puts together what the index and the directories say. Returns also how to correct the index: a layer without a
    /// directory is broken, an image without a layer is not there. `wrong_files` says what is wrong with the record of a
    /// layer's files.
    pub fn load(
        contents: Contents,
        snapshots: Vec<(String, SnapshotRecord)>,
        directories: &HashSet<u64>,
        wrong_files: impl Fn(&LayerRecord) -> Option<String>,
    ) -> (Self, Vec<Step>) {
        let snapshots = snapshots.into_iter().collect();
        let mut state = Self { snapshots, blobs: contents.blobs, ..Self::default() };
        let mut wrong = Vec::new();
        for (id, mut layer) in contents.layers {
            let missing = (!directories.contains(&layer.directory)).then(|| "its directory is missing".to_owned());
            if let Some(why) = missing.or_else(|| wrong_files(&layer)) {
                tracing::error!(layer = %id, directory = layer.directory, why, "layer is broken: its images are not used");
                if layer.broken.is_none() {
                    layer.broken = Some(why);
                    wrong.push(Step::PutLayer(id, layer.clone()));
                }
            }
            state.layers.insert(id, layer);
        }
        for (id, image) in contents.images {
            let whole = image.layers.iter().all(|layer| state.layers.contains_key(&layer.diff_id));
            if !whole || !state.insert(id, image) {
                tracing::warn!(image = %id, "image is not whole any more and has to be pulled again");
                wrong.push(Step::DropImage(id));
            }
        }
        for (name, id) in contents.references {
            if state.images.contains_key(&id) {
                state.references.insert(name, id);
            } else {
                wrong.push(Step::DropReference(name));
            }
        }
        let all: Vec<_> = state.images.keys().copied().collect();
        all.into_iter().for_each(|id| state.rename(id));
        (state, wrong)
    }

    /// Follows a change of the index.
    pub fn apply(&mut self, steps: Vec<Step>) {
        let mut renamed = HashSet::new();
        for step in steps {
            match step {
                Step::PutImage(id, image) => {
                    self.insert(id, image);
                    renamed.insert(id);
                }
                Step::DropImage(id) => drop(self.images.remove(&id)),
                Step::PutReference(name, id) => {
                    renamed.extend(self.references.insert(name, id));
                    renamed.insert(id);
                }
                Step::DropReference(name) => renamed.extend(self.references.remove(&name)),
                Step::PutLayer(id, layer) => drop(self.layers.insert(id, layer)),
                Step::DropLayer(id) => drop(self.layers.remove(&id)),
                Step::PutBlob(id, blob) => drop(self.blobs.insert(id, blob)),
                Step::DropBlob(id) => drop(self.blobs.remove(&id)),
            }
        }
        renamed.into_iter().for_each(|id| self.rename(id));
    }

    fn insert(&mut self, id: Digest, record: ImageRecord) -> bool {
        let Ok((config, _)) = manifest::parse_config(record.config.as_bytes(), record.layers.len()) else {
            return false;
        };
        let image = Image {
            id: id.to_string(),
            repo_tags: Vec::new(),
            repo_digests: Vec::new(),
            size: record.size,
            layers: record.layers.clone(),
            annotations: record.annotations.clone(),
            config,
            pinned: false,
        };
        self.images.insert(id, (record, Arc::new(image)));
        true
    }

    /// Gives an image its names anew.
    fn rename(&mut self, id: Digest) {
        let Some((_, image)) = self.images.get_mut(&id) else { return };
        let names = self.references.iter().filter(|(_, named)| **named == id).map(|(name, _)| name.clone());
        let (digests, tags): (Vec<_>, Vec<_>) = names.partition(|name| name.contains('@'));
        let pinned = tags.iter().chain(&digests).any(|name| self.pins.has(name));
        *image = Arc::new(Image { repo_tags: tags, repo_digests: digests, pinned, ..Image::clone(image) });
    }

    /// Keeps the images that these patterns name, and no others.
    pub fn pin(&mut self, pins: Pins) {
        self.pins = pins;
        let all: Vec<_> = self.images.keys().copied().collect();
        all.into_iter().for_each(|id| self.rename(id));
    }

    /// An image's configuration, byte for byte.
    pub fn config(&self, id: &Digest) -> Option<String> {
        self.images.get(id).map(|(record, _)| record.config.clone())
    }

    /// What an image came as, where that is kept, the latest first.
    pub fn originals(&self, id: &Digest) -> &[Original] {
        self.images.get(id).map(|(record, _)| record.originals.as_slice()).unwrap_or_default()
    }

    pub fn list(&self) -> Vec<Arc<Image>> {
        self.images.values().map(|(_, image)| image.clone()).collect()
    }

    pub fn get(&self, id: &Digest) -> Option<Arc<Image>> {
        self.images.get(id).map(|(_, image)| image.clone())
    }

    pub fn has_image(&self, id: &str) -> bool {
        id.parse::<Digest>().is_ok_and(|id| self.images.contains_key(&id))
    }

    /// The directories that a snapshot of an image has to put right.
    pub fn covered(&self, id: &str) -> BTreeMap<String, Digest> {
        let id = id.parse::<Digest>().ok();
        id.and_then(|id| self.images.get(&id)).map(|(record, _)| record.covered.clone()).unwrap_or_default()
    }

    /// By id, by name, by the beginning of an id, in this order.
    pub fn resolve(&self, text: &str) -> Result<Option<Arc<Image>>, Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(id) = Digest::from_hex(hex) {
            return Ok(self.get(&id));
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(image) = self.references.get(&reference.to_string()).and_then(|id| self.get(id))
        {
            return Ok(Some(image));
        }
        let is_prefix = !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_prefix {
            return self.by_prefix(hex);
        }
        reference.map(|_| None).map_err(Error::from)
    }

    fn by_prefix(&self, hex: &str) -> Result<Option<Arc<Image>>, Error> {
        let mut found = self.images.iter().filter(|(id, _)| id.hex().starts_with(hex)).map(|(_, (_, image))| image);
        match (found.next(), found.count()) {
            (image, 0) => Ok(image.cloned()),
            (_, more) => Err(Error::Ambiguous { prefix: hex.to_owned(), count: more + 1 }),
        }
    }

    /// What makes `image` the meaning of `reference` and of its digest.
    pub fn steps_to_name(reference: &Reference, manifest: Option<Digest>, id: Digest) -> Vec<Step> {
        let mut steps = Vec::new();
        if let Version::Tag(_) = reference.version() {
            steps.push(Step::PutReference(reference.to_string(), id));
        }
        steps.extend(manifest.map(|digest| Step::PutReference(reference.with_digest(digest).to_string(), id)));
        steps
    }

    pub fn steps_to_remove(&self, id: Digest) -> Vec<Step> {
        let names = self.references.iter().filter(|(_, named)| **named == id);
        let mut steps: Vec<_> = names.map(|(name, _)| Step::DropReference(name.clone())).collect();
        steps.push(Step::DropImage(id));
        steps
    }

    /// Whether a layer is there, and whole as far as is known.
    pub fn has_layer(&self, id: &Digest) -> bool {
        !self.anew.contains(id) && self.layers.get(id).is_some_and(|layer| layer.broken.is_none())
    }

    /// The images that have a layer.
    pub fn images_with(&self, layer: &Digest) -> Vec<Arc<Image>> {
        let images = self.images.values().map(|(_, image)| image);
        images.filter(|image| image.layers.iter().any(|other| other.diff_id == *layer)).cloned().collect()
    }

    /// What to call them.
    pub fn names_with(&self, layer: &Digest) -> Vec<String> {
        self.images_with(layer).into_iter().map(|image| image.shown().to_owned()).collect()
    }

    /// What is wrong with what the index has of an image.
    pub fn wrong_image(&self, id: &str) -> Option<String> {
        let id = id.parse::<Digest>().ok()?;
        let (record, image) = self.images.get(&id)?;
        if Digest::of(record.config.as_bytes()) != id {
            return Some("its configuration is not the one that its id names".to_owned());
        }
        let missing = image.layers.iter().find(|layer| !self.layers.contains_key(&layer.diff_id))?;
        Some(format!("its layer {} is missing", missing.diff_id))
    }

    /// The snapshots that show a layer.
    pub fn snapshots_with(&self, layer: &Digest) -> Vec<String> {
        let shows = |record: &SnapshotRecord| record.held().any(|held| held.layers.contains(layer));
        self.snapshots.iter().filter(|(_, record)| shows(record)).map(|(name, _)| name.clone()).collect()
    }

    /// What forgets the former directories of layers that no container shows any more, and those directories.
    pub fn steps_to_release(&self) -> (Vec<Step>, Vec<u64>) {
        let (mut steps, mut released) = (Vec::new(), Vec::new());
        for (id, layer) in self.layers.iter().filter(|(_, layer)| !layer.previous.is_empty()) {
            let mut layer = layer.clone();
            layer.previous.retain(|previous| {
                let shown = previous.snapshots.iter().any(|name| self.snapshots.contains_key(name));
                released.extend((!shown).then_some(previous.directory));
                shown
            });
            steps.push(Step::PutLayer(*id, layer));
        }
        if released.is_empty() { Default::default() } else { (steps, released) }
    }

    /// Whether a snapshot keeps a former directory of a layer.
    pub fn keeps_previous(&self, snapshot: &str) -> bool {
        let previous = self.layers.values().flat_map(|layer| &layer.previous);
        previous.flat_map(|previous| &previous.snapshots).any(|name| name == snapshot)
    }

    /// What forgets the layers and blobs that nothing uses.
    pub fn steps_to_collect(&self) -> Vec<Step> {
        let nothing = BTreeSet::new();
        let layers = self.unused_without(&nothing).into_iter().map(Step::DropLayer);
        layers.chain(self.unused_blobs_without(&nothing).into_iter().map(Step::DropBlob)).collect()
    }

    /// The layers that nothing would use without these images.
    pub fn unused_without(&self, gone: &BTreeSet<Digest>) -> Vec<Digest> {
        let used = self.layers_used_without(gone);
        self.layers.keys().filter(|id| !used.contains(id) && !self.held.contains_key(id)).copied().collect()
    }

    /// The kept blobs that nothing would use without these images.
    pub fn unused_blobs_without(&self, gone: &BTreeSet<Digest>) -> Vec<Digest> {
        let used = self.blobs_used_without(gone);
        self.blobs.keys().filter(|id| !used.contains(id) && !self.held.contains_key(id)).copied().collect()
    }

    /// Of these layers and blobs, those that an image or a snapshot uses, and not only who holds them for a while.
    pub fn used_of(&self, these: &[Digest]) -> Vec<Digest> {
        if these.is_empty() {
            return Vec::new();
        }
        let nothing = BTreeSet::new();
        let (layers, blobs) = (self.layers_used_without(&nothing), self.blobs_used_without(&nothing));
        these.iter().filter(|id| layers.contains(id) || blobs.contains(id)).copied().collect()
    }

    /// How many snapshots stand on a layer that is not known.
    pub fn snapshots_without_layers(&self) -> usize {
        let unknown = |record: &&SnapshotRecord| {
            record.held().flat_map(|held| &held.layers).any(|layer| !self.layers.contains_key(layer))
        };
        self.snapshots.values().filter(unknown).count()
    }

    fn images_but<'a>(&'a self, gone: &'a BTreeSet<Digest>) -> impl Iterator<Item = &'a ImageRecord> {
        self.images.iter().filter(|(id, _)| !gone.contains(id)).map(|(_, (image, _))| image)
    }

    fn layers_used_without(&self, gone: &BTreeSet<Digest>) -> HashSet<Digest> {
        let of_images = self.images_but(gone).flat_map(|image| image.layers.iter().map(|layer| layer.diff_id));
        let held = self.snapshots.values().flat_map(SnapshotRecord::held);
        of_images.chain(held.flat_map(|held| held.layers.iter().copied())).collect()
    }

    fn blobs_used_without(&self, gone: &BTreeSet<Digest>) -> HashSet<Digest> {
        self.images_but(gone).flat_map(|image| &image.originals).flat_map(Original::blobs).copied().collect()
    }

    /// Takes what nothing uses out, of that what is wanted, with the steps that forget it.
    pub fn take_unused(&mut self, wanted: impl Fn(&Digest) -> bool) -> (Vec<Step>, Unused) {
        let mut steps = self.steps_to_collect();
        steps.retain(|step| match step {
            Step::DropLayer(id) | Step::DropBlob(id) => wanted(id),
            _ => true,
        });
        let mut taken = Unused::default();
        for step in &steps {
            match step {
                Step::DropLayer(id) => taken.layers.extend(self.layers.remove(id).map(|layer| (*id, layer))),
                Step::DropBlob(id) => taken.blobs.extend(self.blobs.remove(id).map(|blob| (*id, blob))),
                _ => {}
            }
        }
        (steps, taken)
    }

    /// Puts back what was taken.
    pub fn put_back(&mut self, taken: Unused) {
        self.layers.extend(taken.layers);
        self.blobs.extend(taken.blobs);
    }

    /// What all layers and kept blobs take.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.layers.values().for_each(|layer| usage += layer.usage);
        self.blobs.values().for_each(|blob| usage += blob.usage);
        usage
    }

    /// What is shared with whoever unpacks this layer from a registry.
    pub fn unpacking(&mut self, registry: &str, layer: Digest) -> Arc<Unpacking> {
        self.unpacking.retain(|_, lock| lock.strong_count() > 0);
        let key = (registry.to_owned(), layer);
        if let Some(lock) = self.unpacking.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::<Unpacking>::default();
        self.unpacking.insert(key, Arc::downgrade(&lock));
        lock
    }
}
