//! The store: what is whole, what is in use, and the operations on it.

mod blobs;
mod check;
mod fetch;
mod layers;
mod manage;
mod pins;
mod progress;
mod pull;
mod save;
mod source;
mod state;
mod sync;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

pub use check::{CheckEvent, CheckOptions, Verdict};
use corten_host::user_namespace::Mappings;
use layers::OnDisk;
pub use manage::{Inspected, Pruned};
pub use pins::Pins;
pub use progress::{LayerProgress, Phase, Progress};
pub use save::Saved;
#[cfg(any(test, fuzzing))]
pub(crate) use save::with_layers;
use state::State;
use sync::Syncer;
use tokio::{
    io::AsyncRead,
    sync::{OwnedMutexGuard, Semaphore, mpsc::Sender},
};

use crate::{
    Auth, Config, Error, Image, Snapshot, Usage,
    digest::Digest,
    disk::{self, Trash},
    error::blocking,
    index::{Index, LayerRecord, Step},
    reference::Reference,
    registry::{Explanation, explain},
    snapshot::{self, Held, SnapshotRecord, Top},
    view::{self, Kind},
};

/// Images hold set-user-id programs that no user of the node may reach (as containerd's CVE-2021-41103 let them).
const PRIVATE: u32 = 0o700;

/// All images, layers and snapshots of a node. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What all operations share.
struct Inner {
    root: PathBuf,
    config: Config,
    trash: Arc<Trash>,
    index: Index,
    state: Mutex<State>,
    /// One change of the index at a time, from what it is decided on to what follows from it.
    changing: Arc<tokio::sync::Mutex<()>>,
    downloads: Semaphore,
    /// One check at a time: it is for the disk.
    checking: tokio::sync::Mutex<()>,
    syncer: Syncer,
    next_directory: AtomicU64,
}

impl Store {
    /// Opens the store at `root`, making it where it is missing; what a crash left half done is removed.
    pub async fn open(root: &Path, config: Config) -> Result<Self, Error> {
        let root = root.to_owned();
        let inner = blocking("open the image store", move || Inner::open(root, config)).await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Pulls an image from its registry or a mirror. The name then means this image.
    pub fn pull(
        &self,
        reference: &str,
        auth: Option<Auth>,
    ) -> impl Future<Output = Result<Arc<Image>, Error>> + Send + use<> {
        self.pull_watched(reference, auth, Progress::default())
    }

    /// The same, with somebody who watches.
    pub fn pull_watched(
        &self,
        reference: &str,
        auth: Option<Auth>,
        progress: Progress,
    ) -> impl Future<Output = Result<Arc<Image>, Error>> + Send + use<> {
        // Owning all it needs, so that callers can spawn it.
        let (inner, reference) = (self.inner.clone(), reference.parse::<Reference>());
        async move { inner.pull(reference?, auth, &progress).await }
    }

    /// Tells how an image would be pulled without credentials in the request: every host, in order. If `ask`, each is asked
    /// for the manifest.
    pub fn explain_pull(
        &self,
        reference: &str,
        ask: bool,
    ) -> impl Future<Output = Result<Explanation, Error>> + Send + use<> {
        let (inner, reference) = (self.inner.clone(), reference.parse::<Reference>());
        async move { explain::explain(&inner.config, reference?, ask).await }
    }

    /// Loads every image of an archive: an OCI image layout or what `docker save` writes, plain or compressed.
    pub fn load<R: AsyncRead + Unpin + Send>(
        &self,
        archive: R,
    ) -> impl Future<Output = Result<Vec<Arc<Image>>, Error>> + Send + use<R> {
        self.inner.clone().load(archive)
    }

    /// All images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.inner.state().list()
    }

    /// The image that a name, a digest, an id or the unique beginning of an id means.
    pub fn resolve(&self, reference_or_id: &str) -> Result<Option<Arc<Image>>, Error> {
        self.inner.state().resolve(reference_or_id)
    }

    /// Removes the image that is meant, with all its names. Layers that another image or a snapshot uses stay. Fine if
    /// there is no such image.
    pub async fn remove(&self, reference_or_id: &str) -> Result<(), Error> {
        let inner = self.inner.clone();
        let turn = inner.turn().await;
        let Some(image) = inner.state().resolve(reference_or_id)? else { return Ok(()) };
        let Ok(id) = image.id.parse::<Digest>() else { return Ok(()) };
        let steps = inner.state().steps_to_remove(id);
        inner.apply(turn, steps).await?;
        inner.collect().await
    }

    /// Compares layers with what was recorded when they were unpacked, one after the other, and tells of it as it goes
    /// on. What it reads comes from where the kernel has it: possibly from memory and not from the disk. A layer that is
    /// found broken is remembered as such, until it is pulled again or found whole. The check ends early when the
    /// receiver of the events is gone.
    pub fn check(
        &self,
        options: CheckOptions,
        events: Sender<CheckEvent>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.inner.clone().check(options, events)
    }

