//! What the kernel shows of a file.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    Checksum,
    format::{Attributes, Time, What, Xattr},
};
use crate::{
    beneath::{self, DIRECTORY, NO_LINKS},
    xattrs::{Of, Reader},
};

const BUFFER: usize = 256 << 10;
/// After how many bytes it is asked whether to go on.
const ASKED: usize = 16 << 20;
/// What the kernel keeps for itself: labels after its own rules, and the measurements of IMA and EVM.
const KERNELS: [&str; 3] = ["security.selinux", "security.ima", "security.evm"];

/// Looks at files, with buffers of its own.
pub(super) struct Observer {
    buffer: Vec<u8>,
    xattrs: Reader,
    /// The checksums of files of several names, by inode: there are no more of them than entries.
    linked: HashMap<u64, u64>,
}

impl Observer {
    pub fn new() -> Self {
        Self { buffer: vec![0; BUFFER], xattrs: Reader::new(), linked: HashMap::new() }
    }

    /// What a name in a directory is, with the checksum of its content. Nothing for what no layer has: sockets.
    /// `go_on` is asked now and then; if it says no, the error is `ECANCELED`.
    pub fn look(&mut self, at: BorrowedFd<'_>, name: &OsStr, go_on: &dyn Fn() -> bool) -> Result<Option<What>, Errno> {
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice if stat.st_rdev == 0 => Some(What::Whiteout),
            FileType::CharacterDevice => Some(device(self.attributes_at(at, name, &stat)?, false, &stat)),
            FileType::BlockDevice => Some(device(self.attributes_at(at, name, &stat)?, true, &stat)),
            FileType::Fifo => Some(What::Fifo(self.attributes_at(at, name, &stat)?)),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(at, name, Vec::new())?;
                Some(What::Symlink(self.attributes_at(at, name, &stat)?, OsString::from_vec(target.into_bytes())))
            }
            FileType::Directory => {
                let directory = rustix::fs::openat(at, name, DIRECTORY, Mode::empty())?;
                Some(What::Directory(self.attributes_of(&directory, &stat)?))
            }
            FileType::RegularFile => Some(self.file(at, name, &stat, go_on)?),
            _ => None,
        })
    }

    fn file(&mut self, at: BorrowedFd<'_>, name: &OsStr, stat: &Stat, go_on: &dyn Fn() -> bool) -> Result<What, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(at, name, flags, Mode::empty())?;
        let size = size(stat);
        let known = self.linked.get(&stat.st_ino).copied();
        let checksum = match known {
            Some(checksum) => checksum,
            None => self.content(&file, size, go_on)?,
        };
        if stat.st_nlink > 1 {
            self.linked.insert(stat.st_ino, checksum);
        }
        Ok(What::File { attributes: self.attributes_of(&file, stat)?, size, checksum })
    }

    fn content(&mut self, file: &OwnedFd, size: u64, go_on: &dyn Fn() -> bool) -> Result<u64, Errno> {
        let (mut checksum, mut read) = (Checksum::default(), 0);
        loop {
            if read >= ASKED && !go_on() {
                return Err(Errno::CANCELED);
            }
            read %= ASKED;
            match rustix::io::read(file, self.buffer.as_mut_slice()) {
                Ok(0) => return Ok(checksum.finish()),
                Ok(length) => {
                    checksum.update(self.buffer.get(..length).unwrap_or_default(), size);
                    read += length;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The attributes of what is open.
    pub fn attributes_of(&mut self, file: impl AsFd, stat: &Stat) -> Result<Attributes, Errno> {
        let xattrs = self.xattrs.each(Of::Open(file.as_fd()), is_recorded, xattr)?;
        Ok(attributes(stat, xattrs))
    }

    /// The same for what cannot be opened: symbolic links, fifos and devices.
    pub fn attributes_at(&mut self, at: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<Attributes, Errno> {
        let mut through = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd()));
        through.push(name);
        let xattrs = self.xattrs.each(Of::Link(&through), is_recorded, xattr)?;
        Ok(attributes(stat, xattrs))
    }
}

fn is_recorded(name: &OsStr) -> bool {
    !KERNELS.iter().any(|kernels| name == *kernels)
}

fn xattr(name: &OsStr, value: &[u8]) -> Xattr {
    Xattr { name: name.to_owned(), checksum: Checksum::of(value) }
}

fn attributes(stat: &Stat, mut xattrs: Vec<Xattr>) -> Attributes {
    xattrs.sort();
    let mtime = Time { seconds: stat.st_mtime as _, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs }
}

fn device(attributes: Attributes, block: bool, stat: &Stat) -> What {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    What::Device { attributes, block, major, minor }
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Opens a directory of a layer, through no symbolic link.
pub(super) fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    beneath::open(root, path, DIRECTORY, NO_LINKS)
}
