//! The store's snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_host::user_namespace::Mappings;

use super::{Inner, PRIVATE, Store, check, make, stack, state::State};
use crate::{
    Digest, Error, Image, Snapshot, Usage, WritableLimits,
    disk::{self, Trash},
    error::blocking,
    projects::Projects,
    snapshot::{self, Held, SnapshotRecord, Top},
};

/// Where snapshots are. Nothing is renamed between here and the layers, which may be on another file system.
pub(super) struct Writable {
    root: PathBuf,
    trash: Arc<Trash>,
    projects: Projects,
}

impl Writable {
    /// Opens the directory, making it where it is missing. Gives the snapshots that are there.
    pub fn open(root: &Path) -> Result<(Self, Vec<(String, SnapshotRecord)>), Error> {
        let (directory, made) = (root.join("s"), root.join("st"));
        [root, &directory, &made].into_iter().try_for_each(|directory| make(directory, PRIVATE))?;
        let trash = Arc::new(Trash::open(&made)?);
        let snapshots = snapshot::load(&directory, &trash)?;
        let given = snapshots.iter().filter_map(|(_, record)| record.project).collect();
        let projects = Projects::open(&directory, &made, given)?;
        trash.empty();
        Ok((Self { root: root.to_owned(), trash, projects }, snapshots))
    }
}

impl Store {
    /// The same store, in which what each container writes is limited, also where the snapshot was made before.
    ///
    /// # Errors
    /// [`Error::Quota`] if there is a limit and the file system does not enforce any.
    pub fn limiting(self, limits: WritableLimits) -> Result<Self, Error> {
        self.inner.writable.projects.limit_all(limits)?;
        Ok(self)
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
        self.inner.discard_snapshot(container)?;
        let Some(record) = self.inner.forget_snapshot(container) else { return Ok(()) };
        self.inner.writable.trash.clone().empty_soon();
        let last = self.inner.state().keeps_previous(container);
        // Its layers may have waited for this.
        if last || record.held().any(|held| !self.inner.state().has_image(&held.image)) {
            self.inner.clone().collect().await?;
        }
        Ok(())
    }

    /// The directory that snapshots are below.
    pub fn snapshots_in(&self) -> &Path {
        &self.inner.writable.root
    }

    /// The containers that have snapshots.
    pub fn snapshots(&self) -> Vec<String> {
        self.inner.state().snapshots.keys().cloned().collect()
    }

    /// What a container has written: bytes and inodes of its upper directory. Where the file system counts by project that is
    /// one question, and overlayfs' own directory is counted, too; elsewhere every file is looked at.
    pub async fn snapshot_usage(&self, container: &str) -> Result<Usage, Error> {
        let project = self.inner.state().snapshots.get(container).map(|record| record.project);
        let project = project.ok_or_else(|| Error::NotFound { reference: container.to_owned() })?;
        let (inner, directory) = (self.inner.clone(), self.inner.snapshot_path(container));
        let counted = move || project.and_then(|project| inner.writable.projects.usage(project));
        let walk = move || disk::measure(&snapshot::upper_and_work(&directory).0);
        blocking("measure a snapshot", move || counted().map_or_else(walk, Ok)).await
    }

    /// [`Store::usable`] for all that a container's snapshot shows.
    pub fn snapshot_usable(&self, container: &str) -> Result<(), Error> {
        let state = self.inner.state();
        let held = state.snapshots.get(container).into_iter().flat_map(SnapshotRecord::held);
        held.into_iter().try_for_each(|held| check::refuse(&state.layers, &held.image, held.layers.iter()))
    }
}

fn held(image: &Image) -> Held {
    Held { image: image.id.clone(), layers: stack(image) }
}

impl Inner {
    fn snapshot_path(&self, container: &str) -> PathBuf {
        self.writable.root.join("s").join(container)
    }

    fn prepare_snapshot(
        &self,
        container: &str,
        mut record: SnapshotRecord,
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
        let Writable { trash, projects, .. } = &self.writable;
        let made = snapshot::create(trash, &directory, &mut record, &root, &mounted, users, projects)
            .and_then(|()| record.project.map_or(Ok(()), |project| projects.limit(project)));
        if let Some(known) = self.state().snapshots.get_mut(container) {
            known.project = record.project;
        }
        if let Err(error) = made {
            let _ = self.discard_snapshot(container);
            self.forget_snapshot(container);
            return Err(error);
        }
        Ok(snapshot)
    }

    /// Moves a snapshot's directory away, to be deleted. Fine if there is none.
    fn discard_snapshot(&self, container: &str) -> Result<(), Error> {
        let project = self.state().snapshots.get(container).and_then(|record| record.project);
        if let Some(project) = project {
            self.writable.projects.unlimit(project);
        }
        self.writable.trash.take_path(&self.snapshot_path(container))
    }

    fn forget_snapshot(&self, container: &str) -> Option<SnapshotRecord> {
        let record = self.state().snapshots.remove(container)?;
        if let Some(project) = record.project {
            self.writable.projects.release(project);
        }
        Some(record)
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
}