    /// Fails with [`Error::Broken`] if a layer of an image is known to be broken. A pull of the image gets it anew.
    pub fn usable(&self, image: &Image) -> Result<(), Error> {
        let layers = image.layers.iter().map(|layer| &layer.diff_id);
        check::refuse(&self.inner.state().layers, &image.id, layers)
    }

    /// The same for all that a container's snapshot shows.
    pub fn snapshot_usable(&self, container: &str) -> Result<(), Error> {
        let state = self.inner.state();
        let held = state.snapshots.get(container).into_iter().flat_map(SnapshotRecord::held);
        held.into_iter().try_for_each(|held| check::refuse(&state.layers, &held.image, held.layers.iter()))
    }

    /// Where layers and snapshots are, and what the layers take there, with the blobs that are kept.
    pub fn filesystem(&self) -> (PathBuf, Usage) {
        (self.inner.root.clone(), self.inner.state().usage())
    }

    /// Makes the writable directories for a container and holds the image's layers until they are removed, and those of
    /// the images that it has `mounted` besides. If there are some by this name already, they are returned. What is in
    /// them is owned as the container's user namespace, if it has one, maps it.
    pub async fn prepare_snapshot(
        &self,
        container: &str,
        image: &Image,
        users: Option<&Mappings>,
        mounted: &[Arc<Image>],
    ) -> Result<Snapshot, Error> {
        snapshot::check_name(container)?;
        if let Some(snapshot) = self.snapshot(container) {
            return Ok(snapshot);
        }
        let inner = self.inner.clone();
        let (container, users) = (container.to_owned(), users.cloned());
        let record = SnapshotRecord::new(held(image), mounted.iter().map(|image| held(image)).collect());
        blocking("prepare a snapshot", move || inner.prepare_snapshot(&container, record, users.as_ref())).await
    }

    /// A container's snapshot.
    pub fn snapshot(&self, container: &str) -> Option<Snapshot> {
        let state = self.inner.state();
        let record = state.snapshots.get(container)?;
        Some(self.inner.describe(&state, container, record))
    }

