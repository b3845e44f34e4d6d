//! Device nodes and links in the container's `/dev`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_host::mount;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};
use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, makedev, mknodat, symlinkat};
use rustix::io::Errno;

use super::errors::{Blame, container, node, refused};
use super::nodes::Nodes;
use super::resolve::{self, Confined, Kind};
use crate::protocol::CallError;

/// The devices that every container has (OCI runtime specification, "Default Devices"), all mode 0666.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links that every container has ("Dev symbolic links").
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// The kernel's memory, whose link is there as with runc where it is. A container that may not see it has a mask over it.
const CORE: (&str, &str) = ("/proc/kcore", "core");

/// Whether the container has a `/dev` of its own, to be filled. A volume over it is left as it is.
fn is_ours(mounts: &[Mount]) -> bool {
    let is_bind = |mount: &Mount| {
        mount.typ().as_deref() == Some("bind")
            || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind")
    };
    !mounts.iter().any(|mount| mount.destination().components().eq(Path::new("/dev").components()) && is_bind(mount))
}

/// The default devices and those of the specification, by their paths; none if `/dev` is not the container's own.
pub(super) fn wanted(mounts: &[Mount], devices: &[LinuxDevice]) -> Result<Vec<(PathBuf, Node)>, CallError> {
    if !is_ours(mounts) {
        return Ok(Vec::new());
    }
    // The container's terminals are its own: `/dev/ptmx` is a link to its devpts, whatever the node has there.
    let asked = devices.iter().filter(|device| device.path() != Path::new("/dev/ptmx"));
    let asked = asked.map(|device| Ok((device.path().clone(), Node::of(device)?)));
    let asked = asked.collect::<Result<Vec<_>, CallError>>()?;
    let default = DEFAULT.iter().filter(|(path, ..)| !asked.iter().any(|(other, _)| other == Path::new(path)));
    let default = default.map(|(path, major, minor)| {
        let device = makedev(*major, *minor);
        (path.into(), Node { kind: FileType::CharacterDevice, device, mode: 0o666, owner: (0, 0) })
    });
    Ok(default.chain(asked.iter().map(|(path, node)| (path.clone(), *node))).collect())
}

/// Makes the default devices, those of the specification, and the links. Devices that are `made` already are mounted.
pub(super) fn populate(
    root: Confined<'_>,
    mounts: &[Mount],
    devices: &[LinuxDevice],
    made: &Nodes,
) -> Result<(), CallError> {
    if !is_ours(mounts) {
        return Ok(());
    }
    let (dev, _) = root.open_or_make(Path::new("/dev"), Kind::Directory).container(|| "make /dev".into())?;
    for (path, node) in wanted(mounts, devices)? {
        let step = || format!("make device {}", path.display());
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(refused(format!("device {}: not a path of a file", path.display())));
        };
        let (directory, _) = root.open_or_make(directory, Kind::Directory).container(step)?;
        match made.get(&path) {
            Some(copy) => place(copy, &directory, name).container(step)?,
            None => node.make(&directory, name, &path).container(step)?,
        }
    }
    for (target, name) in LINKS.into_iter().chain(Path::new(CORE.0).exists().then_some(CORE)) {
        link(&dev, target, name).node(|| format!("make /dev/{name}"))?;
    }
    Ok(())
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> io::Result<()> {
    match symlinkat(target, dev, name) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Mounts a node over a file, which is made if need be.
fn place(copy: &OwnedFd, directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let (target, _) = Confined::to(directory.as_fd()).open_or_make(Path::new(name), Kind::File)?;
    mount::attach(copy, &target)
}

/// A device node to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) kind: FileType,
    pub(super) device: Dev,
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: (u32, u32),
}

impl Node {
    /// That of a device of the specification.
    fn of(device: &LinuxDevice) -> Result<Self, CallError> {
        let path = device.path();
        let step = || format!("make device {}", path.display());
        let kind = match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
            LinuxDeviceType::P => FileType::Fifo,
            LinuxDeviceType::A => {
                return Err(refused(format!("device {}: type a is for cgroup rules", path.display())));
            }
        };
        super::identity::check_ids(&step(), [device.uid(), device.gid()].into_iter().flatten())?;
        let number = |value: i64| u32::try_from(value).container(step);
        let fifo = kind == FileType::Fifo;
        let number = if fifo { 0 } else { makedev(number(device.major())?, number(device.minor())?) };
        let (mode, owner) =
            (device.file_mode().unwrap_or(0o666), (device.uid().unwrap_or(0), device.gid().unwrap_or(0)));
        Ok(Node { kind, device: number, mode, owner })
    }

    /// Makes it in a directory. Where nodes cannot be made, the host's own is mounted there instead.
    fn make(&self, directory: &OwnedFd, name: &OsStr, host: &Path) -> io::Result<()> {
        match mknodat(directory, name, self.kind, Mode::from_raw_mode(self.mode & 0o7777), self.device) {
            Ok(()) if self.owner == (0, 0) => return Ok(()),
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
                return Ok(chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?);
            }
            // The image's own.
            Err(Errno::EXIST) => return Ok(()),
            Err(Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        place(&mount::clone_path(host, false)?, directory, name)
    }
}

/// The null device: the container's own if it is one, else the host's.
pub(super) fn null(root: Confined<'_>) -> Result<OwnedFd, CallError> {
    let is_null = |fd: &OwnedFd| fstat(fd).is_ok_and(|stat| is_null(&stat));
    match root.open_without_links(Path::new("/dev/null"), OFlags::PATH) {
        Ok(fd) if is_null(&fd) => Ok(fd),
        _ => {
            let path = PathBuf::from("/dev/null");
            let fd = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .node(|| "open /dev/null".into())?;
            if is_null(&fd) { Ok(fd) } else { Err(node("open /dev/null", "it is not the null device")) }
        }
    }
}

/// Whether a file is the null device.
pub(crate) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
}

/// Mounts the terminal over `/dev/console`. No link is followed: in a `/dev` that is a volume it could lead to a file of
/// procfs (CVE-2025-52565).
pub(super) fn console(root: Confined<'_>, terminal: &OwnedFd) -> Result<(), CallError> {
    let step = || "mount /dev/console".to_owned();
    let dev = root.open_without_links(Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY).container(step)?;
    let target = resolve::step(dev.as_fd(), OsStr::new("console"), Kind::File).container(step)?;
    match FileType::from_raw_mode(fstat(&target).node(step)?.st_mode) {
        FileType::Directory => return Err(container(step(), "it is a directory")),
        FileType::Symlink => return Err(container(step(), "it is a symbolic link")),
        _ => {}
    }
    let copy = mount::clone_fd(terminal.as_fd(), false).node(step)?;
    mount::attach(&copy, &target).node(step)
}
