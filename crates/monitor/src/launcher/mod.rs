//! The built-in launcher: from an OCI runtime specification to a running process.
//!
//! Two processes take part. The *launcher process* is the monitor's short-lived fork, single-threaded and in the host's
//! mount namespace: it resolves what is the host's (layers, namespaces, cgroups), and clones. The *child* is the
//! container's process to be, a sibling of the launcher process and so the monitor's own child: it makes its mounts and
//! becomes its program. What goes wrong in it comes back over a socket pair that execve closes.
//!
//! What protects the node from the container while it is entered:
//! - Both processes are not dumpable until execve, so nobody in a namespace that they join can trace them or open what
//!   is behind their `/proc/<pid>` (CVE-2016-9962).
//! - Every descriptor is closed by execve, and a working directory outside of the root is refused (CVE-2024-21626).
//! - Paths in the image are resolved by descriptor and confined to its root; masks and read-only paths are applied
//!   through the same descriptors (CVE-2019-16884, CVE-2021-30465, CVE-2025-31133, CVE-2025-52565); sysctls and labels
//!   are written through the host's `/proc` (CVE-2025-52881).
//! - `/proc/self/exe` is the monitor's program until execve. That an image makes its own program a link to it, to get at
//!   the file (CVE-2019-5736), is refused where the program itself is the link; a script's interpreter cannot be checked
//!   without a race, so whoever starts monitors executes them through `corten_host::mount::read_only_program`, where
//!   the file cannot be opened for writing by anybody.

mod binds;
mod cgroups;
mod channel;
mod devices;
mod errors;
mod exec;
mod identity;
mod init;
mod labels;
mod limits;
mod mounts;
mod namespaces;
mod nodes;
mod options;
mod program;
mod propagation;
mod resolve;
mod root;
mod stdio;
mod sysctl;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use corten_host::process::{self, Fork, Sibling};
use oci_spec::runtime::{Linux, Spec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{DumpableBehavior, Signal, pidfd_send_signal, set_dumpable_behavior};

pub(crate) use devices::is_null;
pub use exec::exec;

use self::binds::Binds;
use self::channel::{ChildEnd, LauncherEnd};
use self::errors::{Blame, refused};
use self::init::Init;
use self::namespaces::Namespaces;
use self::nodes::Nodes;
use self::program::{Filter, Program};
use self::root::Root;
use crate::alone;
use crate::protocol::{CallError, Launch};

/// What the monitor holds for the whole pod.
#[derive(Debug, Default)]
pub struct PodHandles<'a> {
    /// A mount namespace whose root is the pod's `/dev/shm`.
    pub shm_ns: Option<BorrowedFd<'a>>,
    /// The pod's user namespace: the specification's is that one.
    pub users: Option<BorrowedFd<'a>>,
    /// The init of the pod's PID namespace: the specification's PID namespace is then that one.
    pub init_pid: Option<i32>,
}

/// The process's standard streams.
#[derive(Debug)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

/// A process whose execve has succeeded.
#[derive(Debug)]
pub struct Started {
    /// Its id in the caller's PID namespace, which is the host's.
    pub pid: i32,
    /// The master end of its terminal, if it has one.
    pub console: Option<OwnedFd>,
}

/// Launches a container. To be called in the launcher process; the container's process is a child of its parent.
/// Without `stdio` and without a terminal the process has `/dev/null`.
///
/// # Errors
/// Says which step failed and whose fault it was. No process and no cgroup is left then.
pub fn launch(
    plan: &Launch,
    pod: &PodHandles<'_>,
    stdio: Option<Stdio>,
    seccomp: Option<OwnedFd>,
) -> Result<Started, CallError> {
    let spec = &plan.spec;
    refuse_unsupported(spec)?;
    let linux = spec.linux().as_ref().ok_or_else(|| refused("linux: missing"))?;
    let process = spec.process().as_ref().ok_or_else(|| refused("process: missing"))?;
    let seccomp = seccomp.map(|filter| Filter::read(filter, plan.seccomp_flags)).transpose()?;
    let program = Program::new(process, seccomp.as_ref())?;
    hide()?;
    let shm = pod.shm_ns.map(namespaces::copy_shm).transpose()?;
    let binds = Binds::new(shm, init::root_propagation(linux)?);
    let Prepared { root, nodes, users } = prepare(plan, linux, pod, &binds)?;
    let mut cgroup = cgroups::Made::create(linux)?;
    let v2 = cgroup.cgroup().open_v2();
    let namespaces = Namespaces::join(linux.namespaces().as_deref().unwrap_or_default(), pod.init_pid, users)?;
    let terminal = process.terminal().unwrap_or(false);
    let (ours, theirs) = channel::pair()?;
    match fork(namespaces.for_clone(), v2.as_ref().map(AsFd::as_fd))? {
        Fork::Child => {
            drop(ours);
            cgroup.forget();
            let cgroup = cgroup.cgroup();
            let in_v2 = v2.is_some();
            let overlay = &plan.root;
            let owned = users.is_some();
            let init = Init {
                spec,
                linux,
                program,
                root,
                overlay,
                binds,
                nodes,
                owned,
                namespaces,
                cgroup,
                in_v2,
                stdio,
                terminal,
                label: plan.file_label(),
            };
            end(init.run(&theirs), &theirs)
        }
        Fork::Parent(sibling) => {
            // An overlay cannot be mounted again with the same upper layer while anybody holds this one.
            drop((theirs, root, binds, nodes, stdio));
            let started = wait(sibling, &ours)?;
            cgroup.keep();
            Ok(started)
        }
    }
}

