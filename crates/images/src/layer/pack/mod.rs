//! From a layer's directory back to an archive: overlayfs' own forms become whiteouts and opaque markers again, and what
//! the archive did not describe stays undescribed. The same directory always gives the same bytes.

mod content;
mod entry;
mod links;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io::Write,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

pub(crate) use entry::{Entry, finish, pad};
use links::HardLinks;
use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tar::EntryType;

use super::directory::text;
use crate::{
    Error,
    beneath::{self, DIRECTORY, NO_LINKS},
    disk::children,
    view::is_opaque,
    xattrs::{Of, Reader},
};

/// How many names may wait while the tree is walked, in all directories on the way together.
const NAMES: usize = 4_000_000;

/// Extended attributes: names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// A layer to be packed.
pub(crate) struct Packing {
    /// Its directory.
    pub directory: PathBuf,
    /// Whether its root directory is described.
    pub has_root: bool,
    /// Directories that are not.
    pub implied: HashSet<String>,
}

/// A directory on the way, with what is still to come of it.
struct Level {
    path: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

/// A layer being packed.
struct Packer<'a, W> {
    packing: &'a Packing,
    root: OwnedFd,
    links: HardLinks,
    xattrs: Reader,
    waiting: usize,
    buffer: Vec<u8>,
    out: &'a mut W,
}

impl Packing {
    /// Writes the archive. Memory does not grow with the sizes of files, and a directory's names are all that is held of it.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        let root = rustix::fs::open(&self.directory, DIRECTORY, Mode::empty()).map_err(failed(&self.directory))?;
        let (links, buffer) = (HardLinks::default(), vec![0; content::BUFFER]);
        let xattrs = Reader::new();
        let mut packer = Packer { packing: self, root, links, xattrs, waiting: 0, buffer, out };
        let mut levels = vec![packer.directory(Path::new(""))?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            packer.waiting -= 1;
            let path = level.path.join(name);
            levels.extend(packer.entry(&path)?);
        }
        finish(packer.out).map_err(failed(&self.directory))
    }
}

impl<W: Write> Packer<'_, W> {
    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        beneath::open(&self.root, path, flags | OFlags::NOFOLLOW, NO_LINKS).map_err(failed(path))
    }

    /// Packs what is at a path; a directory is to be gone into.
    fn entry(&mut self, path: &Path) -> Result<Option<Level>, Error> {
        let at = self.open(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&at).map_err(failed(path))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type.is_dir() {
            return self.directory(path).map(Some);
        }
        if file_type.is_char_device() && stat.st_rdev == 0 {
            self.marker(&beside(path, ".wh."))?;
            return Ok(None);
        }
        let name = path.as_os_str().as_bytes();
        if let Some(first) = self.links.first(&stat, name).map_err(failed(path))? {
            let link = Entry { link: &first, kind: EntryType::Link, ..Entry::of(&stat, name) };
            link.write(self.out).map_err(failed(path))?;
            return Ok(None);
        }
        match file_type {
            FileType::RegularFile => self.file(path, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&at, "", Vec::new()).map_err(failed(path))?.into_bytes();
                self.special(path, &at, Entry { link: &target, kind: EntryType::Symlink, ..Entry::of(&stat, name) })?;
            }
            FileType::Fifo => self.special(path, &at, Entry { kind: EntryType::Fifo, ..Entry::of(&stat, name) })?,
            FileType::CharacterDevice | FileType::BlockDevice => {
                let kind = if file_type.is_char_device() { EntryType::Char } else { EntryType::Block };
                let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                self.special(path, &at, Entry { kind, device, ..Entry::of(&stat, name) })?;
            }
            _ => return Err(failed(path)(Errno::OPNOTSUPP)),
        }
        Ok(None)
    }

    fn directory(&mut self, path: &Path) -> Result<Level, Error> {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let is_root = path.as_os_str().is_empty();
        let described = if is_root { self.packing.has_root } else { !self.packing.implied.contains(&text(path)) };
        if described {
            let stat = rustix::fs::fstat(&directory).map_err(failed(path))?;
            let name = if is_root { OsString::from("./") } else { with_slash(path) };
            let xattrs = self.xattrs(Of::Open(directory.as_fd())).map_err(failed(path))?;
            let entry = Entry { kind: EntryType::Directory, xattrs: &xattrs, ..Entry::of(&stat, name.as_bytes()) };
            entry.write(self.out).map_err(failed(path))?;
        }
        if is_opaque(&directory) {
            self.marker(&path.join(".wh..wh..opq"))?;
        }
        let mut names = children(&directory).map_err(failed(path))?;
        self.waiting += names.len();
        if self.waiting > NAMES {
            return Err(failed(path)(Errno::TOOBIG));
        }
        names.sort_unstable();
        Ok(Level { path: path.to_owned(), names: names.into_iter() })
    }

    /// An empty file whose name says something of the layers below.
    fn marker(&mut self, path: &Path) -> Result<(), Error> {
        let entry = Entry::new(path.as_os_str().as_bytes(), 0o600, 0);
        entry.write(self.out).map_err(failed(path))
    }

    fn file(&mut self, path: &Path, stat: &Stat) -> Result<(), Error> {
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let xattrs = self.xattrs(Of::Open(file.as_fd())).map_err(failed(path))?;
        let entry = Entry { xattrs: &xattrs, ..Entry::of(stat, path.as_os_str().as_bytes()) };
        content::write(&entry, stat, file, &mut self.buffer, self.out).map_err(failed(path))
    }

    /// What cannot be opened. Its attributes are read by the name that the kernel has for the descriptor.
    fn special(&mut self, path: &Path, at: &OwnedFd, entry: Entry<'_>) -> Result<(), Error> {
        let name = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd()));
        let xattrs = self.xattrs(Of::Path(&name)).map_err(failed(path))?;
        Entry { xattrs: &xattrs, ..entry }.write(self.out).map_err(failed(path))
    }

    /// The extended attributes that are the image's, by name: overlayfs' own are not, nor is what SELinux gives files by
    /// rules of its own.
    fn xattrs(&mut self, of: Of<'_>) -> Result<Xattrs, Errno> {
        let wanted = |name: &OsStr| {
            let own = [&b"trusted.overlay."[..], b"user.overlay."];
            !own.iter().any(|own| name.as_bytes().starts_with(own)) && name != "security.selinux"
        };
        let take = |name: &OsStr, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mut xattrs = self.xattrs.each(of, wanted, take)?;
        xattrs.sort_unstable();
        Ok(xattrs)
    }
}

fn failed<E: Into<std::io::Error>>(path: &Path) -> impl FnOnce(E) -> Error {
    Error::io("pack", path)
}

/// `d/x` with a prefix: `d/.wh.x`.
fn beside(path: &Path, prefix: &str) -> PathBuf {
    let mut name = OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn with_slash(path: &Path) -> OsString {
    let mut name = path.as_os_str().as_bytes().to_vec();
    name.push(b'/');
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests;
