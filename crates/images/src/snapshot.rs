//! Snapshots: a container's writable directories over an image's layers, and what of other images it has mounted.
//!
//! They live only as long as containers, so nothing here waits for the disk: a snapshot is a directory with a record
//! in it, made under another name and renamed. After a power loss no container runs that could miss it.

use std::{
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use corten_host::user_namespace::Mappings;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    digest::Digest,
    disk::{Trash, children, copy_attributes, make_directory},
    projects::Projects,
};

const RECORD: &str = "snapshot.json";
const VERSION: u32 = 1;

/// What an overlay mount for a container needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The layers' directories, topmost first; never empty.
    pub lower: Vec<PathBuf>,
    /// The writable directory.
    pub upper: PathBuf,
    /// overlayfs' own directory, on the same file system.
    pub work: PathBuf,
    /// For each image that the container has mounted besides, in order, the directories that show it, topmost first; at
    /// least two, as overlayfs wants where none is writable.
    pub mounted: Vec<Vec<PathBuf>>,
}

/// What a snapshot holds on to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    version: u32,
    /// What it was made from.
    #[serde(flatten)]
    pub root: Held,
    /// What is mounted besides.
    #[serde(default)]
    pub mounted: Vec<Held>,
    /// The project of what is written, where the file system counts by project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<u32>,
}

/// An image that is held on to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The image's id.
    pub image: String,
    /// Its layers, lowest first, each once.
    pub layers: Vec<Digest>,
}

impl SnapshotRecord {
    pub fn new(root: Held, mounted: Vec<Held>) -> Self {
        Self { version: VERSION, root, mounted, project: None }
    }

    /// Everything held on to.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.root).chain(&self.mounted)
    }
}

/// What the topmost directory over an image's layers has to look like.
#[derive(Debug)]
pub(crate) struct Top {
    /// Like this directory.
    pub root: PathBuf,
    /// With these in it, parents first, each like the one of that name in a layer.
    pub covered: Vec<(String, PathBuf)>,
}

/// Names become directories.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Error::SnapshotName { name: name.chars().take(200).collect() });
    }
    Ok(())
}

/// Where a snapshot's writable directories are.
pub(crate) fn upper_and_work(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("u"), directory.join("w"))
}

/// Where the topmost directory of an image is that is mounted besides.
pub(crate) fn over_mounted(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("m{number}"))
}

/// Makes a snapshot's directory: the upper one like `root`, with the owners that the container's user namespace gives
/// it, if it has one; and those over what is mounted besides, whose owners are mapped as the layers' are. What is written
/// gets a project, which is in the record also when this fails.
pub(crate) fn create(
    trash: &std::sync::Arc<Trash>,
    directory: &Path,
    record: &mut SnapshotRecord,
    root: &Top,
    mounted: &[Top],
    users: Option<&Mappings>,
    projects: &Projects,
) -> Result<(), Error> {
    let workspace = trash.workspace()?;
    let (upper, work) = upper_and_work(workspace.path());
    make_directory(&work)?;
    make_directory(&upper)?;
    // overlayfs moves files from one to the other, which can only be within a project.
    record.project = projects.claim(&[&upper, &work])?;
    make_top(&upper, root)?;
    if let Some(users) = users {
        let covered = root.covered.iter().map(|(path, _)| upper.join(path));
        covered.chain([upper.clone()]).try_for_each(|path| change_owner(&path, users))?;
    }
    for (number, top) in mounted.iter().enumerate() {
        make_top(&over_mounted(workspace.path(), number), top)?;
    }
    let file = workspace.path().join(RECORD);
    let json = serde_json::to_vec(record).map_err(|error| Error::io("write", &file)(std::io::Error::from(error)))?;
    std::fs::write(&file, json).map_err(Error::io("write", &file))?;
    workspace.keep(directory)
}

/// overlayfs shows the topmost directory's own attributes.
fn make_top(directory: &Path, top: &Top) -> Result<(), Error> {
    make_directory(directory)?;
    for (path, _) in &top.covered {
        make_directory(&directory.join(path))?;
    }
    // Children before parents, whose times they would change.
    for (path, layer) in top.covered.iter().rev() {
        copy_attributes(&layer.join(path), &directory.join(path))?;
    }
    copy_attributes(&top.root, directory)
}

/// Gives a directory the owner outside for the one it has, which is the inside's. Ids that are nobody's there stay.
fn change_owner(path: &Path, users: &Mappings) -> Result<(), Error> {
    let metadata = std::fs::symlink_metadata(path).map_err(Error::io("stat", path))?;
    std::os::unix::fs::lchown(path, users.uid(metadata.uid()), users.gid(metadata.gid()))
        .map_err(Error::io("change the owner of", path))
}

/// Reads the snapshots there are. Unreadable ones (a power loss) go to the trash.
pub(crate) fn load(parent: &Path, trash: &Trash) -> Result<Vec<(String, SnapshotRecord)>, Error> {
    make_directory(parent)?;
    let directory = std::fs::File::open(parent).map_err(Error::io("open", parent))?;
    let mut snapshots = Vec::new();
    for name in children(&directory).map_err(Error::io("list", parent))? {
        let path = parent.join(&name);
        match (name.into_string(), read(&path.join(RECORD))?) {
            (Ok(name), Some(record)) => snapshots.push((name, record)),
            _ => {
                tracing::warn!(path = %path.display(), "snapshot without a readable record removed");
                trash.take_path(&path)?;
            }
        }
    }
    Ok(snapshots)
}

fn read(file: &Path) -> Result<Option<SnapshotRecord>, Error> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Error::io("read", file)(error)),
    };
    Ok(serde_json::from_slice(&bytes).ok().filter(|record: &SnapshotRecord| record.version == VERSION))
}
