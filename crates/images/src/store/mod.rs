//! The store: what is whole, what is in use, and the operations on it.

mod blobs;
mod check;
mod fetch;
mod hold;
mod layers;
mod manage;
mod pins;
mod progress;
mod pull;
mod save;
mod snapshots;
mod source;
mod state;
mod sync;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

pub use check::{CheckEvent, CheckOptions, Verdict};
use layers::OnDisk;
pub use manage::{Inspected, Pruned};
pub use pins::Pins;
pub use progress::{LayerProgress, Phase, Progress};
pub use save::Saved;
#[cfg(any(test, fuzzing))]
pub(crate) use save::with_layers;
use snapshots::Writable;
use state::State;
use sync::Syncer;
use tokio::{
    io::AsyncRead,
    sync::{OwnedMutexGuard, Semaphore, mpsc::Sender},
};

use crate::{
    Auth, Config, Error, Image, Usage,
    digest::Digest,
    disk::{self, Trash},
    error::blocking,
    index::{Index, LayerRecord, Step},
    reference::Reference,
    registry::{Explanation, explain},
    view::{self, Kind},
};

/// The file of a store's directory that every store has.
pub const INDEX_FILE: &str = "index.redb";
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
    writable: Writable,
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
        Self::open_with_snapshots_in(root, root, config).await
    }

    /// The same, with the snapshots in another directory, which may be on another disk.
    pub async fn open_with_snapshots_in(root: &Path, snapshots: &Path, config: Config) -> Result<Self, Error> {
        let (root, snapshots) = (root.to_owned(), snapshots.to_owned());
        let inner = blocking("open the image store", move || Inner::open(root, &snapshots, config)).await?;
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

    /// Where layers are, and what they take there, with the blobs that are kept.
    pub fn filesystem(&self) -> (PathBuf, Usage) {
        (self.inner.root.clone(), self.inner.state().usage())
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

/// Makes a directory where it is missing; it has this mode then.
fn make(directory: &Path, mode: u32) -> Result<(), Error> {
    disk::make_directory(directory)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(directory, mode).map_err(Error::io("set mode of", directory))
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

impl Inner {
    fn open(root: PathBuf, snapshots: &Path, config: Config) -> Result<Self, Error> {
        for (name, mode) in [("", PRIVATE), ("l", PRIVATE), ("t", PRIVATE), ("e", 0o755)] {
            make(&root.join(name), mode)?;
        }
        // Each layer is made here.
        disk::spread(&root.join("l"))?;
        let trash = Arc::new(Trash::open(&root.join("t"))?);
        let index = Index::open(&root.join(INDEX_FILE))?;
        let (writable, snapshots) = Writable::open(snapshots)?;
        let on_disk = OnDisk::list(&root.join("l"), &trash)?;
        let layers = root.join("l");
        let wrong_files = |layer: &LayerRecord| {
            let file = layers.join(layers::files_name(layer.directory));
            layer.files.and_then(|sum| crate::check::wrong_record(&file, &sum))
        };
        let (state, forgotten) = State::load(index.load()?, snapshots, &on_disk.directories, wrong_files);
        index.apply(&forgotten)?;
        let astray = state.snapshots_without_layers();
        if astray > 0 {
            // The disk of the layers is another one, and not mounted, say.
            tracing::error!(snapshots = astray, path = %root.display(), "containers stand on layers that are not here");
        }
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
            writable,
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

    /// The directories of layers, topmost first. An image without layers stands on an empty directory.
    fn lower(&self, state: &State, layers: &[Digest]) -> Vec<PathBuf> {
        let known = layers.iter().rev().filter_map(|layer| state.layers.get(layer));
        let lower: Vec<_> = known.map(|layer| self.layer_path(layer.directory)).collect();
        if lower.is_empty() { vec![self.root.join("e")] } else { lower }
    }
}
