//! The mounts of the specification, in its order.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use corten_host::mount::{self, Change, Filesystem, attribute};
use oci_spec::runtime::Mount;
use rustix::fs::{FileType, OFlags, fstat};

use super::binds::{Binds, step};
use super::cgroups::CgroupMounts;
use super::errors::{Blame, container, node};
use super::options::{Options, Parameter};
use super::resolve::{Confined, Kind, path_of};
use crate::protocol::CallError;

/// The files of procfs that may be covered: they tell of the machine's size, and nothing relies on them for security.
const COVERABLE_IN_PROC: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "uptime",
    "net/dev",
    "sys/crypto/fips_enabled",
];

/// File systems that SELinux takes a label for: the others' files have the kernel's own.
const LABELLED: [&str; 2] = ["tmpfs", "devpts"];

/// Where mounts come from and go to.
pub(super) struct Mounter<'a> {
    /// The container's root.
    pub(super) root: Confined<'a>,
    /// What bind mounts show.
    pub(super) binds: Binds,
    /// How a mount of type `cgroup` is made.
    pub(super) cgroups: &'a CgroupMounts,
    /// The SELinux label of the files of what can have one.
    pub(super) label: Option<&'a str>,
}

impl Mounter<'_> {
    /// Makes one mount, by its place in the specification.
    pub(super) fn mount(&self, index: usize, mount: &Mount) -> Result<(), CallError> {
        let options = Options::parse(mount.options().as_deref().unwrap_or_default())?;
        let kind = mount.typ().as_deref().unwrap_or("bind");
        match kind {
            "cgroup" | "cgroup2" if options.bind.is_none() => self.mount_cgroup(mount, &options),
            _ if kind == "bind" || options.bind.is_some() => self.bind(index, mount, &options),
            _ => self.filesystem(kind, mount, &options),
        }
    }

    /// A bind mount. The copy of the source's mounts is taken here and not earlier, if it can be, so that it has what
    /// the host mounted in the meantime.
    fn bind(&self, index: usize, mount: &Mount, options: &Options) -> Result<(), CallError> {
        let tree = self.binds.take(index, mount, options)?;
        let is_directory = is_directory(&tree).container(|| step(mount))?;
        let kind = if is_directory { Kind::Directory } else { Kind::File };
        let (target, _) = self.target(mount, kind)?;
        let target_is_directory = self::is_directory(&target).container(|| step(mount))?;
        match (is_directory, target_is_directory) {
            (true, false) => Err(container(step(mount), "the source is a directory, the destination is a file")),
            (false, true) => Err(container(step(mount), "the source is a file, the destination is a directory")),
            _ => mount::attach(&tree, &target).node(|| step(mount)),
        }
    }

    /// A filesystem of its own.
    fn filesystem(&self, kind: &str, mount: &Mount, options: &Options) -> Result<(), CallError> {
        let path = mount.destination();
        let (target, existed) = if matches!(kind, "proc" | "sysfs") || path.starts_with("/dev") {
            // A link here would let an image choose which procfs its confinement is applied to, or have its devices made
            // in a volume, where others can exchange them.
            self.target(mount, Kind::Directory)?;
            let target = self.root.open_without_links(path, OFlags::PATH | OFlags::DIRECTORY);
            (target.container(|| format!("{}: it must be an ordinary directory", step(mount)))?, true)
        } else {
            self.target(mount, Kind::Directory)?
        };
        let made = self.make(kind, mount, options, existed.then_some(&target)).node(|| step(mount))?;
        if let Some((propagation, recursive)) = options.propagation {
            let change = Change { propagation: Some(propagation), ..Change::default() };
            mount::change(made.as_fd(), recursive, change).node(|| step(mount))?;
        }
        mount::attach(&made, &target).node(|| step(mount))
    }

    fn make(
        &self,
        kind: &str,
        mount: &Mount,
        options: &Options,
        covers: Option<&OwnedFd>,
    ) -> Result<OwnedFd, mount::Error> {
        let filesystem = Filesystem::open(kind)?;
        filesystem.set("source", mount.source().as_deref().unwrap_or(Path::new(kind)))?;
        for parameter in &options.parameters {
            match parameter {
                Parameter::Flag(key) => filesystem.flag(key)?,
                Parameter::Value(key, value) => filesystem.set(key, value)?,
            }
        }
        if LABELLED.contains(&kind) {
            filesystem.label(self.label)?;
        }
        // A tmpfs that does not say has the mode of the directory that it covers.
        if let Some(mode) =
            covers.filter(|_| kind == "tmpfs" && !options.has_parameter("mode")).and_then(|fd| fstat(fd).ok())
        {
            filesystem.set("mode", format!("{:o}", mode.st_mode & 0o7777))?;
        }
        filesystem.mount(options.change.set | options.recursive.set)
    }

    fn mount_cgroup(&self, mount: &Mount, options: &Options) -> Result<(), CallError> {
        let (target, _) = self.target(mount, Kind::Directory)?;
        self.cgroups.mount(target, options.change.set, &step(mount))
    }

    /// What is at the destination, made if need be, if it may be covered.
    fn target(&self, mount: &Mount, kind: Kind) -> Result<(OwnedFd, bool), CallError> {
        let (target, existed) = self.root.open_or_make(mount.destination(), kind).container(|| step(mount))?;
        let path = path_of(target.as_fd()).node(|| step(mount))?;
        check_target(&path, mount)?;
        Ok((target, existed))
    }
}

