//! The node's devices in a container.

use std::fs::{self, FileType, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::check;
use crate::container::config::Device;
use crate::error::{Error, Result};

/// A device node of the node, as a container gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Where in the container.
    pub path: PathBuf,
    /// Block or character.
    pub kind: LinuxDeviceType,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// What the container's cgroup allows: some of `rwm`.
    pub access: String,
}

/// Directories of `/dev` that are file systems of their own, which containers have their own of.
const NOT_DEVICES: [&str; 6] = ["pts", "shm", "fd", "mqueue", "hugepages", ".udev"];
/// How deep directories of devices are read, and how many devices there may be.
const MAX_DEPTH: usize = 8;
const MAX_DEVICES: usize = 16384;

/// The devices that a request names: one, or all in a directory.
pub(super) fn requested(devices: &[Device]) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        let field = format!("config.devices[{index}].host_path");
        let shown = device.host_path.display().to_string();
        let resolved = fs::canonicalize(&device.host_path)
            .map_err(|error| check::invalid(&field, &shown, format!("cannot be found: {error}")))?;
        let before = found.len();
        collect(&resolved, &device.container_path, &device.permissions, MAX_DEPTH, &mut found)?;
        if found.len() == before {
            return Err(check::invalid(&field, &shown, "is no device and no directory of devices"));
        }
    }
    Ok(found)
}

/// All devices of the node, for a privileged container, and those that its request names, which may be elsewhere.
pub(super) fn all_and(devices: &[Device]) -> Result<Vec<HostDevice>> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), Path::new("/dev"), "rwm", MAX_DEPTH, &mut found)?;
    found.retain(|device| device.path != Path::new("/dev/console"));
    for asked in requested(devices)? {
        found.retain(|device| device.path != asked.path);
        found.push(asked);
    }
    Ok(found)
}

/// Adds the device, or those in the directory. What vanishes meanwhile, symbolic links and other files are left out.
fn collect(at: &Path, inside: &Path, access: &str, depth: usize, found: &mut Vec<HostDevice>) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(at) else { return Ok(()) };
    if let Some(kind) = kind_of(metadata.file_type()) {
        if found.len() >= MAX_DEVICES {
            return Err(Error::Exhausted(format!("{} has more than {MAX_DEVICES} devices", at.display())));
        }
        found.push(device(inside, kind, &metadata, access));
        return Ok(());
    }
    if !metadata.is_dir() || depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(at).map_err(|error| Error::node(format!("read directory {}", at.display()), error))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter(|name| !NOT_DEVICES.iter().any(|other| name.as_os_str() == *other)) {
        collect(&at.join(name), &inside.join(name), access, depth - 1, found)?;
    }
    Ok(())
}

fn kind_of(kind: FileType) -> Option<LinuxDeviceType> {
    match kind {
        kind if kind.is_char_device() => Some(LinuxDeviceType::C),
        kind if kind.is_block_device() => Some(LinuxDeviceType::B),
        _ => None,
    }
}

fn device(inside: &Path, kind: LinuxDeviceType, metadata: &Metadata, access: &str) -> HostDevice {
    HostDevice {
        path: inside.to_path_buf(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    }
}

/// The nodes to make.
pub(super) fn nodes(devices: &[HostDevice]) -> Vec<LinuxDevice> {
    let node = |device: &HostDevice| {
        let mut node = LinuxDevice::default();
        node.set_path(device.path.clone())
            .set_typ(device.kind)
            .set_major(i64::from(device.major))
            .set_minor(i64::from(device.minor))
            .set_file_mode(Some(device.mode))
            .set_uid(Some(device.uid))
            .set_gid(Some(device.gid));
        node
    };
    devices.iter().map(node).collect()
}

/// What the cgroup allows: everything if privileged, else nothing but what every container has, and what was asked for.
pub(super) fn rules(privileged: bool, devices: &[HostDevice]) -> Vec<LinuxDeviceCgroup> {
    if privileged {
        return vec![rule(true, None, None, None, "rwm")];
    }
    let asked =
        devices.iter().map(|d| rule(true, Some(d.kind), Some(i64::from(d.major)), Some(i64::from(d.minor)), &d.access));
    std::iter::once(rule(false, None, None, None, "rwm")).chain(always()).chain(asked).collect()
}

/// The devices of the OCI runtime spec's default list, terminals, `net/tun` (as runc and crun have it: a VPN makes the node
/// itself), and making (not opening) any node.
fn always() -> impl Iterator<Item = LinuxDeviceCgroup> {
    /// null, zero, full, random, urandom, tty, console, ptmx, net/tun; then all of devpts.
    const DEVICES: [(i64, Option<i64>); 10] = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (10, Some(200)),
        (136, None),
    ];
    let make = [LinuxDeviceType::C, LinuxDeviceType::B].map(|kind| rule(true, Some(kind), None, None, "m"));
    let use_them = DEVICES.map(|(major, minor)| rule(true, Some(LinuxDeviceType::C), Some(major), minor, "rwm"));
    make.into_iter().chain(use_them)
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor).set_access(Some(access.to_owned()));
    rule
}
