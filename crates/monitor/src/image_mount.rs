//! Image volumes: an image, or a directory of it, as a mount that no mount table but the container's ever shows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_host::mount::{self, Change, Propagation, attribute};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::launcher::open_directory;
use crate::overlay;
use crate::protocol::{CallError, ImageMount};

/// Makes the mount, read-only and attached to nothing. It is mounted at the directory `at` for a moment, in a mount
/// namespace of the caller's own: that takes layers on every kernel, and a part of a mount that is nowhere cannot be
/// copied before Linux 6.15. Its files may have a SELinux label.
///
/// # Errors
/// [`CallError::Container`] if the image has no such directory, else [`CallError::Node`].
pub fn make(image: &ImageMount, at: &Path, label: Option<&str>) -> Result<OwnedFd, CallError> {
    let (options, base) = overlay::read_only_options(&image.layers, label)?;
    let mounted = rustix::process::chdir(&base)
        .and_then(|()| rustix::mount::mount("overlay", at, "overlay", MountFlags::RDONLY, options.as_c_str()));
    rustix::process::chdir("/").and(mounted).map_err(failed)?;
    let copy = copy(image, at);
    rustix::mount::unmount(at, UnmountFlags::DETACH).map_err(failed)?;
    copy
}

/// Copies what shall be seen of an image that is mounted.
fn copy(image: &ImageMount, at: &Path) -> Result<OwnedFd, CallError> {
    let root = rustix::fs::openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(failed)?;
    let shown = match &image.sub_path {
        None => root,
        Some(path) => open_directory(root.as_fd(), path).map_err(|error| CallError::Container {
            step: "mount an image".to_owned(),
            error: format!("sub path {:?}: {error}", path.display().to_string()),
        })?,
    };
    let locked = Change { set: attribute::RDONLY, propagation: Some(Propagation::Private), ..Change::default() };
    let copy = mount::clone_fd(shown.as_fd(), false);
    let copy = copy.and_then(|copy| mount::change(copy.as_fd(), false, locked).map(|()| copy));
    copy.map_err(|error: io::Error| node(&error))
}

fn failed(errno: Errno) -> CallError {
    node(&errno)
}

fn node(error: &dyn std::fmt::Display) -> CallError {
    CallError::Node { step: "mount an image".to_owned(), error: error.to_string() }
}
