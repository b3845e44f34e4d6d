//! What the monitor sets up for the whole pod before it says hello: a list of steps, each named when it fails.

pub mod init;
pub mod shm;
pub mod sysctl;
pub mod users;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_host::cgroup::Hierarchies;
use corten_host::process;
use corten_host::user_namespace::Mappings;

use crate::fork;
use crate::protocol::PodPlan;

/// A pod that is set up.
#[derive(Debug)]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// The mount namespace whose root is the pod's `/dev/shm`.
    pub shm: Option<OwnedFd>,
    /// Its user namespace, if that is not the host's.
    pub users: Option<OwnedFd>,
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
        let users = step("user namespace", users::find(&plan, netns))?;
        let users_fd = users.as_ref().map(AsFd::as_fd);
        enter_namespaces(&plan, users_fd)?;
        step("sysctl", sysctl::write(&plan, netns, users_fd))?;
        let owner = plan.users.as_ref().and_then(Mappings::root).unwrap_or_default();
        let shm = plan
            .private_ipc
            .then(|| step("shm", shm::make(plan.shm_size, owner, plan.shm_label.as_deref())))
            .transpose()?;
        let init = match plan.shared_pid {
            true => Init::Running(step("pod init", init::start(netns, users_fd))?),
            false => Init::None,
        };
        Ok(Self { id: plan.id, shm, users, init, cgroups })
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

/// Enters the UTS and IPC namespaces that are the pod's own.
fn enter_namespaces(plan: &PodPlan, users: Option<BorrowedFd<'_>>) -> Result<(), Failed> {
    let uts = plan.hostname.is_some().then_some((libc::CLONE_NEWUTS, "uts"));
    let ipc = plan.private_ipc.then_some((libc::CLONE_NEWIPC, "ipc"));
    let kinds: Vec<_> = uts.into_iter().chain(ipc).collect();
    let entered = match users {
        Some(users) => users::enter_new(users, &kinds),
        None => process::new_namespaces(kinds.iter().fold(0, |all, (kind, _)| all | kind)).map_err(|e| e.to_string()),
    };
    step("namespaces", entered)?;
    let named = plan.hostname.as_deref().map_or(Ok(()), |name| rustix::system::sethostname(name.as_bytes()));
    step("uts namespace", named)
}

/// Runs `work` in a child, for what must not touch the monitor's own namespaces.
fn elsewhere(
    keep: &[Option<BorrowedFd<'_>>],
    work: impl FnOnce() -> Result<Option<OwnedFd>, String>,
) -> Result<Option<OwnedFd>, String> {
    let keep: Vec<_> = keep.iter().copied().flatten().collect();
    Ok(fork::run(&keep, || Ok(work()?.into_iter().collect()))?.pop())
}