/// Whether the place a destination resolved to may be covered. Covering `/` would hide what was mounted before, and
/// covering procfs would fool whoever relies on it: the masks, and programs that confine themselves through it.
fn check_target(path: &Path, mount: &Mount) -> Result<(), CallError> {
    if path == Path::new("/") {
        return Err(container(step(mount), "the root cannot be mounted over"));
    }
    let Ok(below) = path.strip_prefix("/proc") else { return Ok(()) };
    let is_proc = mount.typ().as_deref() == Some("proc");
    let coverable = COVERABLE_IN_PROC.iter().any(|file| below == Path::new(file));
    let is_host_proc = below == Path::new("") && mount.source().as_deref() == Some(Path::new("/proc"));
    if (is_proc && below == Path::new("")) || coverable || is_host_proc {
        return Ok(());
    }
    Err(container(step(mount), format!("{} is inside /proc and cannot be mounted over", path.display())))
}

fn is_directory(fd: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// Covers what programs shall not read: files by the container's `/dev/null`, directories by an empty tmpfs.
pub(super) fn mask(root: Confined<'_>, paths: &[String]) -> Result<(), CallError> {
    let mut empty: Option<OwnedFd> = None;
    let null = if paths.is_empty() { None } else { Some(super::devices::null(root)?) };
    for path in paths {
        let step = || format!("mask {path}");
        let Some(target) = existing(root, path).node(step)? else { continue };
        let cover = match (&empty, is_directory(&target).node(step)?) {
            (None, true) => empty_directory().node(step)?,
            (Some(attached), true) => mount::clone_fd(attached.as_fd(), false).node(step)?,
            (_, false) => read_only_copy(null.as_ref().ok_or_else(|| node(step(), "no /dev/null"))?).node(step)?,
        };
        mount::attach(&cover, &target).node(step)?;
        if empty.is_none() && is_directory(&cover).node(step)? {
            empty = Some(cover);
        }
    }
    Ok(())
}

fn empty_directory() -> Result<OwnedFd, mount::Error> {
    let filesystem = Filesystem::open("tmpfs")?;
    filesystem.set("source", "tmpfs")?;
    filesystem.set("nr_inodes", "1")?;
    filesystem.set("mode", "555")?;
    filesystem.mount(attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC)
}

/// Read-only, or who may change modes could change those of the node that the copy shows.
fn read_only_copy(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = mount::clone_fd(fd.as_fd(), false)?;
    mount::change(copy.as_fd(), false, Change { set: attribute::RDONLY, ..Change::default() })?;
    Ok(copy)
}

/// Makes paths read-only by mounting them over themselves.
pub(super) fn protect(root: Confined<'_>, paths: &[String]) -> Result<(), CallError> {
    for path in paths {
        let step = || format!("make {path} read-only");
        let Some(target) = existing(root, path).node(step)? else { continue };
        let copy = mount::clone_fd(target.as_fd(), true).node(step)?;
        mount::change(copy.as_fd(), false, Change { set: attribute::RDONLY, ..Change::default() }).node(step)?;
        mount::attach(&copy, &target).node(step)?;
    }
    Ok(())
}

fn existing(root: Confined<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    match root.open(Path::new(path)) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        other => other.map(Some),
    }
}
