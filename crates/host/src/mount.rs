//! Mounts as file descriptors: the kernel's mount API of 5.2 and `mount_setattr` of 5.12.
//!
//! A mount made here belongs to no namespace and is seen in no mount table until [`attach`] puts it somewhere. If its
//! last descriptor is closed before that, it is gone.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// Why a filesystem could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no such filesystem, or the caller may not mount.
    #[error("open filesystem {filesystem:?}: {source}")]
    Open {
        /// The filesystem's type.
        filesystem: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A parameter was refused.
    #[error("{filesystem}: parameter {parameter:?}: {source}{log}")]
    Parameter {
        /// The filesystem's type.
        filesystem: String,
        /// The parameter, with its value.
        parameter: String,
        /// The kernel's answer.
        source: io::Error,
        /// What the filesystem said besides.
        log: String,
    },
    /// The filesystem could not be made from its parameters.
    #[error("mount {filesystem}: {source}{log}")]
    Create {
        /// The filesystem's type.
        filesystem: String,
        /// The kernel's answer.
        source: io::Error,
        /// What the filesystem said besides.
        log: String,
    },
}

impl Error {
    /// The kernel's answer.
    pub fn source_error(&self) -> &io::Error {
        match self {
            Error::Open { source, .. } | Error::Parameter { source, .. } | Error::Create { source, .. } => source,
        }
    }
}

/// A filesystem being configured (fsopen(2), fsconfig(2)).
#[derive(Debug)]
pub struct Filesystem {
    name: String,
    context: OwnedFd,
}

impl Filesystem {
    /// Begins with a filesystem type such as `tmpfs`.
    ///
    /// # Errors
    /// If the kernel does not have it or the caller may not mount it.
    pub fn open(name: &str) -> Result<Self, Error> {
        let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| Error::Open { filesystem: name.to_owned(), source: errno.into() })?;
        Ok(Filesystem { name: name.to_owned(), context })
    }

    /// Sets `key=value`.
    ///
    /// # Errors
    /// If the filesystem refuses it.
    pub fn set(&self, key: &str, value: impl AsRef<Path>) -> Result<(), Error> {
        let value = value.as_ref();
        fsconfig_set_string(&self.context, key, value.as_os_str().as_bytes())
            .map_err(|errno| self.refused(format!("{key}={}", value.display()), errno.into()))
    }

    /// Sets `key` without a value.
    ///
    /// # Errors
    /// If the filesystem refuses it.
    pub fn flag(&self, key: &str) -> Result<(), Error> {
        fsconfig_set_flag(&self.context, key).map_err(|errno| self.refused(key.to_owned(), errno.into()))
    }

    /// Has all files of it carry this SELinux label, if there is one.
    ///
    /// # Errors
    /// If the kernel has no SELinux, or its policy no such label.
    pub fn label(&self, label: Option<&str>) -> Result<(), Error> {
        label.map_or(Ok(()), |label| self.set("context", label))
    }

    /// Sets `key` to an open file.
    ///
    /// # Errors
    /// If the filesystem refuses it.
    pub fn set_fd(&self, key: &str, fd: BorrowedFd<'_>) -> Result<(), Error> {
        fsconfig_set_fd(&self.context, key, fd).map_err(|errno| self.refused(format!("{key}=<fd>"), errno.into()))
    }

    /// Makes the filesystem and a detached mount of it with these `MOUNT_ATTR_*` bits.
    ///
    /// # Errors
    /// If the filesystem cannot be made; its own explanation is in the error.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd, Error> {
        let failed = |errno: rustix::io::Errno| Error::Create {
            filesystem: self.name.clone(),
            source: errno.into(),
            log: self.log(),
        };
        fsconfig_create(&self.context).map_err(failed)?;
        let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
        fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
    }

    fn refused(&self, parameter: String, source: io::Error) -> Error {
        Error::Parameter { filesystem: self.name.clone(), parameter, source, log: self.log() }
    }

    /// The messages that the filesystem left in its context, each after "; ".
    fn log(&self) -> String {
        let mut text = String::new();
        let mut line = [0_u8; 512];
        while let Ok(length @ 1..) = rustix::io::read(&self.context, &mut line[..]) {
            // Each begins with its level and a space: "e overlay: ...".
            let message = line.get(2..length).unwrap_or_default();
            text.push_str("; ");
            text.push_str(String::from_utf8_lossy(message).trim_end());
        }
        text
    }
}

/// The `MOUNT_ATTR_*` bits of mount_setattr(2).
pub mod attribute {
    use rustix::mount::MountAttrFlags as Flags;

    /// No writes.
    pub const RDONLY: u64 = Flags::MOUNT_ATTR_RDONLY.bits() as u64;
    /// Set-user-id bits are ignored.
    pub const NOSUID: u64 = Flags::MOUNT_ATTR_NOSUID.bits() as u64;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = Flags::MOUNT_ATTR_NODEV.bits() as u64;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = Flags::MOUNT_ATTR_NOEXEC.bits() as u64;
    /// The bits that say how access times are updated; none of them is `relatime`.
    pub const ATIME: u64 = Flags::MOUNT_ATTR__ATIME.bits() as u64;
    /// Access times are not updated.
    pub const NOATIME: u64 = Flags::MOUNT_ATTR_NOATIME.bits() as u64;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = Flags::MOUNT_ATTR_STRICTATIME.bits() as u64;
    /// Access times of directories are not updated.
    pub const NODIRATIME: u64 = Flags::MOUNT_ATTR_NODIRATIME.bits() as u64;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = Flags::MOUNT_ATTR_NOSYMFOLLOW.bits() as u64;
}

