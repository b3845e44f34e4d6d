//! What is in an image as overlayfs would show it, without a mount: whiteouts, opaque directories and symbolic links
//! over all layers. Paths are looked up component by component beneath each layer's directory, so nothing leaves them.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{Error, beneath::DIRECTORY};

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// As the kernel's own limit for one look-up.
const MAX_LINKS: usize = 40;

/// What is at a path of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
}

/// What a name is in the merged view.
enum Found {
    Nothing,
    /// The same directory in one or more layers, topmost first.
    Directory(Vec<OwnedFd>),
    Link(OsString),
    /// In this layer's directory.
    File(OwnedFd),
}

/// Reads a file; nothing if it does not exist or is not a file.
pub(crate) fn read_file(layers: &[PathBuf], path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let fail = |errno: Errno| Error::io("read from the image", Path::new(path))(errno);
    let Found::File(file) = find(layers, Path::new(path)).map_err(fail)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let mut content = File::from(file).take(limit.saturating_add(1));
    content.read_to_end(&mut bytes).map_err(Error::io("read from the image", Path::new(path)))?;
    if bytes.len() as u64 > limit {
        let why = std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("more than {limit} bytes"));
        return Err(Error::io("read from the image", Path::new(path))(why));
    }
    Ok(Some(bytes))
}

/// What is at a path; devices and the like count as nothing, and so does a link that leads in circles.
pub(crate) fn kind(layers: &[PathBuf], path: &Path) -> Result<Option<Kind>, Error> {
    match find(layers, path) {
        Ok(Found::Directory(_)) => Ok(Some(Kind::Directory)),
        Ok(Found::File(_)) => Ok(Some(Kind::File)),
        Ok(Found::Nothing | Found::Link(_)) | Err(Errno::LOOP) => Ok(None),
        Err(errno) => Err(Error::io("look into the image at", path)(errno)),
    }
}

/// Walks the merged tree. The stack holds the directories on the way, for `..`.
fn find(layers: &[PathBuf], path: &Path) -> Result<Found, Errno> {
    let open = |layer: &PathBuf| rustix::fs::open(layer, DIRECTORY, Mode::empty());
    let mut stack = vec![layers.iter().map(open).collect::<Result<Vec<_>, _>>()?];
    let mut rest: VecDeque<OsString> = components(path).collect();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            stack.truncate(stack.len().saturating_sub(1).max(1));
            continue;
        }
        let Some(directories) = stack.last() else { return Ok(Found::Nothing) };
        match look_up(directories, &name)? {
            Found::File(file) if rest.is_empty() => return Ok(Found::File(file)),
            Found::Nothing | Found::File(_) => return Ok(Found::Nothing),
            Found::Directory(below) => stack.push(below),
            Found::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = PathBuf::from(target);
                if target.is_absolute() {
                    stack.truncate(1);
                }
                components(&target).rev().for_each(|component| rest.push_front(component));
            }
        }
    }
    Ok(stack.pop().map_or(Found::Nothing, Found::Directory))
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

/// What the topmost layer that knows a name says, merged with those below if all say directory.
fn look_up(directories: &[OwnedFd], name: &OsStr) -> Result<Found, Errno> {
    let mut merged = Vec::new();
    for directory in directories {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            result => result?,
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type.is_dir() {
            let below = rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())?;
            let opaque = is_opaque(&below);
            merged.push(below);
            if opaque {
                break;
            }
            continue;
        }
        if !merged.is_empty() {
            // A directory over something else hides it.
            break;
        }
        return other(directory, name, file_type);
    }
    Ok(if merged.is_empty() { Found::Nothing } else { Found::Directory(merged) })
}

fn other(directory: &OwnedFd, name: &OsStr, file_type: FileType) -> Result<Found, Errno> {
    match file_type {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
            Ok(Found::Link(OsString::from_vec(target.into_bytes())))
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(Found::File(rustix::fs::openat(directory, name, flags, Mode::empty())?))
        }
        // Whiteouts, and what has no content to read.
        _ => Ok(Found::Nothing),
    }
}

/// Whether a directory hides what the layers below have in it.
pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 8];
    rustix::fs::fgetxattr(directory, OPAQUE_XATTR, value.as_mut_slice())
        .is_ok_and(|length| value.get(..length) == Some(b"y"))
}
