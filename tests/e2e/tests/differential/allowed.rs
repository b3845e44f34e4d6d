//! The differences that may be, each with its reason.

use std::{path::Path, process::Command, sync::OnceLock};

use corten_e2e::programs;

use super::Difference;

/// Where a row applies. (It must then match something, or it is stale.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Everywhere.
    Every,
    /// Where cgroup v1 and v2 are both mounted.
    Hybrid,
    /// Where cgroup v2 is all that is mounted.
    Unified,
    /// The same, and runc is older than the release that mended a fault.
    UnifiedBefore([u32; 3]),
    /// Where overlayfs takes layers one by one: since Linux 6.7.
    LayerByLayer,
    /// Where it takes them all at once.
    LayersAtOnce,
}

/// Differences that may be. In every text `*` stands for anything.
#[derive(Debug)]
pub struct Allowed {
    pub on: On,
    /// `<pod>/<container>` of the table of cases.
    pub case: &'static str,
    /// What differs.
    pub key: &'static str,
    /// Its value under the built-in launcher.
    pub corten: &'static str,
    /// Its value under runc.
    pub runc: &'static str,
    pub why: &'static str,
}

/// The list. What [`is_protected`] names cannot be in it but for a fault that runc has mended.
#[rustfmt::skip]
pub const ALLOWED: &[Allowed] = &[
    row(On::Every, "*", "mounts in order", "*", "*", "mountinfo lists mounts by their ids: volumes are copied before the root is there, and cgroup hierarchies are in the order of `/proc/self/cgroup`"),
    row(On::LayerByLayer, "*", "mount *: parameters", "rw,lowerdir+=*", "rw,lowerdir=*", "the kernel shows layers as they were given: each by fsconfig(2), or all by mount(2)"),
    row(On::LayersAtOnce, "*", "mount *: parameters", "rw,lowerdir=<lab>/*", "rw,lowerdir=*", "the same: by fsconfig(2) with their whole names, or by mount(2) with those below their own directory"),
    row(On::Every, "*", "mount /sys: parameters", "rw", "ro", "the mount is read-only under both (its options say so); runc has the superblock read-only too"),
    row(On::Every, "*", "mount *: parameters", "rw,nr_inodes=1,mode=555*", "ro*", "what covers a masked directory: one that nothing can be made in"),
    row(On::Every, "*", "mount *: options", "ro,nosuid,nodev,noexec,relatime", "ro,relatime", "what covers a masked directory is as restricted as can be"),
    row(On::Every, "*", "mount *: options", "ro,nosuid", "rw,nosuid", "what covers a masked file is read-only, or its mode could be changed"),
    row(On::Every, "users/confined", "mount *: options", "ro,relatime", "rw,relatime", "what covers a masked file is read-only, or its mode could be changed"),
    row(On::Every, "*", "file *", "directory 555 *", "directory 1777 *", "the mode of what covers a masked directory"),
    row(On::Every, "*", "exec descriptor 0", "its own /dev/null 2", "/ 2", "the node's null device, through a mount that keeps it from being changed; the built-in launcher and, for init, runc open the container's instead"),
    row(On::Every, "*", "inside keyring of its id", "(absent)", "is there", "every process has a session keyring of its own; runc names one after the container, and whoever knows the name may join it"),
    row(On::Every, "privileged/mounts-shared", "mount /: propagation", "shared", "", "the specification's rootfsPropagation is the root's; runc applies it before the root is mounted"),
    row(On::Hybrid, "privileged/*", "mount /sys/fs/cgroup/*: propagation", "", "*", "the hierarchies are the container's own mounts; runc's stay peers or slaves of the node's"),
    row(On::Hybrid, "*", "mount /sys/fs/cgroup: options", "ro,nosuid,nodev,noexec,relatime", "rw,nosuid,nodev,noexec,relatime", "it is asked to be read-only; runc forgets that of the tmpfs that holds the hierarchies of v1"),
    row(On::Hybrid, "*", "file /sys/fs/cgroup", "directory 755 *", "directory 555 *", "the mode of that tmpfs, which is systemd's on the node"),
    row(On::Hybrid, "*", "mount /sys/fs/cgroup/systemd: source", "cgroup", "systemd", "a copy of the node's mount has the node's source"),
    row(On::Hybrid, "*", "mount /sys/fs/cgroup/unified: *", "*", "(absent)", "runc leaves the hierarchy of v2 out"),
    row(On::Hybrid, "*", "file /sys/fs/cgroup/unified", "directory *", "(absent)", "runc leaves the hierarchy of v2 out"),
    row(On::Unified, "*", "mount /sys/fs/cgroup: source", "cgroup2", "cgroup", "a copy of the node's mount has the node's source"),
    row(On::UnifiedBefore([1, 3, 2]), "plain/resources", "cgroup unified/cpu.weight", "59", "20", "runc before 1.3.2 had a formula of its own for shares: 1024 were a weight of 39"),
    row(On::UnifiedBefore([1, 3, 2]), "plain/resources", "cgroup unified/cpu.weight.nice", "2", "7", "the same"),
    row(On::UnifiedBefore([1, 2, 0]), "plain/resources*", "cgroup unified/hugetlb.*.rsvd.max", "*", "max", "runc before 1.2 limited the use of huge pages only, and not their reservation"),
    row(On::Every, "users*/*", "mount *: type", "tmpfs", "*tmpfs", "devices cannot be made in a user namespace: ours are made on a tmpfs of the container's, runc binds the node's"),
    row(On::Every, "users*/*", "mount *: source", "none", "*", "the same: devices on a tmpfs of the container's"),
    row(On::Every, "users*/*", "mount *: root", "/*", "/*", "the same: devices on a tmpfs of the container's"),
    row(On::Every, "users*/*", "mount *: parameters", "rw,mode=755*", "rw,*", "the same: devices on a tmpfs of the container's"),
    row(On::Every, "users*/*", "mount *: propagation", "", "master", "the same: devices on a tmpfs of the container's"),
    row(On::Every, "users*/*", "file *", "character device *", "character device * 0:0", "the same: ours are of the container's root, runc's of the node's"),
];

