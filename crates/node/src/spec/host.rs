//! What this node can do, and its daemon may.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use corten_host::selinux;
use oci_spec::runtime::Capability;

use crate::error::{Error, Result};

/// What this node can do, read once when the daemon starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The node's name.
    pub hostname: String,
    /// The capabilities that the daemon may grant: its bounding set.
    pub capabilities: Vec<Capability>,
    /// The lowest `oom_score_adj` that the daemon may set.
    pub oom_score_adj_floor: i32,
    /// How cgroups are mounted.
    pub cgroup: CgroupMode,
    /// Whether cgroups can limit swap.
    pub swap_limit: bool,
    /// Whether cgroups can limit huge pages.
    pub hugetlb: Hugetlb,
    /// The sizes of huge pages that the kernel has, as cgroups name them: `2MB`.
    pub huge_page_sizes: Vec<String>,
    /// Whether the kernel has seccomp filters.
    pub seccomp: bool,
    /// Whether the kernel has AppArmor.
    pub apparmor: AppArmor,
    /// The labels that SELinux's policy has for containers; `None` if the kernel has no SELinux.
    pub selinux: Option<selinux::Policy>,
}

/// How cgroups are mounted at `/sys/fs/cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 1, a hierarchy for each controller.
    V1,
    /// Version 1, and version 2 at `unified`.
    Hybrid,
    /// Version 2.
    V2,
}

/// Whether cgroups can limit huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hugetlb {
    /// They cannot.
    Absent,
    /// They can.
    Present,
}

/// Whether the kernel has AppArmor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppArmor {
    /// It has not.
    Absent,
    /// It has.
    Present {
        /// The profile of containers that ask for the runtime's default, if it is loaded.
        default: Option<String>,
    },
}

const CGROUPS: &str = "/sys/fs/cgroup";

/// A directory for each size of huge pages.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// The capabilities in the order of their numbers (linux/capability.h).
const NUMBERED: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

impl Host {
    /// Reads it from /proc and /sys, once AppArmor has the default profile.
    ///
    /// # Errors
    /// [`Error::Node`] naming the file of /proc that cannot be read or understood. What is missing in /sys is absent.
    pub fn probe() -> Result<Self> {
        let status = read("/proc/self/status")?;
        let capabilities = capabilities(&status)?;
        let cgroup = cgroup_mode(Path::new(CGROUPS));
        Ok(Self {
            hostname: read("/proc/sys/kernel/hostname")?.trim().to_owned(),
            oom_score_adj_floor: oom_score_adj_floor(&status)?,
            capabilities,
            cgroup,
            swap_limit: swap_limit(Path::new(CGROUPS), cgroup),
            hugetlb: hugetlb(Path::new(CGROUPS)),
            huge_page_sizes: huge_page_sizes(Path::new(HUGE_PAGES)),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            apparmor: crate::apparmor::prepare(),
            selinux: selinux::Policy::read(),
        })
    }
}

/// Whether containers of the built-in launcher can have user namespaces: the kernel has them and can map the owners of
/// files below `images`, the image store. Looked at once; it blocks then.
pub fn user_namespaces_supported(images: &Path) -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| match corten_host::user_namespace::probe(images) {
        Ok(()) => true,
        Err(why) => {
            tracing::info!(why, "pods cannot have user namespaces on this node");
            false
        }
    })
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::node(format!("read {path}"), error))
}

/// Whether a file of /sys, which may be missing, has the word.
fn has_word(path: &Path, word: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.split_whitespace().any(|found| found == word))
}

/// A set of capabilities of `/proc/self/status`.
fn set(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .ok_or_else(|| Error::node(format!("read {name} of /proc/self/status"), "it is not there"))
}

/// What can be granted: what is neither cut off by the bounding set nor missing from the permitted one.
fn capabilities(status: &str) -> Result<Vec<Capability>> {
    let mask = set(status, "CapBnd")? & set(status, "CapPrm")?;
    Ok(NUMBERED.into_iter().enumerate().filter(|(number, _)| mask & (1 << number) != 0).map(|(_, one)| one).collect())
}

/// Without CAP_SYS_RESOURCE nothing may go below where it started.
fn oom_score_adj_floor(status: &str) -> Result<i32> {
    const SYS_RESOURCE: u32 = 24;
    if set(status, "CapEff")? & (1 << SYS_RESOURCE) != 0 {
        return Ok(-1000);
    }
    let path = "/proc/self/oom_score_adj";
    read(path)?.trim().parse().map_err(|error| Error::node(format!("read {path}"), error))
}

