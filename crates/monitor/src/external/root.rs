//! The mounts that an external runtime must see, in a mount namespace that nobody else does.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use corten_host::mount;
use corten_host::process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::launch::node;
use crate::pod::shm;
use crate::protocol::{CallError, ImageMount, Launch, OverlayRoot};
use crate::{alone, image_mount, overlay};

/// Moves the calling process into a mount namespace of its own, and mounts the container's root there.
///
/// The copies of the host's mounts stay in their peer groups, so that volumes propagate as they would otherwise; only
/// the one below which the root is mounted becomes private here, or the host would get the root too. With a user
/// namespace the root's files have the owners that it gives them.
///
/// # Errors
/// The step that failed.
pub fn mount(plan: &Launch, target: &Path, below: &Path, users: Option<BorrowedFd<'_>>) -> Result<(), CallError> {
    fs::create_dir_all(target).map_err(|error| failed(target, &error))?;
    process::new_namespaces(libc::CLONE_NEWNS).map_err(|error| failed(target, &error))?;
    alone::isolate_below(below)?;
    if let Some(users) = users {
        alone::map_layers(plan, users)?;
    }
    mount_overlay(&plan.root, target, plan.file_label())
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

/// Mounts an image, whose files may have a SELinux label, where the runtime can see it.
///
/// # Errors
/// The step that failed.
pub fn mount_image(image: &ImageMount, target: &Path, label: Option<&str>) -> Result<(), CallError> {
    fs::create_dir_all(target).map_err(|error| failed(target, &error))?;
    let made = image_mount::make(image, target, label)?;
    mount::attach_path(made.as_fd(), target).map_err(|error| failed(target, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> CallError {
    node("mount the root", format!("{}: {error}", path.display()))
}

/// Mounts by mount(2), which takes layers on every kernel.
fn mount_overlay(root: &OverlayRoot, target: &Path, label: Option<&str>) -> Result<(), CallError> {
    let at = |error: Errno| failed(target, &error.into());
    let (options, base) = overlay::options(root, label)?;
    rustix::process::chdir(&base).map_err(at)?;
    let mounted = rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str());
    rustix::process::chdir("/").and(mounted).map_err(at)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = rustix::fs::open(target, flags, Mode::empty()).map_err(at)?;
    overlay::make_directories(root, mounted.as_fd())
}