/// What the launcher process has made for the child.
struct Prepared<'a> {
    root: Root,
    nodes: Nodes,
    /// The user namespace that the child is to be born in.
    users: Option<BorrowedFd<'a>>,
}

/// Makes what only the host's root can. For a container in a user namespace that is all that comes from the host.
fn prepare<'a>(plan: &Launch, linux: &Linux, pod: &PodHandles<'a>, binds: &Binds) -> Result<Prepared<'a>, CallError> {
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    let Some(mappings) = crate::users::of_spec(&plan.spec) else {
        binds.prepare(mounts, None)?;
        if !plan.images.is_empty() {
            alone::aside(&plan.root.work, || binds.show_images(mounts, plan))?;
        }
        return Ok(Prepared { root: Root::prepare(&plan.root, plan.file_label())?, nodes: Nodes::new(), users: None });
    };
    let users = pod.users.ok_or_else(|| refused("linux.namespaces: the pod has no user namespace"))?;
    // Before this process leaves the host's mount namespace: what comes from there keeps its peers.
    binds.prepare(mounts, Some((&mappings, users)))?;
    process::new_namespaces(libc::CLONE_NEWNS).node(|| "make a mount namespace".into())?;
    alone::map_layers(plan, users)?;
    binds.show_images(mounts, plan)?;
    let root = Root::prepare_mapped(&plan.root, plan.file_label())?;
    let wanted = devices::wanted(mounts, linux.devices().as_deref().unwrap_or_default())?;
    let nodes = nodes::prepare(wanted, &plan.root.work, &mappings, plan.file_label())?;
    Ok(Prepared { root, nodes, users: Some(users) })
}

/// Makes a directory in a container's root, if it is missing, without leaving the root by whatever links are there.
pub(crate) fn make_directory(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<()> {
    resolve::Confined::to(root).open_or_make(path, resolve::Kind::Directory).map(drop)
}

/// Opens a directory of a container's root or volume (`O_PATH`), without leaving it by whatever links are there.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &Path) -> std::io::Result<OwnedFd> {
    resolve::Confined::to(root).open_directory(path)
}

/// What would silently not happen is refused instead.
fn refuse_unsupported(spec: &Spec) -> Result<(), CallError> {
    let linux = spec.linux().as_ref();
    let owned = crate::users::of_spec(spec).is_some();
    let asked = [
        ("hooks", spec.hooks().is_some()),
        (
            "linux.uidMappings",
            !owned && linux.is_some_and(|l| l.uid_mappings().as_ref().is_some_and(|m| !m.is_empty())),
        ),
        (
            "linux.gidMappings",
            !owned && linux.is_some_and(|l| l.gid_mappings().as_ref().is_some_and(|m| !m.is_empty())),
        ),
        ("linux.intelRdt", linux.is_some_and(|l| l.intel_rdt().is_some())),
        ("linux.netDevices", linux.is_some_and(|l| l.net_devices().as_ref().is_some_and(|d| !d.is_empty()))),
        ("linux.memoryPolicy", linux.is_some_and(|l| l.memory_policy().is_some())),
        ("linux.timeOffsets", linux.is_some_and(|l| l.time_offsets().as_ref().is_some_and(|o| !o.is_empty()))),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(refused(format!("{field}: not supported by the built-in launcher"))),
        None => Ok(()),
    }
}

/// Hides this process and its children from those in namespaces that it is about to join.
fn hide() -> Result<(), CallError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).node(|| "make the launcher undumpable".into())
}

fn fork(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, CallError> {
    // SAFETY: the launcher process is a fork of the single-threaded monitor and has started no thread.
    unsafe { process::fork_sibling(namespaces, cgroup) }.node(|| "make the container's process".into())
}

/// The end of a child that did not become its program.
fn end(result: Result<Infallible, CallError>, channel: &ChildEnd) -> ! {
    match result {
        Ok(never) => match never {},
        Err(error) => channel.failed(error),
    }
    process::exit_now(1)
}

/// Waits for the child's execve. If it fails, waits until the child is gone: its parent, the monitor, reaps it.
fn wait(sibling: Sibling, channel: &LauncherEnd) -> Result<Started, CallError> {
    match channel.wait() {
        Ok(console) => Ok(Started { pid: sibling.pid, console }),
        Err(error) => {
            // It has ended already or is about to, unless it is stuck; then its cgroup could not be removed.
            let _ = pidfd_send_signal(&sibling.pidfd, Signal::KILL);
            let _ = poll(&mut [PollFd::new(&sibling.pidfd, PollFlags::IN)], None);
            Err(error)
        }
    }
}
