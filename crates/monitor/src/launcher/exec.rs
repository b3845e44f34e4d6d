//! A further process in a running container, confined as its init is.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use corten_host::cgroup::{Cgroup, Hierarchies};
use corten_host::process::{self, Fork};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::channel::ChildEnd;
use super::errors::{Blame, refused};
use super::program::{Filter, Program};
use super::resolve::Confined;
use super::{Started, Stdio, cgroups, channel, end, fork, hide, labels, limits, stdio, wait};
use crate::protocol::{CallError, Exec};
use crate::users;

/// The namespaces that are joined by the child itself; the PID namespace is joined by being born into it.
const OTHERS: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// Runs a process in the container whose init is `init_pid`. To be called in the launcher process; the new process is
/// a child of its parent. Without `stdio` and without a terminal the process has `/dev/null`.
///
/// # Errors
/// Says which step failed and whose fault it was. No process is left then.
pub fn exec(plan: &Exec, init_pid: i32, stdio: Option<Stdio>, seccomp: Option<OwnedFd>) -> Result<Started, CallError> {
    let seccomp = seccomp.map(|filter| Filter::read(filter, plan.seccomp_flags)).transpose()?;
    let program = Program::new(&plan.process, seccomp.as_ref())?;
    hide()?;
    let pid = Pid::from_raw(init_pid).ok_or_else(|| refused(format!("{init_pid} is not a process id")))?;
    let init = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| gone(errno.into()))?;
    let cgroup = Hierarchies::detect().and_then(|hierarchies| hierarchies.of_process(init_pid));
    let cgroup = cgroup.node(|| "find the container's cgroup".into())?;
    if !is_sibling(init_pid) {
        return Err(CallError::NotRunning { what: "the container".into() });
    }
    let owned = users::of_process(init_pid)?.is_some();
    let v2 = cgroup.open_v2();
    process::join_namespaces(init.as_fd(), libc::CLONE_NEWPID).map_err(gone)?;
    let (ours, theirs) = channel::pair()?;
    match fork(0, v2.as_ref().map(AsFd::as_fd))? {
        Fork::Child => {
            drop(ours);
            let joining = Joining { plan, init, cgroup, in_v2: v2.is_some(), owned, stdio, program };
            end(joining.run(&theirs), &theirs)
        }
        Fork::Parent(sibling) => {
            drop((theirs, stdio));
            wait(sibling, &ours)
        }
    }
}

/// Whether a process is a child of the monitor, as a container's init is. The monitor may have reaped the init since it
/// forked this process, and then its id may mean any process: one whose namespaces must not be joined.
fn is_sibling(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc_pid_stat(5): the name, in parentheses, may hold anything; the state and the parent follow.
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    parent.is_some() && parent == rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get())
}

/// The container's init has ended, or ends right now.
fn gone(error: std::io::Error) -> CallError {
    match error.raw_os_error() {
        Some(libc::ESRCH) => CallError::NotRunning { what: "the container".into() },
        _ => super::errors::node("join the container's namespaces", error.to_string()),
    }
}

/// Everything the child needs.
struct Joining<'a> {
    plan: &'a Exec,
    init: OwnedFd,
    cgroup: Cgroup,
    in_v2: bool,
    /// Whether the container has a user namespace of its own.
    owned: bool,
    stdio: Option<Stdio>,
    program: Program<'a>,
}

impl Joining<'_> {
    fn run(self, channel: &ChildEnd) -> Result<Infallible, CallError> {
        let process = &self.plan.process;
        process::reset_signals();
        rustix::process::setsid().node(|| "make a session".into())?;
        cgroups::join(&self.cgroup, self.in_v2)?;
        limits::set_oom_score(process.oom_score_adj())?;
        labels::set_for_exec(process)?;
        // Takes the container's root and its `/` as working directory too.
        let users = if self.owned { libc::CLONE_NEWUSER } else { 0 };
        process::join_namespaces(self.init.as_fd(), OTHERS | users).map_err(gone)?;
        if self.owned {
            users::become_root().node(|| "become root of the user namespace".into())?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).node(|| "open the container's root".into())?;
        let connected = stdio::connect(process, self.plan.terminal, self.stdio, Confined::to(root.as_fd()), channel)?;
        drop(root);
        connected.install(process.user().uid())?;
        self.program.execute(channel)
    }
}
