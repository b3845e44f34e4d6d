//! Directories as wholes: made to vanish at once, deleted at leisure, measured.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, Dir, FileType, IFlags, Mode, Timespec, Timestamps, XattrFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    beneath::DIRECTORY,
    xattrs::{Of, Reader},
};

/// Nobody's tree is this deep in earnest, and each level holds a descriptor.
const MEASURED_DEPTH: usize = 256;
/// How many files of several names are remembered while a tree is measured: some 20 MiB.
const HARD_LINKS: usize = 1_000_000;
/// How often a directory is gone through before it counts as one that cannot be emptied.
const DELETE_PASSES: u32 = 100;
/// One whole, in shares.
const SHARE: u128 = 1 << 32;
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
        let mut highest = None;
        for name in Names(Dir::read_from(&self.directory).map_err(Error::io("list", &self.path))?) {
            let name = name.map_err(Error::io("list", &self.path))?;
            highest = highest.max(name.to_str().and_then(|name| name.get(1..)?.parse::<u64>().ok()));
        }
        self.next.store(highest.map_or(0, |highest| highest.saturating_add(1)), Ordering::Relaxed);
        Ok(())
    }

    fn name(&self, kind: u8) -> String {
        format!("{}{}", char::from(kind), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A new empty directory to write in. It is deleted when dropped, unless it was renamed away.
    pub fn workspace(self: &Arc<Self>) -> Result<Workspace, Error> {
        self.workspace_in(&self.path)
    }

    /// The same in another directory, whose owner removes what he does not know when the store opens.
    pub fn workspace_in(self: &Arc<Self>, parent: &Path) -> Result<Workspace, Error> {
        let path = parent.join(self.name(WORK));
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)).map_err(Error::io("create directory", &path))?;
        Ok(Workspace { path, trash: self.clone() })
    }

    /// A new empty file to write. As a workspace, it is deleted unless it was renamed away.
    pub fn file(self: &Arc<Self>) -> io::Result<(Workspace, File)> {
        let path = self.path.join(self.name(WORK));
        let file = File::create_new(&path)?;
        Ok((Workspace { path, trash: self.clone() }, file))
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
        let mut found = true;
        // Taking trees apart puts more here.
        while std::mem::take(&mut found) {
            let Ok(names) = Dir::read_from(&self.directory).map(Names) else { return };
            for name in names.map_while(Result::ok) {
                if !dead(&name) || failed.contains(&name) {
                    continue;
                }
                found = true;
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
        let mut names = Names::of(directory)?;
        for pass in 1.. {
            let mut found = false;
            while let Some(child) = names.next() {
                self.delete_child(names.directory()?, &child?)?;
                found = true;
            }
            match rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR) {
                // A file system may pass over some names while others are removed.
                Err(Errno::NOTEMPTY | Errno::EXIST) if found && pass < DELETE_PASSES => names.rewind(),
                result => return ignore_missing(result),
            }
        }
        Ok(())
    }

    fn delete_child(&self, directory: BorrowedFd<'_>, child: &OsStr) -> Result<(), Errno> {
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

/// A directory or a file being written. Dropped, it goes to the trash.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    trash: Arc<Trash>,
}

impl Workspace {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its place. There must be nothing.
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

/// The names in a directory, one after the other: there may be more than the memory holds.
pub(crate) struct Names(Dir);

impl Names {
    pub fn of(directory: OwnedFd) -> Result<Self, Errno> {
        Dir::new(directory).map(Self)
    }

    pub fn directory(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.0.fd()
    }

    /// From the first name again.
    fn rewind(&mut self) {
        self.0.rewind();
    }
}

impl Iterator for Names {
    type Item = Result<OsString, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno)),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                return Some(Ok(name.to_owned()));
            }
        }
    }
}

/// All names in a directory of the node's own.
pub(crate) fn children(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    Names(Dir::read_from(directory)?).collect()
}

/// What a tree takes on disk. Links are not followed; what vanishes meanwhile does not count.
pub(crate) fn measure(path: &Path) -> Result<Usage, Error> {
    measure_with(path, HardLinks::remembering(HARD_LINKS))
}