const fn row(
    on: On,
    case: &'static str,
    key: &'static str,
    corten: &'static str,
    runc: &'static str,
    why: &'static str,
) -> Allowed {
    Allowed { on, case, key, corten, runc, why }
}

impl Allowed {
    pub fn allows(&self, difference: &Difference) -> bool {
        let Difference { case, key, corten, runc } = difference;
        (!is_protected(key) || self.is_a_fault_of_runcs())
            && self.applies()
            && matches(self.case, case)
            && matches(self.key, key)
            && matches(self.corten, corten)
            && matches(self.runc, runc)
    }

    pub fn applies(&self) -> bool {
        self.on.here()
    }

    /// Whether later releases of runc do not differ.
    pub fn is_a_fault_of_runcs(&self) -> bool {
        matches!(self.on, On::UnifiedBefore(_))
    }
}

impl On {
    fn here(self) -> bool {
        match self {
            On::Every => true,
            On::Hybrid => Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists(),
            On::Unified => Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            On::UnifiedBefore(mended) => On::Unified.here() && runc() < mended,
            On::LayerByLayer => kernel() >= [6, 7, 0],
            On::LayersAtOnce => !On::LayerByLayer.here(),
        }
    }
}

fn kernel() -> [u32; 3] {
    numbers(&rustix::system::uname().release().to_string_lossy())
}

/// runc's version.
pub fn runc() -> [u32; 3] {
    static VERSION: OnceLock<[u32; 3]> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(programs::installed("runc", "runc")).arg("--version").output().unwrap();
        numbers(String::from_utf8_lossy(&output.stdout).trim_start_matches("runc version "))
    })
}

/// The numbers that a version begins with.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split(|character: char| !character.is_ascii_digit()).map_while(|part| part.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// What may not differ whatever the reason: capabilities, seccomp, no_new_privs, id maps, limits and cgroups' values.
pub fn is_protected(key: &str) -> bool {
    let of_process =
        ["init ", "exec ", "terminal "].iter().find_map(|process| key.strip_prefix(process)).is_some_and(|key| {
            let status =
                ["status Cap", "status Seccomp", "status NoNewPrivs", "status Uid", "status Gid", "status Groups"];
            let files = ["limits ", "uid_map", "gid_map", "projid_map", "setgroups", "oom_score_adj"];
            status.iter().chain(&files).any(|own| key.starts_with(own))
        });
    let inside = ["inside maps", "inside privileges"].iter().any(|section| key.starts_with(section));
    of_process || inside || key.starts_with("cgroup ")
}

/// Whether a text is as a pattern says.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[test]
fn patterns_match_whole_texts() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*c", "abc", true),
        ("a*c", "acb", false),
        ("a*b*c", "a1b2b3c", true),
        ("ab*b", "ab", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
    }
}

#[test]
fn what_matters_most_is_protected() {
    for key in [
        "init status CapEff",
        "exec status Seccomp_filters",
        "exec status NoNewPrivs",
        "init uid_map",
        "exec gid_map",
        "init limits Max open files",
        "cgroup memory/memory.limit_in_bytes",
        "inside maps 1",
    ] {
        assert!(is_protected(key), "{key}");
    }
    assert!(!is_protected("mount /proc: options"));
}
