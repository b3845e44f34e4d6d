//! Layers on disk: their places, how they come there and go.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{Inner, fetch::Arrived};
use crate::{
    Error, check,
    digest::Digest,
    disk::{self, Trash},
    error::blocking,
    index::{LayerRecord, Previous, Step},
    layer::Unpacked,
};

impl Inner {
    pub(super) fn layer_path(&self, directory: u64) -> PathBuf {
        self.root.join("l").join(directory.to_string())
    }

    /// Where the record of a layer's files is.
    pub(super) fn files_path(&self, directory: u64) -> PathBuf {
        self.root.join("l").join(files_name(directory))
    }

    fn discard_layer(&self, directory: u64) -> Result<(), Error> {
        self.trash.take_path(&self.layer_path(directory))?;
        self.trash.take_path(&self.files_path(directory))
    }

    /// Discards layers that never came into the index, or that nothing uses any more, and forgets blobs that nothing uses.
    pub(super) fn discard_unrecorded(&self, numbers: &HashSet<u64>) -> Result<(), Error> {
        let mut steps = self.state().steps_to_collect();
        self.index.apply(&steps)?;
        self.state().apply(steps);
        steps = self.state().steps_to_release().0;
        self.index.apply(&steps)?;
        self.state().apply(steps);
        let known: HashSet<_> = self.state().layers.values().flat_map(LayerRecord::directories).collect();
        for number in numbers.difference(&known) {
            self.discard_layer(*number)?;
        }
        Ok(())
    }

    /// Deletes the layers and blobs that nothing uses. They vanish from the state first, so that nobody begins to use them.
    pub(super) async fn collect(self: Arc<Self>) -> Result<(), Error> {
        self.collect_those(|_| true).await
    }

    async fn collect_those(self: Arc<Self>, wanted: impl Fn(&Digest) -> bool + Send + 'static) -> Result<(), Error> {
        let (turn, inner) = (self.turn().await, self.clone());
        let result = blocking("collect layers", move || {
            let (mut steps, taken) = inner.state().take_unused(wanted);
            let (release, released) = inner.state().steps_to_release();
            steps.extend(release.clone());
            if let Err(error) = inner.index.apply(&steps) {
                inner.state().put_back(taken);
                return Err(error);
            }
            inner.state().apply(release);
            for directory in taken.layers.values().flat_map(LayerRecord::directories).chain(released) {
                inner.discard_layer(directory)?;
            }
            taken.blobs.keys().try_for_each(|blob| inner.trash.take_path(&inner.blob_path(blob)))?;
            drop(turn);
            Ok(())
        })
        .await;
        self.trash.clone().empty_soon();
        result
    }

    /// Deletes these, as far as nothing uses them, on its own time. Without a runtime they stay until the next collection.
    pub(super) fn collect_soon(self: Arc<Self>, these: Vec<Digest>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = self.collect_those(move |id| these.contains(id)).await {
                tracing::warn!(%error, "layers that nothing needs stay until the next removal of an image");
            }
        });
    }

    /// Gives a verified layer its place: on disk for good first, then by its name, then in the index. So with its blob, which
    /// comes into the index with the image.
    pub(super) async fn commit_layer(self: &Arc<Self>, arrived: Arrived) -> Result<(), Error> {
        self.syncer.sync(self.root.clone()).await?;
        let (turn, inner) = (self.turn().await, self.clone());
        blocking("commit a layer", move || {
            let Arrived { workspace, unpacked, blob } = arrived;
            inner.place_blobs(blob)?;
            // It may have come from another registry in the meantime.
            if inner.state().has_layer(&unpacked.diff_id) {
                return Ok(());
            }
            let directory = inner.next_directory.fetch_add(1, Ordering::Relaxed);
            let Unpacked { diff_id, usage, has_root, implied, files } = unpacked;
            files.file.keep(&inner.files_path(directory))?;
            workspace.keep(&inner.layer_path(directory))?;
            disk::sync_directory(&inner.root.join("l"))?;
            let record = LayerRecord::new(directory, usage, has_root, implied, files.sum);
            if let Err(error) = inner.put_layer(diff_id, record) {
                inner.discard_layer(directory)?;
                return Err(error);
            }
            drop(turn);
            Ok(())
        })
        .await
    }

    /// Makes a layer the one of its diff id. The directory of one that it replaces stays as long as containers show it.
    fn put_layer(&self, diff_id: Digest, mut record: LayerRecord) -> Result<(), Error> {
        let former = self.state().layers.get(&diff_id).cloned();
        let Some(former) = former else {
            let steps = vec![Step::PutLayer(diff_id, record)];
            self.index.apply(&steps)?;
            self.state().apply(steps);
            return Ok(());
        };
        loop {
            let snapshots = self.state().snapshots_with(&diff_id);
            record.previous.clone_from(&former.previous);
            record.previous.push(Previous { directory: former.directory, snapshots: snapshots.clone() });
            self.index.apply(&[Step::PutLayer(diff_id, record.clone())])?;
            let mut state = self.state();
            // A container may have come meanwhile, and with the former directory.
            if state.snapshots_with(&diff_id).iter().all(|name| snapshots.contains(name)) {
                state.layers.insert(diff_id, record);
                break;
            }
        }
        let (steps, released) = self.state().steps_to_release();
        self.index.apply(&steps)?;
        self.state().apply(steps);
        released.into_iter().try_for_each(|directory| self.discard_layer(directory))?;
        self.trash.clone().empty_soon();
        Ok(())
    }
}

/// The name of the record of a layer's files.
pub(super) fn files_name(directory: u64) -> String {
    format!("{directory}{}", check::SUFFIX)
}

/// The numbers of the layers on disk.
pub(super) struct OnDisk {
    pub directories: HashSet<u64>,
    /// Which have records of their files.
    files: HashSet<u64>,
}

impl OnDisk {
    /// Anything else there goes to the trash.
    pub fn list(path: &Path, trash: &Trash) -> Result<Self, Error> {
        let directory = std::fs::File::open(path).map_err(Error::io("open", path))?;
        let mut found = Self { directories: HashSet::new(), files: HashSet::new() };
        for name in disk::children(&directory).map_err(Error::io("list", path))? {
            let number = |name: &str| name.parse::<u64>().ok().filter(|number| number.to_string() == name);
            let text = name.to_str().unwrap_or_default();
            match (number(text), text.strip_suffix(check::SUFFIX).and_then(number)) {
                (Some(number), _) => drop(found.directories.insert(number)),
                (None, Some(number)) => drop(found.files.insert(number)),
                (None, None) => trash.take_path(&path.join(&name))?,
            }
        }
        Ok(found)
    }

    pub fn numbers(&self) -> HashSet<u64> {
        self.directories.union(&self.files).copied().collect()
    }
}