fn cgroup_mode(root: &Path) -> CgroupMode {
    match (root.join("cgroup.controllers").exists(), root.join("unified/cgroup.controllers").exists()) {
        (true, _) => CgroupMode::V2,
        (false, true) => CgroupMode::Hybrid,
        (false, false) => CgroupMode::V1,
    }
}

/// In version 2 the root cgroup has no limits, so any other one is looked at.
fn swap_limit(root: &Path, mode: CgroupMode) -> bool {
    match mode {
        CgroupMode::V1 | CgroupMode::Hybrid => root.join("memory/memory.memsw.limit_in_bytes").exists(),
        CgroupMode::V2 => fs::read_dir(root)
            .is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| e.path().join("memory.swap.max").exists()))),
    }
}

fn hugetlb(root: &Path) -> Hugetlb {
    let listed = |file: &str| has_word(&root.join(file), "hugetlb");
    match root.join("hugetlb").exists() || listed("cgroup.controllers") || listed("unified/cgroup.controllers") {
        true => Hugetlb::Present,
        false => Hugetlb::Absent,
    }
}

/// Reads the sizes from the names of directories like `hugepages-2048kB`.
fn huge_page_sizes(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut sizes: Vec<u64> =
        names.filter_map(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()).collect();
    sizes.sort_unstable();
    let name = |size: u64| match size {
        0..1024 => format!("{size}KB"),
        1024..1_048_576 => format!("{}MB", size >> 10),
        _ => format!("{}GB", size >> 20),
    };
    sizes.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const STATUS: &str = "Name:\tx\nCapPrm:\t000001fffeffffff\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n";

    #[test]
    fn a_bounding_set_is_read_by_number() {
        let granted = capabilities(STATUS).unwrap();
        assert_eq!(granted.len(), 40);
        assert!(!granted.contains(&Capability::SysResource));
        assert!(granted.contains(&Capability::CheckpointRestore));
        let none = STATUS.replace("CapPrm:\t000001fffeffffff", "CapPrm:\t0000000000000001");
        assert_eq!(capabilities(&none).unwrap(), [Capability::Chown]);
        assert!(capabilities("Name:\tx\n").is_err());
    }

    #[test]
    fn with_sys_resource_there_is_no_floor() {
        let all = STATUS.replace("CapEff:\t000001fffeffffff", "CapEff:\t000001ffffffffff");
        assert_eq!(oom_score_adj_floor(&all).unwrap(), -1000);
    }

    #[test]
    fn cgroup_modes_are_told_by_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(cgroup_mode(root), CgroupMode::V1);
        assert_eq!(hugetlb(root), Hugetlb::Absent);
        fs::create_dir(root.join("unified")).unwrap();
        fs::write(root.join("unified/cgroup.controllers"), "hugetlb\n").unwrap();
        assert_eq!(cgroup_mode(root), CgroupMode::Hybrid);
        assert_eq!(hugetlb(root), Hugetlb::Present);
        fs::write(root.join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert_eq!(cgroup_mode(root), CgroupMode::V2);
        assert!(!swap_limit(root, CgroupMode::V2));
        fs::write(root.join("cgroup.controllers"), "cpu hugetlb memory\n").unwrap();
        assert_eq!(hugetlb(root), Hugetlb::Present);
        fs::create_dir(root.join("system.slice")).unwrap();
        fs::write(root.join("system.slice/memory.swap.max"), "max\n").unwrap();
        assert!(swap_limit(root, CgroupMode::V2));
    }

    #[test]
    fn sizes_of_huge_pages_are_named_as_cgroups_name_them() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hugepages-1048576kB", "hugepages-64kB", "hugepages-2048kB", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(huge_page_sizes(dir.path()), ["64KB", "2MB", "1GB"]);
        assert_eq!(huge_page_sizes(&dir.path().join("missing")), Vec::<String>::new());
    }

    #[test]
    fn this_node_can_be_probed() {
        let host = Host::probe().unwrap();
        assert!(!host.hostname.is_empty());
        assert!(host.capabilities.contains(&Capability::Chown));
        assert!((-1000..=1000).contains(&host.oom_score_adj_floor));
    }
}
