//! What a short-lived child mounts in a mount namespace of its own, for nobody else to see.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use corten_host::mount::{self, Change, Propagation};
use corten_host::process;
use rustix::fs::{Mode, OFlags};

use crate::launch::node;
use crate::protocol::{CallError, Launch};

/// Shows the layers of a container's root and images, in the place of each, with the owners that a user namespace gives them. In a mount namespace of the
/// caller's own, whose mounts below the layers and the work directory become slaves of the host's: an overlay takes such a mount by its path
/// on every kernel that takes it at all, and unattached only since 6.15.
///
/// # Errors
/// Names the layer.
pub fn map_layers(plan: &Launch, users: BorrowedFd<'_>) -> Result<(), CallError> {
    let points = mount_points().map_err(|error| failed(Path::new("/proc/self/mountinfo"), &error))?;
    // Each once, for what is mapped cannot be mapped again.
    let of_images = plan.images.iter().flat_map(|image| &image.layers);
    let layers: BTreeSet<&PathBuf> = plan.root.lower.iter().chain(of_images).collect();
    for path in layers.iter().copied().chain([&plan.root.work]) {
        let point = covering(path, &points).map_err(|error| failed(path, &error))?;
        isolate(&point, Propagation::Slave)?;
    }
    for layer in layers {
        let copy = mount::clone_path(layer, false).map_err(|error| failed(layer, &error))?;
        mount::map_ids(copy.as_fd(), false, users).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP) => {
                failed(layer, &"the image store's file system cannot be mounted with mapped ids")
            }
            _ => failed(layer, &format!("map its ids: {error}")),
        })?;
        mount::attach_path(&copy, layer).map_err(|error| failed(layer, &error))?;
    }
    Ok(())
}

/// Does some work in a mount namespace of its own, from which nothing that is mounted below `path` gets out, and returns to
/// the caller's. In a process with one thread.
///
/// # Errors
/// The work's, or that there is no way there or back.
pub fn aside<T>(path: &Path, work: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
    let step = |error: io::Error| node("make a mount namespace", error.to_string());
    let own = File::open("/proc/self/ns/mnt").map_err(step)?;
    let directory = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    process::new_namespaces(libc::CLONE_NEWNS).map_err(step)?;
    let outcome = isolate_below(path).and_then(|()| work());
    process::join_namespaces(own.as_fd(), libc::CLONE_NEWNS).map_err(step)?;
    directory.and_then(rustix::process::fchdir).map_err(|errno| step(errno.into()))?;
    outcome
}

/// Keeps what is mounted below a path to the caller's own mount namespace.
///
/// # Errors
/// Names the mount point.
pub fn isolate_below(path: &Path) -> Result<(), CallError> {
    let point = mount_points().and_then(|points| covering(path, &points)).map_err(|error| failed(path, &error))?;
    isolate(&point, Propagation::Private)
}

fn isolate(point: &Path, propagation: Propagation) -> Result<(), CallError> {
    let change = Change { propagation: Some(propagation), ..Change::default() };
    mount::change_path(point, false, change).map_err(|error| failed(point, &error))
}

/// Where something is mounted.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect())
}

/// Where the mount that `path` is on is mounted.
fn covering(path: &Path, points: &[PathBuf]) -> io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let covering = points.iter().filter(|point| path.starts_with(point));
    Ok(covering.max_by_key(|point| point.as_os_str().len()).map_or_else(|| "/".into(), PathBuf::clone))
}

/// proc(5): space, tab, newline and backslash are octal.
fn unescaped(point: &str) -> PathBuf {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(point.to_owned(), |text, (code, character)| text.replace(code, character)).into()
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> CallError {
    node("mount the root", format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescaped("/a\\040b\\134"), Path::new("/a b\\"));
    }
}
