//! Directories as wholes: made to vanish at once, deleted at leisure, measured.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::Error;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Nobody's tree is this deep in earnest, and each level holds a descriptor.
const MEASURED_DEPTH: usize = 256;
/// What is being written.
const WORK: u8 = b'w';
/// What is to be deleted.
const DEAD: u8 = b'd';

/// What files take on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Files, directories and everything else.
    pub inodes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// The directory of things half made or half deleted. Whatever is in it when the store opens is deleted.
#[derive(Debug)]
pub(crate) struct Trash {
    path: PathBuf,
    directory: OwnedFd,
    next: AtomicU64,
    emptying: Mutex<()>,
}

impl Trash {
    /// Opens the directory, making it where it is missing, and empties it. What cannot be deleted is logged and left.
    pub fn open(path: &Path) -> Result<Self, Error> {
        make_directory(path)?;
        let directory = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
        let trash = Self { path: path.to_owned(), directory, next: AtomicU64::new(0), emptying: Mutex::new(()) };
        trash.avoid_names_in_use()?;
        trash.delete_all(|_| true);
        Ok(trash)
    }

    fn avoid_names_in_use(&self) -> Result<(), Error> {
        let names = children(&self.directory).map_err(Error::io("list", &self.path))?;
        let highest = names.iter().filter_map(|name| name.to_str()?.get(1..)?.parse::<u64>().ok()).max();
        self.next.store(highest.map_or(0, |highest| highest.saturating_add(1)), Ordering::Relaxed);
        Ok(())
    }

    fn name(&self, kind: u8) -> String {
        format!("{}{}", char::from(kind), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A new empty directory to write in. It is deleted when dropped, unless it was renamed away.
    pub fn workspace(self: &Arc<Self>) -> Result<Workspace, Error> {
        let path = self.path.join(self.name(WORK));
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)).map_err(Error::io("create directory", &path))?;
        Ok(Workspace { path, trash: self.clone() })
    }

    /// Moves something here: it is gone from where it was at once, and deleted later.
    pub fn take(&self, at: impl AsFd, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(at, name, &self.directory, self.name(DEAD))
    }

    /// Moves a path here. Fine if there is none.
    pub fn take_path(&self, path: &Path) -> Result<(), Error> {
        match self.take(rustix::fs::CWD, path.as_os_str()) {
            Err(Errno::NOENT) => Ok(()),
            result => result.map_err(Error::io("move away", path)),
        }
    }

    /// Deletes what was moved here. What cannot be deleted is logged and left until the next time.
    pub fn empty(&self) {
        self.delete_all(|name| name.as_bytes().first() == Some(&DEAD));
    }

    /// Empties it off the async threads, if there are any.
    pub fn empty_soon(self: Arc<Self>) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || self.empty())),
            Err(_) => self.empty(),
        }
    }

    /// Trees are taken apart from the top, a directory at a time, so that no depth of nesting can exhaust stack or
    /// descriptors; no link is followed.
    fn delete_all(&self, dead: impl Fn(&OsStr) -> bool) {
        let _one_at_a_time = self.emptying.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failed = HashSet::new();
        loop {
            let all = children(&self.directory).unwrap_or_default();
            let mut rest: Vec<_> = all.into_iter().filter(|name| dead(name) && !failed.contains(name)).collect();
            if rest.is_empty() {
                return;
            }
            for name in rest.drain(..) {
                if let Err(error) = self.delete(&name) {
                    tracing::warn!(path = %self.path.join(&name).display(), %error, "cannot delete");
                    failed.insert(name);
                }
            }
        }
    }

    fn delete(&self, name: &OsStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(Errno::NOENT) => return Ok(()),
            result => return result,
        }
        let directory = rustix::fs::openat(&self.directory, name, DIRECTORY, Mode::empty())?;
        for child in children(&directory)? {
            self.delete_child(&directory, &child)?;
        }
        ignore_missing(rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR))
    }

    fn delete_child(&self, directory: &OwnedFd, child: &OsStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            result => return ignore_missing(result),
        }
        match rustix::fs::unlinkat(directory, child, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => ignore_missing(self.take(directory, child)),
            result => ignore_missing(result),
        }
    }
}

