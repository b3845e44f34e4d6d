//! A directory that nothing leaves: every path is resolved by the kernel beneath it (openat2, RESOLVE_BENEATH).

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags},
    io::Errno,
};

use super::{
    LayerError,
    entry::{Attributes, Place},
    paths::Implied,
};
use crate::{
    beneath::{self, DIRECTORY, NO_LINKS},
    disk::Trash,
};

pub(super) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What stood where an entry goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A directory, kept.
    Directory,
    /// A whiteout of this same layer, removed.
    Whiteout,
}

/// The layer's directory while it is filled.
pub(super) struct LayerDir<'a> {
    root: OwnedFd,
    trash: &'a Trash,
    /// The parent opened last: archives come directory by directory.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Directories made without an entry of their own.
    pub implied: Implied,
    /// How many those were, with what was replaced since.
    pub made: u64,
    /// Whether a name was replaced, or reached through a symbolic link.
    pub disturbed: bool,
    entries: u64,
    limit: u64,
}

impl<'a> LayerDir<'a> {
    /// A directory that takes no more than `limit` entries.
    pub fn open(path: &Path, trash: &'a Trash, limit: u64) -> Result<Self, LayerError> {
        let root =
            rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(LayerError::disk("open directory", path))?;
        Ok(Self { root, trash, last: None, implied: Implied::default(), made: 0, disturbed: false, entries: 0, limit })
    }

    /// Counts an entry, or a directory that is made without one.
    pub fn admit(&mut self) -> Result<(), LayerError> {
        self.entries += 1;
        if self.entries > self.limit { Err(LayerError::Limit { what: "entries", limit: self.limit }) } else { Ok(()) }
    }

    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// A directory below the root, made with its parents where it is missing.
    pub fn parent(&mut self, path: &Path) -> Result<Rc<OwnedFd>, LayerError> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(fd.clone());
        }
        let fd = match self.beneath(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path)?,
            result => result.map_err(|errno| Self::resolve_error(path, errno))?,
        };
        let fd = Rc::new(fd);
        self.last = Some((path.to_owned(), fd.clone()));
        Ok(fd)
    }

    /// A directory that must exist.
    pub fn existing(&mut self, path: &Path) -> Result<OwnedFd, LayerError> {
        self.beneath(path).map_err(|errno| Self::resolve_error(path, errno))
    }

    /// A directory that must exist, opened so that it can be looked into.
    pub fn readable(&mut self, path: &Path) -> Result<OwnedFd, LayerError> {
        self.open_beneath(path, OFlags::RDONLY).map_err(|errno| Self::resolve_error(path, errno))
    }

    fn beneath(&mut self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, OFlags::PATH)
    }

    fn open_beneath(&mut self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::DIRECTORY;
        match beneath::open(&self.root, path, flags, NO_LINKS) {
            Err(Errno::LOOP) => {
                self.disturbed = true;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
                beneath::open(&self.root, path, flags, resolve)
            }
            result => result,
        }
    }

    fn resolve_error(path: &Path, errno: Errno) -> LayerError {
        match errno {
            Errno::XDEV => LayerError::entry(path, "the path leaves the layer through a symbolic link"),
            Errno::LOOP => LayerError::entry(path, "the path goes through a loop of symbolic links"),
            Errno::NOENT => LayerError::entry(path, "no such directory in this layer"),
            Errno::NOTDIR => LayerError::entry(path, "a parent is not a directory"),
            Errno::NAMETOOLONG => LayerError::entry(path, "the path is too long"),
            errno => LayerError::disk("open directory", path)(errno),
        }
    }

    fn make_parents(&mut self, path: &Path) -> Result<OwnedFd, LayerError> {
        let mut done = PathBuf::new();
        let mut at = self.existing(&done)?;
        for component in path.components() {
            let name = component.as_os_str();
            done.push(name);
            at = match self.beneath(&done) {
                Err(Errno::NOENT) => self.make_implied(&at, name, &done, false)?,
                Err(Errno::NOTDIR) if is_whiteout(&at, name) => {
                    self.remove(&at, name, &done)?;
                    self.make_implied(&at, name, &done, true)?
                }
                result => result.map_err(|errno| Self::resolve_error(&done, errno))?,
            };
        }
        Ok(at)
    }

    fn make_implied(&mut self, at: &OwnedFd, name: &OsStr, path: &Path, opaque: bool) -> Result<OwnedFd, LayerError> {
        self.admit()?;
        self.implied.insert(path)?;
        match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => return Err(LayerError::entry(path, "a parent is a symbolic link to nothing")),
            result => result.map_err(LayerError::disk("create directory", path))?,
        }
        let fd = child_directory(at, name, path)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(LayerError::disk("set mode of", path))?;
        if opaque {
            mark_opaque(&fd, path)?;
        }
        self.made += 1;
        Ok(fd)
    }

    /// Clears the place an entry goes to. A directory stays where a directory comes.
    pub fn clear(&mut self, at: &OwnedFd, place: &Place, directory: bool) -> Result<Before, LayerError> {
        let path = place.path();
        let stat = match rustix::fs::statat(at, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Before::Nothing),
            result => result.map_err(LayerError::disk("look at", &path))?,
        };
        if directory && FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Ok(Before::Directory);
        }
        self.remove(at, &place.name, &path)?;
        Ok(if stat_is_whiteout(&stat) { Before::Whiteout } else { Before::Nothing })
    }

    fn remove(&mut self, at: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), LayerError> {
        self.disturbed = true;
        match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                self.last = None;
                self.implied.remove_tree(path);
                self.trash.take(at, name).map_err(LayerError::disk("move away", path))
            }
            result => result.map_err(LayerError::disk("remove", path)),
        }
    }
}