    /// Removes a container's snapshot. Fine if there is none.
    pub async fn remove_snapshot(&self, container: &str) -> Result<(), Error> {
        snapshot::check_name(container)?;
        self.inner.trash.take_path(&self.inner.snapshot_path(container))?;
        let (record, last) = {
            let mut state = self.inner.state();
            (state.snapshots.remove(container), state.keeps_previous(container))
        };
        match record {
            // Its layers may have waited for this.
            Some(record) if last || record.held().any(|held| !self.inner.state().has_image(&held.image)) => {
                self.inner.clone().collect().await
            }
            Some(_) => {
                self.inner.trash.clone().empty_soon();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The containers that have snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        self.inner.state().snapshots.keys().cloned().collect()
    }

    /// What a container has written: bytes and inodes of its upper directory.
    pub async fn snapshot_usage(&self, container: &str) -> Result<Usage, Error> {
        let snapshot = self.snapshot(container).ok_or_else(|| Error::NotFound { reference: container.to_owned() })?;
        blocking("measure a snapshot", move || disk::measure(&snapshot.upper)).await
    }

    /// A file of an image as a container without changes would see it, following symbolic links inside the image.
    /// Nothing if it does not exist or is not a file; an error if it is longer than `limit` bytes.
    pub async fn read_file(&self, image: &Image, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let lower = self.inner.lower(&self.inner.state(), &stack(image));
        let path = path.to_owned();
        blocking("read a file of an image", move || view::read_file(&lower, &path, limit)).await
    }

    /// What is at a path of an image, found as by [`Store::read_file`]; nothing if nothing is there.
    pub async fn kind(&self, image: &Image, path: &Path) -> Result<Option<Kind>, Error> {
        let lower = self.inner.lower(&self.inner.state(), &stack(image));
        let path = path.to_owned();
        blocking("look into an image", move || view::kind(&lower, &path)).await
    }
}

/// An image's layers, lowest first, each once: overlayfs refuses repetitions, and only the topmost shows.
fn stack(image: &Image) -> Vec<Digest> {
    let mut layers: Vec<Digest> = Vec::new();
    for layer in image.layers.iter().rev() {
        if !layers.contains(&layer.diff_id) {
            layers.push(layer.diff_id);
        }
    }
    layers.reverse();
    layers
}

fn held(image: &Image) -> Held {
    Held { image: image.id.clone(), layers: stack(image) }
}

impl Inner {
    fn open(root: PathBuf, config: Config) -> Result<Self, Error> {
        for (name, mode) in [("", PRIVATE), ("l", PRIVATE), ("s", PRIVATE), ("t", PRIVATE), ("e", 0o755)] {
            let directory = root.join(name);
            disk::make_directory(&directory)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&directory, mode).map_err(Error::io("set mode of", &directory))?;
        }
        // Each layer is made here.
        disk::spread(&root.join("l"))?;
        let trash = Arc::new(Trash::open(&root.join("t"))?);
        let index = Index::open(&root.join("index.redb"))?;
        let snapshots = snapshot::load(&root.join("s"), &trash)?;
        let on_disk = OnDisk::list(&root.join("l"), &trash)?;
        let layers = root.join("l");
        let wrong_files = |layer: &LayerRecord| {
            let file = layers.join(layers::files_name(layer.directory));
            layer.files.and_then(|sum| crate::check::wrong_record(&file, &sum))
        };
        let (state, forgotten) = State::load(index.load()?, snapshots, &on_disk.directories, wrong_files);
        index.apply(&forgotten)?;
        let inner = Self {
            downloads: Semaphore::new(config.max_concurrent_downloads.max(1)),
            next_directory: AtomicU64::new(
                on_disk.numbers().into_iter().max().map_or(0, |highest| highest.saturating_add(1)),
            ),
            checking: tokio::sync::Mutex::default(),
            syncer: Syncer::default(),
            changing: Arc::default(),
            state: Mutex::new(state),
            root,
            config,
            trash,
            index,
        };
        inner.discard_unrecorded(&on_disk.numbers())?;
        inner.discard_unrecorded_blobs()?;
        inner.trash.empty();
        Ok(inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot_path(&self, container: &str) -> PathBuf {
        self.root.join("s").join(container)
    }

    /// Waits until no other change is going on. The turn moves into the work, so that a caller who goes away does not
    /// let the next change begin early.
    async fn turn(&self) -> OwnedMutexGuard<()> {
        self.changing.clone().lock_owned().await
    }

    /// Makes a change: durable first, then visible.
    async fn apply(self: &Arc<Self>, turn: OwnedMutexGuard<()>, steps: Vec<Step>) -> Result<(), Error> {
        let inner = self.clone();
        blocking("write the image index", move || {
            inner.index.apply(&steps)?;
            inner.state().apply(steps);
            drop(turn);
            Ok(())
        })
        .await
    }

    fn prepare_snapshot(
        &self,
        container: &str,
        record: SnapshotRecord,
        users: Option<&Mappings>,
    ) -> Result<Snapshot, Error> {
        let (snapshot, root, mounted) = {
            let mut state = self.state();
            for Held { image, layers } in record.held() {
                if layers.iter().any(|layer| !state.layers.contains_key(layer)) {
                    return Err(Error::NotFound { reference: image.clone() });
                }
                check::refuse(&state.layers, image, layers.iter())?;
            }
            let snapshot = self.describe(&state, container, &record);
            state.snapshots.insert(container.to_owned(), record.clone());
            let mounted: Vec<_> = record.mounted.iter().map(|held| self.top(&state, held)).collect();
            (snapshot, self.top(&state, &record.root), mounted)
        };
        let directory = self.snapshot_path(container);
        if let Err(error) = snapshot::create(&self.trash, &directory, &record, &root, &mounted, users) {
            self.state().snapshots.remove(container);
            return Err(error);
        }
        Ok(snapshot)
    }

    fn top(&self, state: &State, held: &Held) -> Top {
        Top { root: self.root_of(state, &held.layers), covered: self.covered_directories(state, &held.image) }
    }

    /// Names of directories, parents first, and the layer directory that each is to look like.
    fn covered_directories(&self, state: &State, id: &str) -> Vec<(String, PathBuf)> {
        let covered = state.covered(id).into_iter();
        covered
            .filter_map(|(path, layer)| {
                let layer = self.layer_path(state.layers.get(&layer)?.directory);
                Some((path, layer))
            })
            .collect()
    }

    /// The layer whose root directory shows: the topmost that describes it.
    fn root_of(&self, state: &State, layers: &[Digest]) -> PathBuf {
        let known = layers.iter().rev().filter_map(|layer| state.layers.get(layer));
        let root = known.filter(|layer| layer.has_root).map(|layer| self.layer_path(layer.directory)).next();
        root.or_else(|| self.lower(state, layers).pop()).unwrap_or_else(|| self.root.join("e"))
    }

    fn describe(&self, state: &State, container: &str, record: &SnapshotRecord) -> Snapshot {
        let directory = self.snapshot_path(container);
        let (upper, work) = snapshot::upper_and_work(&directory);
        let over = |(number, held): (usize, &Held)| {
            let top = snapshot::over_mounted(&directory, number);
            std::iter::once(top).chain(self.lower(state, &held.layers)).collect()
        };
        let mounted = record.mounted.iter().enumerate().map(over).collect();
        Snapshot { lower: self.lower(state, &record.root.layers), upper, work, mounted }
    }

    /// The directories of layers, topmost first. An image without layers stands on an empty directory.
    fn lower(&self, state: &State, layers: &[Digest]) -> Vec<PathBuf> {
        let known = layers.iter().rev().filter_map(|layer| state.layers.get(layer));
        let lower: Vec<_> = known.map(|layer| self.layer_path(layer.directory)).collect();
        if lower.is_empty() { vec![self.root.join("e")] } else { lower }
    }
}
