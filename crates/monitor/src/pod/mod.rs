//! What the monitor sets up for the whole pod before it says hello: a list of steps, each named when it fails.

pub mod init;
pub mod shm;
pub mod sysctl;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_host::cgroup::Hierarchies;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::fork;
use crate::protocol::PodPlan;

/// A pod that is set up.
#[derive(Debug)]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// The mount namespace whose root is the pod's `/dev/shm`.
    pub shm: Option<OwnedFd>,
    /// The init of the PID namespace that its containers share.
    pub init: Init,
    /// The machine's cgroups.
    pub cgroups: Hierarchies,
}

/// The init of a pod's PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Containers have PID namespaces of their own, or the host's.
    None,
    /// It runs, with this id.
    Running(i32),
    /// It has ended, and the namespace with it: the pod can have no more containers.
    Ended,
}

impl Init {
    /// Its id, while it runs.
    pub fn pid(self) -> Option<i32> {
        match self {
            Self::Running(pid) => Some(pid),
            Self::None | Self::Ended => None,
        }
    }
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}")]
pub struct Failed {
    step: &'static str,
    error: String,
}

fn step<T, E: std::fmt::Display>(step: &'static str, outcome: Result<T, E>) -> Result<T, Failed> {
    outcome.map_err(|error| Failed { step, error: error.to_string() })
}

impl Pod {
    /// Sets the pod up, the calling process included.
    ///
    /// # Errors
    /// The step that failed. The process is to end then.
    pub fn set_up(plan: PodPlan) -> Result<Self, Failed> {
        let cgroups = step("cgroup", Hierarchies::detect())?;
        if let Some(path) = &plan.cgroup {
            step("cgroup", join(&cgroups, path, plan.in_v2))?;
        }
        oom_score_adj(plan.oom_score_adj);
        let netns = step("network namespace", plan.netns.as_ref().map(File::open).transpose())?;
        let netns = netns.as_ref().map(AsFd::as_fd);
        step("uts namespace", plan.hostname.as_deref().map_or(Ok(()), uts))?;
        if plan.private_ipc {
            step("ipc namespace", new_namespace(UnshareFlags::NEWIPC))?;
        }
        step("sysctl", sysctl::write(&plan, netns))?;
        let shm = plan.private_ipc.then(|| step("shm", shm::make(plan.shm_size))).transpose()?;
        let init = match plan.shared_pid {
            true => Init::Running(step("pod init", init::start(netns))?),
            false => Init::None,
        };
        Ok(Self { id: plan.id, shm, init, cgroups })
    }
}

fn join(cgroups: &Hierarchies, path: &str, in_v2: bool) -> Result<(), corten_host::cgroup::Error> {
    let cgroup = cgroups.cgroup(path)?;
    cgroup.create()?;
    if in_v2 { cgroup.join_self_v1() } else { cgroup.join_self() }
}

/// Asks for it, and stays with what it is where that is not allowed (lowering takes `CAP_SYS_RESOURCE`).
fn oom_score_adj(wanted: i32) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", wanted.to_string()) {
        eprintln!("oom_score_adj: {wanted} is not allowed: {error}");
    }
}

fn new_namespace(kind: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: neither CLONE_FILES nor CLONE_FS is asked for, so nothing that others rely on changes.
    unsafe { unshare_unsafe(kind) }
}

fn uts(hostname: &str) -> rustix::io::Result<()> {
    new_namespace(UnshareFlags::NEWUTS)?;
    rustix::system::sethostname(hostname.as_bytes())
}

/// Runs `work` in a child, for what must not touch the monitor's own namespaces.
fn elsewhere(
    keep: Option<BorrowedFd<'_>>,
    work: impl FnOnce() -> Result<Option<OwnedFd>, String>,
) -> Result<Option<OwnedFd>, String> {
    let keep: Vec<_> = keep.into_iter().collect();
    Ok(fork::run(&keep, || Ok(work()?.into_iter().collect()))?.pop())
}
