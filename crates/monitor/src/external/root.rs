//! The mounts that an external runtime must see, in a mount namespace that nobody else does.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use corten_host::mount::{self, Change, Propagation};
use corten_host::process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::launch::node;
use crate::overlay;
use crate::pod::shm;
use crate::protocol::{CallError, OverlayRoot};

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
    mount_overlay(root, target)
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

/// Mounts by mount(2), which takes layers on every kernel.
fn mount_overlay(root: &OverlayRoot, target: &Path) -> Result<(), CallError> {
    let at = |error: Errno| failed(target, &error.into());
    let (options, base) = overlay::options(root)?;
    rustix::process::chdir(&base).map_err(at)?;
    let mounted = rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str());
    rustix::process::chdir("/").and(mounted).map_err(at)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = rustix::fs::open(target, flags, Mode::empty()).map_err(at)?;
    overlay::make_directories(root, mounted.as_fd())
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
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescaped("/a\\040b\\134"), Path::new("/a b\\"));
    }
}
