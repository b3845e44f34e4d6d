//! Paths inside the container's root, resolved so that nothing in the image can lead outside.
//!
//! Everything is found and made relative to descriptors; a path is never looked at twice.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat};
use rustix::io::Errno;

/// How many symbolic links one path may have, as in the kernel.
const MAX_LINKS: usize = 40;

/// How often a lookup is repeated that somebody's rename or mount disturbed.
const MAX_DISTURBED: usize = 32;

/// What to make at the end of a path that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// A directory to which paths are confined: `..` and absolute links stay inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confined<'a>(BorrowedFd<'a>);

impl<'a> Confined<'a> {
    /// Confines to this directory.
    pub(super) fn to(root: BorrowedFd<'a>) -> Self {
        Confined(root)
    }

    /// The directory.
    pub(super) fn root(self) -> BorrowedFd<'a> {
        self.0
    }

    /// Opens what is at a path (`O_PATH`), following links inside the root.
    pub(super) fn open(self, path: &Path) -> io::Result<OwnedFd> {
        self.lookup(path, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// As [`Confined::open`], of a directory (else `ENOTDIR`).
    pub(super) fn open_directory(self, path: &Path) -> io::Result<OwnedFd> {
        self.lookup(path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// As [`Confined::open`], but a link anywhere in the path is an error (`ELOOP`).
    pub(super) fn open_without_links(self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.lookup(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens what is at a path (`O_PATH`); if it does not exist, makes it and the directories that lead to it.
    /// Says whether it was there.
    pub(super) fn open_or_make(self, path: &Path, kind: Kind) -> io::Result<(OwnedFd, bool)> {
        match self.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok((self.make(path, kind)?, false)),
            other => Ok((other?, true)),
        }
    }

    fn lookup(self, path: &Path, flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
        for _ in 0..MAX_DISTURBED {
            match openat2(self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Walks one component after the other, with a stack of the directories passed, and makes what is missing. A link
    /// whose target does not exist gets its target made, inside the root.
    fn make(self, path: &Path, kind: Kind) -> io::Result<OwnedFd> {
        let mut passed: Vec<OwnedFd> = Vec::new();
        let mut left = names(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                passed.pop();
                continue;
            }
            let directory = passed.last().map_or(self.0, AsFd::as_fd);
            let wanted = if left.is_empty() { kind } else { Kind::Directory };
            let found = step(directory, &name, wanted)?;
            match FileType::from_raw_mode(fstat(&found)?.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = PathBuf::from(OsString::from_vec(readlinkat(&found, "", Vec::new())?.into_bytes()));
                    if target.is_absolute() {
                        passed.clear();
                    }
                    left.extend(names(&target));
                }
                FileType::Directory => passed.push(found),
                _ if left.is_empty() => return Ok(found),
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        match passed.pop() {
            Some(directory) => Ok(directory),
            None => Ok(self.0.try_clone_to_owned()?),
        }
    }
}

/// The names of a path, last first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

/// Opens a name in a directory without following it, and makes it if it is missing.
pub(super) fn step(directory: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<OwnedFd> {
    let open = || openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let made = match kind {
        Kind::Directory => mkdirat(directory, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            openat(directory, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(open()?),
        Err(errno) => Err(errno.into()),
    }
}

/// Where a descriptor leads, as seen from the caller's root. Reads the host's `/proc`, so only before it is left.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(link.as_bytes())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(dir: &Path) -> OwnedFd {
        rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// Links that lead outside are followed as if the root were `/`, and their missing targets are made inside.
    #[test]
    fn links_stay_inside() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("root");
        std::fs::create_dir_all(inner.join("a")).unwrap();
        symlink("/../../outside", inner.join("absolute")).unwrap();
        symlink("../../../outside2", inner.join("a/relative")).unwrap();
        let fd = root(&inner);
        let confined = Confined::to(fd.as_fd());
        for (path, expected) in [
            ("/absolute/x", "outside/x"),
            ("/a/relative/y/z", "outside2/y/z"),
            ("../../up", "up"),
            ("a/../../../b/./c", "b/c"),
        ] {
            let (made, existed) = confined.open_or_make(Path::new(path), Kind::Directory).unwrap();
            assert!(!existed);
            assert_eq!(path_of(made.as_fd()).unwrap(), inner.canonicalize().unwrap().join(expected));
            assert!(confined.open_or_make(Path::new(path), Kind::Directory).unwrap().1);
        }
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
    }

    /// A file is made with its directories; a file in the way of a directory is an error, and so is a loop of links.
    #[test]
    fn files_and_obstacles() {
        let dir = tempfile::tempdir().unwrap();
        let fd = root(dir.path());
        let confined = Confined::to(fd.as_fd());
        confined.open_or_make(Path::new("/etc/hosts"), Kind::File).unwrap();
        assert!(dir.path().join("etc/hosts").is_file());
        let error = confined.open_or_make(Path::new("/etc/hosts/below"), Kind::Directory).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
        symlink("loop", dir.path().join("loop")).unwrap();
        let error = confined.open_or_make(Path::new("/loop/x"), Kind::Directory).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
    }
}
