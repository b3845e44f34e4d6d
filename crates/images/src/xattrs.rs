//! Reading the extended attributes of files.

use std::{
    ffi::OsStr,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::io::Errno;

/// More than the kernel returns of names or of a value.
const BYTES: usize = 64 << 10;

/// Whose attributes.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// What is open.
    Open(BorrowedFd<'a>),
    /// What a path leads to.
    Path(&'a Path),
    /// What is at a path, also if it is a symbolic link.
    Link(&'a Path),
}

impl Of<'_> {
    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr(file, buffer),
            Self::Path(path) => rustix::fs::listxattr(path, buffer),
            Self::Link(path) => rustix::fs::llistxattr(path, buffer),
        }
    }

    fn get(self, name: &OsStr, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::fgetxattr(file, name, buffer),
            Self::Path(path) => rustix::fs::getxattr(path, name, buffer),
            Self::Link(path) => rustix::fs::lgetxattr(path, name, buffer),
        }
    }
}

/// Reads them, with buffers of its own.
pub(crate) struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    pub fn new() -> Self {
        Self { names: vec![0; BYTES], value: vec![0; BYTES] }
    }

    /// What `take` makes of the name and the value of each that is `wanted`. A file system may have none at all.
    pub fn each<T>(
        &mut self,
        of: Of<'_>,
        wanted: impl Fn(&OsStr) -> bool,
        take: impl Fn(&OsStr, &[u8]) -> T,
    ) -> Result<Vec<T>, Errno> {
        let length = match of.list(&mut self.names) {
            Err(Errno::NOTSUP) => 0,
            result => result?,
        };
        let names = self.names.get(..length).unwrap_or_default().split(|&byte| byte == 0).map(OsStr::from_bytes);
        let mut taken = Vec::new();
        for name in names.filter(|name| !name.is_empty() && wanted(name)) {
            let length = of.get(name, &mut self.value)?;
            taken.push(take(name, self.value.get(..length).unwrap_or_default()));
        }
        Ok(taken)
    }
}
