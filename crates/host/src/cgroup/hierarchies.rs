//! Which cgroup hierarchies are mounted, and where.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Cgroup, Error, Place, file};

/// How cgroups are set up on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 hierarchies.
    V1,
    /// v1 hierarchies with the controllers, and a v2 one beside them.
    Hybrid,
    /// The unified hierarchy with all controllers.
    V2,
}

/// A resource controller, known by its v1 name; v2 calls `blkio` `io` and has no `cpuacct`, `devices` or `freezer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Devices,
    Freezer,
    Io,
    Pids,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
    Dmem,
}

impl Controller {
    /// The name in `cgroup.subtree_control`, if v2 has this controller.
    fn v2_name(self) -> Option<&'static str> {
        Some(match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
            Self::Hugetlb => "hugetlb",
            Self::Rdma => "rdma",
            Self::Misc => "misc",
            Self::Dmem => "dmem",
            Self::Cpuacct | Self::Devices | Self::Freezer | Self::NetCls | Self::NetPrio | Self::PerfEvent => {
                return None;
            }
        })
    }

    const ALL: [Self; 15] = [
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Memory,
        Self::Devices,
        Self::Freezer,
        Self::Io,
        Self::Pids,
        Self::Hugetlb,
        Self::NetCls,
        Self::NetPrio,
        Self::PerfEvent,
        Self::Rdma,
        Self::Misc,
        Self::Dmem,
    ];

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "cpu" => Self::Cpu,
            "cpuacct" => Self::Cpuacct,
            "cpuset" => Self::Cpuset,
            "memory" => Self::Memory,
            "devices" => Self::Devices,
            "freezer" => Self::Freezer,
            "blkio" | "io" => Self::Io,
            "pids" => Self::Pids,
            "hugetlb" => Self::Hugetlb,
            "net_cls" => Self::NetCls,
            "net_prio" => Self::NetPrio,
            "perf_event" => Self::PerfEvent,
            "rdma" => Self::Rdma,
            "misc" => Self::Misc,
            "dmem" => Self::Dmem,
            _ => return None,
        })
    }
}

/// A set of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Controllers(u16);

impl Controllers {
    pub(super) fn has(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u8) != 0
    }

    /// Whether all of the others are in this set.
    pub(super) fn covers(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Of a list with any separators; names it does not know are not controllers (mount options, newer kernels).
    pub(super) fn parse(text: &str) -> Self {
        let names = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
        Self(names.filter_map(Controller::parse).fold(0, |set, c| set | 1 << c as u8))
    }

    /// The v2 names of those that v2 has.
    pub(super) fn v2_names(self) -> impl Iterator<Item = &'static str> {
        Controller::ALL.into_iter().filter(move |c| self.has(*c)).filter_map(Controller::v2_name)
    }

    /// Only the ones given.
    pub(super) fn only(self, wanted: &[Controller]) -> Self {
        Self(self.0 & wanted.iter().fold(0, |set, c| set | 1 << *c as u8))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Empty for named v1 hierarchies (systemd's), and for a v2 one whose controllers are all bound to v1.
    pub(super) controllers: Controllers,
    /// The name of a named v1 hierarchy.
    pub(super) name: Option<String>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// Which of its cgroups the mount shows as its root: `/` but for bind mounts into containers.
    pub(super) root: String,
}

/// The cgroup hierarchies of this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    mode: Mode,
    list: Arc<[Arc<Hierarchy>]>,
}

impl Hierarchies {
    /// Finds the mounted hierarchies in `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// If it cannot be read or has no cgroup hierarchy.
    pub fn detect() -> Result<Self, Error> {
        let mountinfo = Path::new("/proc/self/mountinfo");
        let found = parse_mountinfo(&file::read(mountinfo)?);
        let mut list = Vec::with_capacity(found.len());
        for mut hierarchy in found {
            if hierarchy.version == Version::V2 {
                let text = file::read(&hierarchy.mount.join("cgroup.controllers"))?;
                hierarchy.controllers = Controllers::parse(&text);
            }
            list.push(hierarchy);
        }
        Self::of(list).ok_or_else(|| Error::NoHierarchies(mountinfo.to_owned()))
    }

    /// Of hierarchies found; `None` if there is none.
    pub(super) fn of(list: Vec<Hierarchy>) -> Option<Self> {
        let v2 = list.iter().any(|h| h.version == Version::V2);
        // A named hierarchy alone (`none,name=systemd`) beside a v2 one carries no controller: that is still v2.
        let v1 = list.iter().any(|h| h.version == Version::V1 && h.controllers != Controllers::default());
        let mode = match (v1, v2) {
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::V2,
            (true, false) => Mode::V1,
            (false, false) => return None,
        };
        Some(Self { mode, list: list.into_iter().map(Arc::new).collect() })
    }