/// How a mount's propagation is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Mounts below it are told to its peers and theirs to it.
    Shared,
    /// It receives and does not send.
    Slave,
    /// Neither.
    Private,
    /// Neither, and it cannot be the source of a bind mount.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// Changes to a mount's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear; `MOUNT_ATTR__ATIME` whole if `set` names another way to update access times.
    pub clear: u64,
    /// Another propagation.
    pub propagation: Option<Propagation>,
}

impl Change {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Change::default()
    }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes a mount's attributes (mount_setattr(2)), with everything mounted below it if `recursive`.
///
/// # Errors
/// The kernel's answer: `EINVAL` if `mount` is not the root of a mount, `ENOSYS` before 5.12.
pub fn change(mount: BorrowedFd<'_>, recursive: bool, change: Change) -> io::Result<()> {
    change_at(mount, c"", recursive, change)
}

/// As [`change`], of the mount at an absolute path.
///
/// # Errors
/// The kernel's answer.
pub fn change_path(path: &Path, recursive: bool, change: Change) -> io::Result<()> {
    change_at(rustix::fs::CWD, &CString::new(path.as_os_str().as_bytes())?, recursive, change)
}

/// Has a detached mount show its files' owners as the user namespace `users` maps them, and store those of new files the
/// other way round; with everything mounted below it if `recursive`. Nothing is changed on failure.
///
/// # Errors
/// The kernel's answer: `EINVAL` if a file system cannot do that, or the mount is attached or mapped already.
pub fn map_ids(mount: BorrowedFd<'_>, recursive: bool, users: BorrowedFd<'_>) -> io::Result<()> {
    let users = users.as_raw_fd() as u64;
    set_attributes(mount, c"", recursive, MountAttr { set: IDMAP, clear: 0, propagation: 0, userns_fd: users })
}

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x0010_0000;

fn change_at(dir: BorrowedFd<'_>, path: &std::ffi::CStr, recursive: bool, change: Change) -> io::Result<()> {
    let propagation = change.propagation.map_or(0, Propagation::bits);
    set_attributes(dir, path, recursive, MountAttr { set: change.set, clear: change.clear, propagation, userns_fd: 0 })
}

fn set_attributes(dir: BorrowedFd<'_>, path: &std::ffi::CStr, recursive: bool, attr: MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and attr a struct mount_attr (version 0) of the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A detached copy of what is mounted at a path (open_tree(2)), with everything mounted below it if `recursive`.
/// The copy is in the same peer groups.
///
/// # Errors
/// The kernel's answer.
pub fn clone_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(rustix::fs::CWD, path, clone_flags(recursive))?)
}

/// As [`clone_path`], of what an open file or directory shows. It must be in the caller's mount namespace.
///
/// # Errors
/// The kernel's answer.
pub fn clone_fd(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(fd, c"", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches a detached mount over what `target` is open on, in the caller's mount namespace.
///
/// # Errors
/// The kernel's answer: `EINVAL` for a file over a directory, say.
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), c"", target.as_fd(), c"", flags)?)
}

/// As [`attach`], over what is at a path.
///
/// # Errors
/// The kernel's answer.
pub fn attach_path(mount: impl AsFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount.as_fd(), c"", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A program as it is seen through a read-only mount in no mount table: what is executed by this descriptor
/// (`/proc/self/fd/N`) has a `/proc/<pid>/exe` that nobody can open for writing, whatever its privileges.
///
/// # Errors
/// If the file cannot be opened, or the caller may not mount.
pub fn read_only_program(path: &Path) -> io::Result<OwnedFd> {
    let tree = clone_path(path, false)?;
    let locked = Change { set: attribute::RDONLY | attribute::NOSUID, ..Change::default() };
    change(tree.as_fd(), false, Change { propagation: Some(Propagation::Private), ..locked })?;
    Ok(tree)
}

/// The null device, open for reading and writing through a read-only mount in no mount table: a program that gets it can
/// use it, but not change the mode, the owner or the times of the node's `/dev/null`, as root could otherwise.
///
/// # Errors
/// If it cannot be opened, or the caller may not mount.
pub fn null_device() -> io::Result<OwnedFd> {
    let tree = read_only_program(Path::new("/dev/null"))?;
    let link = format!("/proc/self/fd/{}", tree.as_raw_fd());
    Ok(rustix::fs::open(link, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use rustix::io::Errno;

    use super::*;

    /// A program opened by [`read_only_program`] runs, and cannot be opened for writing through its descriptor.
    #[test]
    fn read_only_programs_run_and_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::copy("/bin/true", &path).unwrap();
        let fd = read_only_program(&path).unwrap();
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(std::process::Command::new(&link).status().unwrap().success());
        let error = std::fs::OpenOptions::new().write(true).open(&link).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }

    /// [`null_device`] reads and writes as any, and is left as it is by root too.
    #[test]
    fn the_null_device_cannot_be_changed() {
        let null = null_device().unwrap();
        assert_eq!(rustix::io::write(&null, b"x"), Ok(1));
        assert_eq!(rustix::io::read(&null, &mut [0; 1][..]), Ok(0));
        let stat = rustix::fs::fstat(&null).unwrap();
        assert_eq!((rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)), (1, 3));
        let same = Mode::from_raw_mode(stat.st_mode);
        assert_eq!(rustix::fs::fchmod(&null, same), Err(Errno::ROFS));
        assert_eq!(rustix::fs::fchown(&null, None, None), Err(Errno::ROFS));
    }

    /// A parameter that a filesystem does not know is an error that names it.
    #[test]
    fn a_refused_parameter_is_named() {
        let error = Filesystem::open("tmpfs").unwrap().set("colour", "red").unwrap_err().to_string();
        assert!(error.contains("colour=red"), "{error}");
    }
}