fn measure_with(path: &Path, mut hard_links: HardLinks) -> Result<Usage, Error> {
    let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
    let stat = rustix::fs::fstat(&root).map_err(Error::io("look at", path))?;
    let mut usage = Usage { bytes: disk_bytes(&stat), inodes: 1 };
    let mut levels = vec![Names::of(root).map_err(Error::io("list", path))?];
    while let Some(names) = levels.last_mut() {
        let name = match names.next() {
            // The directory itself vanished.
            None | Some(Err(Errno::NOENT)) => {
                levels.pop();
                continue;
            }
            Some(name) => name.map_err(Error::io("list", path))?,
        };
        let directory = names.directory().map_err(Error::io("list", path))?;
        let Ok(stat) = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        if !is_directory && stat.st_nlink > 1 {
            usage += hard_links.count(&stat);
            continue;
        }
        usage += Usage { bytes: disk_bytes(&stat), inodes: 1 };
        if is_directory {
            let child = (levels.len() < MEASURED_DEPTH).then(|| descend(levels.last(), &name));
            levels.extend(child.flatten());
        }
    }
    usage += hard_links.shares();
    Ok(usage)
}

fn descend(names: Option<&Names>, name: &OsStr) -> Option<Names> {
    let child = rustix::fs::openat(names?.directory().ok()?, name, DIRECTORY, Mode::empty()).ok()?;
    Names::of(child).ok()
}

/// Files of several names, counted at the first. When there are too many to remember, each further name counts for its
/// share of the file, which comes to the same if all names are in the tree.
struct HardLinks {
    seen: HashSet<u64>,
    limit: usize,
    /// In units of `SHARE`.
    shared_bytes: u128,
    shared_inodes: u128,
}

impl HardLinks {
    fn remembering(limit: usize) -> Self {
        Self { seen: HashSet::new(), limit, shared_bytes: 0, shared_inodes: 0 }
    }

    /// What one more name adds.
    fn count(&mut self, stat: &rustix::fs::Stat) -> Usage {
        if self.seen.contains(&stat.st_ino) {
            return Usage::default();
        }
        if self.seen.len() < self.limit {
            self.seen.insert(stat.st_ino);
            return Usage { bytes: disk_bytes(stat), inodes: 1 };
        }
        let names = u128::from(stat.st_nlink.max(1));
        self.shared_bytes += u128::from(disk_bytes(stat)) * SHARE / names;
        self.shared_inodes += SHARE / names;
        Usage::default()
    }

    /// What the shares come to.
    fn shares(&self) -> Usage {
        let whole = |shares: u128| u64::try_from((shares + SHARE / 2) / SHARE).unwrap_or(u64::MAX);
        Usage { bytes: whole(self.shared_bytes), inodes: whole(self.shared_inodes) }
    }
}

/// What one file of the node's own takes on disk, and how many bytes it has.
pub(crate) fn measure_file(path: &Path) -> Result<(Usage, u64), Error> {
    let stat = rustix::fs::lstat(path).map_err(Error::io("look at", path))?;
    Ok((Usage { bytes: disk_bytes(&stat), inodes: 1 }, u64::try_from(stat.st_size).unwrap_or(0)))
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
    // SELinux labels what is created by its own rules.
    let wanted = |name: &OsStr| !name.as_bytes().starts_with(b"trusted.overlay.") && name != "security.selinux";
    Reader::new().each(Of::Open(file.as_fd()), wanted, |name, value| (name.to_owned(), value.to_owned()))
}

/// Tells ext2, ext3 and ext4 that directories made in this one have nothing to do with each other (as `chattr +T` does), so
/// that each begins where there is room. Otherwise all begin in their parent's block group, where an image was perhaps just
/// deleted: without a journal, ext4 passes over each inode that was freed lately, one by one, at each creation of a file.
/// Other file systems have no such thing, and nothing depends on it.
pub(crate) fn spread(path: &Path) -> Result<(), Error> {
    let directory = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(Error::io("open", path))?;
    let spread = rustix::fs::ioctl_getflags(&directory)
        .and_then(|flags| rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR));
    if let Err(errno) = spread {
        tracing::debug!(path = %path.display(), %errno, "what is in it is not spread over the file system");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