    /// How cgroups are set up here.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The cgroup with this path below the root of every hierarchy; it need not exist.
    ///
    /// The path is that of the "cgroupfs" driver, absolute or not: `/kubepods/burstable/podX/Y`.
    ///
    /// # Errors
    /// If it has `..`, `.` or empty components, control characters, or is in the systemd driver's `slice:prefix:name` form.
    pub fn cgroup(&self, path: &str) -> Result<Cgroup, Error> {
        let relative = validate(path)?;
        let places = self.list.iter().map(|hierarchy| Place {
            dir: if relative.is_empty() { hierarchy.mount.clone() } else { hierarchy.mount.join(relative) },
            hierarchy: Arc::clone(hierarchy),
        });
        Ok(Cgroup::new(self.mode, format!("/{relative}"), places.collect()))
    }

    /// The cgroup that a process is in, which may be another one in each hierarchy.
    ///
    /// # Errors
    /// If `/proc/<pid>/cgroup` cannot be read (the process has ended, say), or names a cgroup that is outside of what is mounted here.
    pub fn of_process(&self, pid: i32) -> Result<Cgroup, Error> {
        let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = file::read(&file)?;
        let mut places = Vec::with_capacity(self.list.len());
        for hierarchy in self.list.iter() {
            if let Some(path) = path_in(hierarchy, &text) {
                places.push(Place { dir: locate(hierarchy, path)?, hierarchy: Arc::clone(hierarchy) });
            }
        }
        if places.is_empty() {
            return Err(Error::Parse { file, text });
        }
        Ok(Cgroup::new(self.mode, format!("of process {pid}"), places))
    }
}

/// The path without the slashes around it.
fn validate(path: &str) -> Result<&str, Error> {
    let bad = |why| Err(Error::BadPath { path: path.to_owned(), why });
    if path.chars().any(char::is_control) {
        return bad("has a control character");
    }
    if path.contains(':') {
        return bad("the systemd driver's slice:prefix:name is not supported yet, only the cgroupfs driver's paths");
    }
    let relative = path.trim_matches('/');
    if relative.is_empty() {
        return if path.is_empty() { bad("is empty") } else { Ok("") };
    }
    for component in relative.split('/') {
        match component {
            "" => return bad("has an empty component"),
            "." | ".." => return bad("has a component . or .."),
            long if long.len() > 255 => return bad("has a component of more than 255 bytes"),
            _ => {}
        }
    }
    Ok(relative)
}

/// A process's path in a hierarchy, by the text of its `/proc/<pid>/cgroup` (lines `id:controllers:path`).
fn path_in<'a>(hierarchy: &Hierarchy, text: &'a str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = match (hierarchy.version, &hierarchy.name) {
            (Version::V2, _) => id == "0" && controllers.is_empty(),
            (Version::V1, Some(name)) => controllers.strip_prefix("name=") == Some(name),
            (Version::V1, None) => !controllers.is_empty() && Controllers::parse(controllers) == hierarchy.controllers,
        };
        same.then_some(path)
    })
}

/// Where a path of `/proc/<pid>/cgroup` is below the mount.
fn locate(hierarchy: &Hierarchy, path: &str) -> Result<PathBuf, Error> {
    let outside = || Error::BadPath { path: path.to_owned(), why: "is outside of the cgroups mounted here" };
    let below = path.strip_prefix(hierarchy.root.trim_end_matches('/')).ok_or_else(outside)?;
    if !(below.is_empty() || below.starts_with('/')) || below.split('/').any(|c| c == "..") {
        return Err(outside());
    }
    let relative = below.trim_matches('/');
    Ok(if relative.is_empty() { hierarchy.mount.clone() } else { hierarchy.mount.join(relative) })
}

/// The hierarchies in the text of a `mountinfo`, each once: a mount of its whole tree is preferred to one of a part.
/// The controllers of a v2 one are not in there.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for new in text.lines().filter_map(parse_mount) {
        let same =
            |h: &&mut Hierarchy| h.version == new.version && h.controllers == new.controllers && h.name == new.name;
        match found.iter_mut().find(same) {
            None => found.push(new),
            Some(known) if known.root != "/" && new.root == "/" => *known = new,
            Some(_) => {}
        }
    }
    found
}

/// One line of `mountinfo` (proc_pid_mountinfo(5)), if it is a cgroup mount.
fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let version = match filesystem.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = filesystem.nth(1)?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (unescape(mount.next()?)?, unescape(mount.next()?)?);
    let (name, controllers) = match version {
        Version::V1 => (options.split(',').find_map(|o| o.strip_prefix("name=")), Controllers::parse(options)),
        Version::V2 => (None, Controllers::default()),
    };
    Some(Hierarchy { version, controllers, name: name.map(str::to_owned), mount: point.into(), root })
}

/// Undoes the octal escapes of `mountinfo` (`\040` for a space).
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let mut code = 0u32;
        for _ in 0..3 {
            code = code * 8 + char::from(bytes.next()?).to_digit(8)?;
        }
        out.push(u8::try_from(code).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
