//! Reading and writing cgroup files with as few system calls as possible.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
};

use super::Error;

/// More than any cgroup file of use here holds (`memory.stat` has about 4 KiB).
const MAX_FILE: usize = 16 << 20;

/// Opens a file for writing. It must exist: a cgroup file that is missing is a controller that is missing.
pub(super) fn open_for_writing(file: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Writes a value in one write(2), as cgroup files want it.
pub(super) fn write(dir: &Path, name: &str, value: &str) -> Result<(), Error> {
    let file = dir.join(name);
    try_write(&file, value).map_err(|errno| write_error(file, value, errno))
}

/// As [`write`], but a file that does not exist is an answer.
///
/// Returns whether the value was written.
pub(super) fn write_if_exists(dir: &Path, name: &str, value: &str) -> Result<bool, Error> {
    let file = dir.join(name);
    match try_write(&file, value) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(write_error(file, value, errno)),
    }
}

/// The bare write, for callers that decide by errno.
pub(super) fn try_write(file: &Path, value: &str) -> Result<(), Errno> {
    let fd = open_for_writing(file)?;
    rustix::io::write(&fd, value.as_bytes()).map(|_| ())
}

/// The error of a write that failed.
pub(super) fn write_error(file: PathBuf, value: &str, errno: Errno) -> Error {
    Error::Write { file, value: value.to_owned(), source: errno.into() }
}

/// Reads a file whole.
pub(super) fn read(file: &Path) -> Result<String, Error> {
    try_read(file).map_err(|source| Error::Read { file: file.to_owned(), source })
}

/// As [`read`]; `None` if it does not exist, or its feature is switched off (EOPNOTSUPP), or its cgroup has just gone (ENODEV).
pub(super) fn read_if_exists(file: &Path) -> Result<Option<String>, Error> {
    match try_read(file) {
        Ok(text) => Ok(Some(text)),
        Err(e) => match e.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => Ok(None),
            _ => Err(Error::Read { file: file.to_owned(), source: e }),
        },
    }
}

fn try_read(file: &Path) -> io::Result<String> {
    let fd = rustix::fs::open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; 4096];
    let mut len = 0;
    loop {
        if len == bytes.len() {
            if len >= MAX_FILE {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any cgroup file"));
            }
            bytes.resize(len * 2, 0);
        }
        match rustix::io::read(&fd, bytes.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(len);
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