/// A directory being written. Dropped, it goes to the trash.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    trash: Arc<Trash>,
}

impl Workspace {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory its place. There must be nothing.
    pub fn keep(self, place: &Path) -> Result<(), Error> {
        rustix::fs::rename(&self.path, place).map_err(Error::io("rename to", place))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        match self.trash.take(rustix::fs::CWD, self.path.as_os_str()) {
            // It has its place.
            Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "left behind until the next start"),
            Ok(()) => self.trash.clone().empty_soon(),
        }
    }
}

/// Makes a directory of the node's own, with its parents.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::io("create directory", path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
    rustix::fs::fsync(&directory).map_err(Error::io("sync", path))
}

fn ignore_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// The names in a directory.
pub(crate) fn children(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// What a tree takes on disk. Links are not followed; what vanishes meanwhile does not count.
pub(crate) fn measure(path: &Path) -> Result<Usage, Error> {
    let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
    let stat = rustix::fs::fstat(&root).map_err(Error::io("look at", path))?;
    let mut usage = Usage { bytes: disk_bytes(&stat), inodes: 1 };
    let mut hard_links = HashSet::new();
    let mut levels = vec![(children(&root).map_err(Error::io("list", path))?, root)];
    while let Some((names, directory)) = levels.last_mut() {
        let Some(name) = names.pop() else {
            levels.pop();
            continue;
        };
        let Ok(stat) = rustix::fs::statat(&*directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        if !is_directory && stat.st_nlink > 1 && !hard_links.insert(stat.st_ino) {
            continue;
        }
        usage += Usage { bytes: disk_bytes(&stat), inodes: 1 };
        if is_directory && levels.len() < MEASURED_DEPTH {
            levels.extend(descend(levels.last().map(|(_, directory)| directory), &name));
        }
    }
    Ok(usage)
}

fn descend(directory: Option<&OwnedFd>, name: &OsStr) -> Option<(Vec<OsString>, OwnedFd)> {
    let child = rustix::fs::openat(directory?, name, DIRECTORY, Mode::empty()).ok()?;
    Some((children(&child).ok()?, child))
}

fn disk_bytes(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Gives one directory of the node's own the owner, mode, times and extended attributes of another, except overlayfs' own.
pub(crate) fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    let source = rustix::fs::open(from, DIRECTORY, Mode::empty()).map_err(Error::io("open", from))?;
    let target = rustix::fs::open(to, DIRECTORY, Mode::empty()).map_err(Error::io("open", to))?;
    let stat = rustix::fs::fstat(&source).map_err(Error::io("look at", from))?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&target, Some(owner.0), Some(owner.1)).map_err(Error::io("change the owner of", to))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(Error::io("set mode of", to))?;
    for (name, value) in xattrs(&source).map_err(Error::io("read extended attributes of", from))? {
        rustix::fs::fsetxattr(&target, &name, &value, XattrFlags::empty())
            .map_err(Error::io("set an extended attribute of", to))?;
    }
    let time = |seconds: i64, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(stat.st_atime as _, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime as _, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(&target, &times).map_err(Error::io("set times of", to))
}

fn xattrs(file: &OwnedFd) -> Result<Vec<(OsString, Vec<u8>)>, Errno> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        result => result?,
    };
    let mut xattrs = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|&byte| byte == 0) {
        // SELinux labels what is created by its own rules.
        if name.is_empty() || name.starts_with(b"trusted.overlay.") || name == b"security.selinux" {
            continue;
        }
        let name = OsStr::from_bytes(name).to_owned();
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(file, &name, value.as_mut_slice())?;
        value.truncate(length);
        xattrs.push((name, value));
    }
    Ok(xattrs)
}