/// Opens a directory by its name in another.
pub(super) fn child_directory(at: &OwnedFd, name: &OsStr, path: &Path) -> Result<OwnedFd, LayerError> {
    rustix::fs::openat(at, name, DIRECTORY, Mode::empty()).map_err(LayerError::disk("open directory", path))
}

/// Hides what the layers below have in this directory.
pub(super) fn mark_opaque(directory: &OwnedFd, path: &Path) -> Result<(), LayerError> {
    rustix::fs::fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(LayerError::disk("mark opaque", path))
}

/// Whether there is a whiteout by that name.
pub(super) fn is_whiteout(at: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat_is_whiteout(&stat))
}

fn stat_is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == 0
}

/// Owner, mode, extended attributes, in the order in which none undoes another: a change of owner clears setuid bits
/// and file capabilities.
pub(super) fn apply(fd: impl AsFd, attributes: &Attributes, path: &Path) -> Result<(), LayerError> {
    let (uid, gid) = owner(attributes);
    rustix::fs::fchown(&fd, Some(uid), Some(gid)).map_err(LayerError::disk("change the owner of", path))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(attributes.mode)).map_err(LayerError::disk("set mode of", path))?;
    attributes.xattrs.iter().try_for_each(|(name, value)| set_xattr(&fd, name, value, path))
}

/// Sets an extended attribute, where the file system can have it.
pub(super) fn set_xattr(fd: impl AsFd, name: &str, value: &[u8], path: &Path) -> Result<(), LayerError> {
    tolerate_xattr(rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty()), name, path)
}

/// The same for what cannot be opened: symbolic links, fifos and devices.
pub(super) fn apply_at(at: &OwnedFd, place: &Place, attributes: &Attributes) -> Result<(), LayerError> {
    let path = place.path();
    let (uid, gid) = owner(attributes);
    rustix::fs::chownat(at, &place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(LayerError::disk("change the owner of", &path))?;
    let stat =
        rustix::fs::statat(at, &place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(LayerError::disk("look at", &path))?;
    if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
        rustix::fs::chmodat(at, &place.name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
            .map_err(LayerError::disk("set mode of", &path))?;
    }
    let mut through = PathBuf::from(format!("/proc/self/fd/{}", at.as_fd().as_raw_fd()));
    through.push(&place.name);
    for (name, value) in &attributes.xattrs {
        let result = rustix::fs::lsetxattr(&through, name.as_str(), value, XattrFlags::empty());
        tolerate_xattr(result, name, &path)?;
    }
    rustix::fs::utimensat(at, &place.name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(LayerError::disk("set times of", &path))
}

fn owner(attributes: &Attributes) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(attributes.uid), rustix::fs::Gid::from_raw(attributes.gid))
}

/// A file system without some kind of attribute is no reason to fail, except for capabilities, which decide what a
/// program may do. `user.` attributes exist on files and directories only.
fn tolerate_xattr(result: Result<(), Errno>, name: &str, path: &Path) -> Result<(), LayerError> {
    match result {
        Ok(()) => Ok(()),
        Err(errno) if name != "security.capability" && matches!(errno, Errno::NOTSUP | Errno::PERM) => {
            tracing::debug!(path = %path.display(), name, %errno, "extended attribute left out");
            Ok(())
        }
        Err(errno) => Err(LayerError::disk("set an extended attribute of", path)(errno)),
    }
}

/// For records: paths as text.
pub(super) fn text(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}
