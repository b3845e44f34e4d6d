//! The pod's `/dev/shm`: the root of a mount namespace of its own, which a descriptor of the monitor's keeps alive.
//!
//! A container's launcher enters that namespace for a moment, clones the mount, and puts it into the container. (A
//! detached mount held by a descriptor cannot be cloned a second time before Linux 6.15; this works from 5.15.) It appears
//! in nobody's mount table but its own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::elsewhere;

/// Makes it, `size` bytes large at most, with an owner (user and group) and maybe a SELinux label, and returns its mount
/// namespace.
///
/// # Errors
/// The step and why.
pub fn make(size: u64, (uid, gid): (u32, u32), label: Option<&str>) -> Result<OwnedFd, String> {
    let context = label.map(|label| format!(",context=\"{label}\"")).unwrap_or_default();
    let options = format!("mode=1777,uid={uid},gid={gid},size={size}{context}\0");
    let options = std::ffi::CString::from_vec_with_nul(options.into_bytes()).map_err(|error| error.to_string())?;
    let made = elsewhere(&[], || {
        let namespace = enter(MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, &options)
            .map_err(|(step, error)| format!("{step}: {error}"))?;
        Ok(Some(namespace))
    })?;
    made.ok_or_else(|| "no mount namespace came back".to_owned())
}

/// A detached copy of the mount that is the root of `namespace`. In a process with one thread, which is where it was
/// afterwards.
///
/// # Errors
/// What setns(2) and open_tree(2) say.
pub fn copy(namespace: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let own = File::open("/proc/self/ns/mnt")?;
    let directory = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
    let copy = rustix::mount::open_tree(CWD, c"/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    rustix::process::fchdir(&directory)?;
    Ok(copy?)
}

/// Moves the calling process into a new mount namespace that holds nothing but an empty tmpfs, and returns that
/// namespace.
pub(super) fn enter(flags: MountFlags, options: &std::ffi::CStr) -> Result<OwnedFd, (&'static str, rustix::io::Errno)> {
    let at = |step: &'static str| move |error| (step, error);
    // SAFETY: CLONE_FILES is not asked for; the process has one thread, so nobody else relies on its CLONE_FS part.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(at("unshare"))?;
    let namespace = File::open("/proc/self/ns/mnt").map_err(|error| {
        ("opening the namespace", rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
    })?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(at("making mounts private"))?;
    // Any directory that every machine has will do: the tmpfs becomes the root, and everything else goes.
    mount(c"tmpfs", c"/proc", c"tmpfs", flags, Some(options)).map_err(at("mounting tmpfs"))?;
    rustix::process::chdir(c"/proc").map_err(at("chdir"))?;
    rustix::process::pivot_root(c".", c".").map_err(at("pivot_root"))?;
    unmount(c".", UnmountFlags::DETACH).map_err(at("detaching the old root"))?;
    rustix::process::chdir(c"/").map_err(at("entering the new root"))?;
    Ok(namespace.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::fork;

    /// Needs root.
    #[test]
    fn its_root_is_an_empty_tmpfs_and_the_machine_does_not_see_it() {
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let shm = make(1024 * 1024, (0, 0), None).unwrap();
        assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        fork::run(&[shm.as_fd()], || {
            move_into_link_name_space(shm.as_fd(), Some(LinkNameSpaceType::Mount))
                .map_err(|e| format!("setns: {e}"))?;
            let entries = std::fs::read_dir("/").map_err(|e| e.to_string())?.count();
            let mode = std::fs::metadata("/").map_err(|e| e.to_string())?.permissions().mode();
            let filled = std::fs::write("/x", vec![1; 2 * 1024 * 1024]).map_err(|e| e.raw_os_error());
            if (entries, mode & 0o7777, filled) != (0, 0o1777, Err(Some(libc::ENOSPC))) {
                return Err(format!("{entries} entries, mode {mode:o}, {filled:?}"));
            }
            rustix::mount::open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE)
                .map(|tree| vec![tree])
                .map_err(|e| format!("open_tree: {e}"))
        })
        .unwrap();
    }
}
