//! The mounts that an external runtime must see, in a mount namespace that nobody else does.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_host::mount::{self, Change, Propagation};
use corten_host::process;
use rustix::mount::MountFlags;

use crate::launch::node;
use crate::pod::shm;
use crate::protocol::{CallError, OverlayRoot};

/// The most bytes that mount(2) takes as options, with the final null.
const MAX_OPTIONS: usize = 4096;

/// Moves the calling process into a mount namespace of its own, and mounts the container's root there.
///
/// The copies of the host's mounts stay in their peer groups, so that volumes propagate as they would otherwise; only
/// the one below which the root is mounted becomes private here, or the host would get the root too.
///
/// # Errors
/// The step that failed.
pub fn mount(root: &OverlayRoot, target: &Path, below: &Path) -> Result<(), CallError> {
    fs::create_dir_all(target).map_err(|error| failed(target, &error))?;
    process::new_namespaces(libc::CLONE_NEWNS).map_err(|error| failed(target, &error))?;
    let covering = covering_mount(below).map_err(|error| failed(below, &error))?;
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    mount::change_path(&covering, false, private).map_err(|error| failed(&covering, &error))?;
    mount_overlay(root, target).map_err(|error| failed(target, &error))
}

/// Mounts the pod's `/dev/shm` where the runtime can see it.
///
/// # Errors
/// The step that failed.
pub fn mount_shm(namespace: BorrowedFd<'_>, target: &Path) -> Result<(), CallError> {
    fs::create_dir_all(target).map_err(|error| failed(target, &error))?;
    let copy = shm::copy(namespace).map_err(|error| failed(target, &error))?;
    mount::attach_path(copy.as_fd(), target).map_err(|error| failed(target, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> CallError {
    node("mount the root", format!("{}: {error}", path.display()))
}

/// Mounts by mount(2), which takes layers on every kernel, in at most 4095 bytes of options: relative to the directory that all
/// layers are below, they are short.
fn mount_overlay(root: &OverlayRoot, target: &Path) -> std::io::Result<()> {
    let base = shared_parent(&root.lower);
    let layers: Vec<Vec<u8>> =
        root.lower.iter().map(|layer| escaped(layer.strip_prefix(&base).unwrap_or(layer))).collect();
    let mut options = b"index=off,lowerdir=".to_vec();
    options.extend(layers.join(&b':'));
    for (key, path) in [(",upperdir=", &root.upper), (",workdir=", &root.work)] {
        options.extend(key.bytes());
        options.extend(escaped(path));
    }
    if options.len() >= MAX_OPTIONS {
        let error = format!("{} layers need {} bytes of mount options", root.lower.len(), options.len());
        return Err(std::io::Error::other(error));
    }
    let options = CString::new(options)?;
    rustix::process::chdir(&base)?;
    let mounted = rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str());
    rustix::process::chdir("/")?;
    Ok(mounted?)
}

/// The longest directory that all paths are below.
fn shared_parent(paths: &[PathBuf]) -> PathBuf {
    let mut parents = paths.iter().map(|path| path.parent().unwrap_or(Path::new("/")));
    let mut shared = parents.next().unwrap_or(Path::new("/")).to_owned();
    for parent in parents {
        while !parent.starts_with(&shared) && shared.pop() {}
    }
    shared
}

/// Escapes what means something in overlayfs's options.
fn escaped(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.flat_map(|byte| matches!(byte, b':' | b',' | b'\\').then_some(b'\\').into_iter().chain([*byte])).collect()
}

/// Where the mount that `path` is on is mounted.
fn covering_mount(path: &Path) -> std::io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    Ok(points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
        .unwrap_or_else(|| "/".into()))
}

/// proc(5): space, tab, newline and backslash are octal.
fn unescaped(point: &str) -> PathBuf {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(point.to_owned(), |text, (code, character)| text.replace(code, character)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_overlayfs_is_escaped() {
        assert_eq!(escaped(Path::new("/a:b,c\\d")), b"/a\\:b\\,c\\\\d");
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescaped("/a\\040b\\134"), Path::new("/a b\\"));
    }

    #[test]
    fn the_shared_parent_of_layers() {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(shared_parent(&paths(&["/l/a/fs", "/l/b/fs"])), Path::new("/l"));
        assert_eq!(shared_parent(&paths(&["/l/a"])), Path::new("/l"));
        assert_eq!(shared_parent(&paths(&["/x/a", "/y/b"])), Path::new("/"));
    }
}
