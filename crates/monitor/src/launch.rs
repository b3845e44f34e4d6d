//! What the short-lived children do: read the plan, make the stdio, have the process started, report.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use corten_host::cgroup::{Cgroup, Hierarchies};
use corten_host::mount;
use corten_host::user_namespace::Mappings;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::de::DeserializeOwned;

use crate::external::{self, External};
use crate::launcher::{self, PodHandles, Started, Stdio};
use crate::log::file;
use crate::protocol::{CallError, Exec, Launch, Launcher};
use crate::reap;
use crate::report::{Facts, Report, Runtime, Streams, tell};
use crate::users;

/// The largest plan or filter, in bytes.
const MAX_PLAN: u64 = 16 * 1024 * 1024;

/// The longest log line that is not split, in bytes.
const MAX_LOG_LINE: usize = 1024 * 1024;

/// Launches a container and reports.
pub fn launch(id: &str, mut fds: Vec<OwnedFd>, pod: &PodHandles<'_>, cgroups: &Hierarchies, socket: BorrowedFd<'_>) {
    let outcome = read_plan::<Launch>(&mut fds).and_then(|plan| {
        let seccomp = filter(plan.seccomp, &mut fds)?;
        tell(socket, &Report::Begun(facts(&plan, pod, cgroups)), &[]);
        start(id, &plan, seccomp, pod)
    });
    match outcome {
        Ok((started, fds)) => tell(socket, &started, &fds),
        Err(error) => tell(socket, &Report::Failed(error), &[]),
    }
}

/// Runs the process `id` in a container and reports.
pub fn exec(id: &str, container: &str, mut fds: Vec<OwnedFd>, target: &Target, socket: BorrowedFd<'_>) {
    let outcome = read_plan::<Exec>(&mut fds).and_then(|plan| {
        let stdio = if plan.terminal { None } else { Some(exec_stdio(&mut fds)?) };
        let seccomp = filter(plan.seccomp, &mut fds)?;
        let users = users::of_process(target.init)?;
        give(stdio.as_ref(), Some(&plan.process), users.as_ref())?;
        match &target.facts.external {
            Some(runtime) => external::exec(External { runtime, id: container }, id, &plan, stdio),
            None => launcher::exec(&plan, target.init, stdio, seccomp),
        }
    });
    match outcome {
        Ok(Started { pid, console }) => {
            let fds: Vec<OwnedFd> = console.into_iter().collect();
            tell(socket, &Report::Started { pid, at: reap::now(), streams: None }, &fds);
        }
        Err(error) => tell(socket, &Report::Failed(error), &[]),
    }
}

/// The container that a process is to run in.
#[derive(Debug)]
pub struct Target {
    /// Its init's process id.
    pub init: i32,
    /// What is known of it.
    pub facts: Facts,
}

fn start(
    id: &str,
    plan: &Launch,
    seccomp: Option<OwnedFd>,
    pod: &PodHandles<'_>,
) -> Result<(Report, Vec<OwnedFd>), CallError> {
    let mut fds = Vec::new();
    if let Some(path) = &plan.log {
        fds.push(file::open(path).map_err(|error| node("log", format!("{}: {error}", path.display())))?);
    }
    let terminal = plan.spec.process().as_ref().and_then(Process::terminal).unwrap_or(false);
    let (stdio, ends) = if terminal { (None, Ends::default()) } else { container_stdio(plan.stdin)? };
    give(stdio.as_ref(), plan.spec.process().as_ref(), users::of_spec(&plan.spec).as_ref())?;
    let started = match &plan.launcher {
        Launcher::BuiltIn => launcher::launch(plan, pod, stdio, seccomp)?,
        Launcher::External { binary, state, bundle, mounts, systemd } => {
            let runtime = runtime(binary, state, bundle, mounts, *systemd);
            external::launch(External { runtime: &runtime, id }, plan, pod, stdio)?
        }
    };
    let at = reap::now();
    if let Some(console) = started.console {
        set_non_blocking(&console).map_err(|error| node("terminal", error.to_string()))?;
        fds.push(console);
    }
    fds.extend(ends.outputs);
    let stdin = ends.stdin.is_some();
    fds.extend(ends.stdin);
    let max_log_line = plan.max_log_line.clamp(1, MAX_LOG_LINE);
    let streams = Streams { log: plan.log.clone(), terminal, stdin, max_log_line };
    Ok((Report::Started { pid: started.pid, at, streams: Some(streams) }, fds))
}

/// Makes the process's user in its user namespace the owner of its pipes.
fn give(stdio: Option<&Stdio>, process: Option<&Process>, users: Option<&Mappings>) -> Result<(), CallError> {
    match (stdio, process, users) {
        (Some(stdio), Some(process), Some(mappings)) => users::give(stdio, process.user(), mappings)
            .map_err(|error| node("stdio", format!("give it to the user: {error}"))),
        _ => Ok(()),
    }
}

/// The monitor's ends of a container's pipes.
#[derive(Default)]
struct Ends {
    outputs: Vec<OwnedFd>,
    stdin: Option<OwnedFd>,
}

fn container_stdio(stdin_open: bool) -> Result<(Option<Stdio>, Ends), CallError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| node("stdio", format!("pipe: {error}")));
    let (stdin, stdin_end) = if stdin_open {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        let null = mount::null_device().map_err(|error| node("stdio", format!("/dev/null: {error}")))?;
        (null, None)
    };
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    for end in [Some(&out), Some(&err), stdin_end.as_ref()].into_iter().flatten() {
        set_non_blocking(end).map_err(|error| node("stdio", error.to_string()))?;
    }
    Ok((Some(Stdio { stdin, stdout, stderr }), Ends { outputs: vec![out, err], stdin: stdin_end }))
}

/// Only the monitor's end becomes non-blocking: the two ends of a pipe are different open files.
fn set_non_blocking(fd: &OwnedFd) -> rustix::io::Result<()> {
    rustix::fs::fcntl_getfl(fd).and_then(|flags| rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK))
}

fn exec_stdio(fds: &mut Vec<OwnedFd>) -> Result<Stdio, CallError> {
    if fds.len() < 3 {
        return Err(bad(format!("exec without a terminal takes stdin, stdout and stderr, but {} came", fds.len())));
    }
    let mut three = fds.drain(..3);
    match (three.next(), three.next(), three.next()) {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok(Stdio { stdin, stdout, stderr }),
        _ => Err(bad("descriptors are missing".to_owned())),
    }
}

fn filter(comes: bool, fds: &mut Vec<OwnedFd>) -> Result<Option<OwnedFd>, CallError> {
    match (comes, fds.len()) {
        (false, 0) => Ok(None),
        (true, 1) => Ok(fds.pop()),
        (true, 0) => Err(bad("the seccomp filter's descriptor is missing".to_owned())),
        (_, n) => Err(bad(format!("{n} descriptors more than the plan speaks of"))),
    }
}

fn facts(plan: &Launch, pod: &PodHandles<'_>, cgroups: &Hierarchies) -> Facts {
    let cgroup = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().as_ref())
        .and_then(|path| path.to_str().map(str::to_owned));
    let found = cgroup.as_ref().and_then(|path| cgroups.cgroup(path).ok());
    let oom_kills = found.as_ref().map_or(0, Cgroup::oom_kills);
    let pod_oom_kills = found.as_ref().map_or(0, Cgroup::oom_kills_beside);
    let external = match &plan.launcher {
        Launcher::BuiltIn => None,
        Launcher::External { binary, state, bundle, mounts, systemd } => {
            Some(runtime(binary, state, bundle, mounts, *systemd))
        }
    };
    // With a pod-wide PID namespace, one without a path is that one.
    let own_pids = pod.init_pid.is_none() && has_own_pids(&plan.spec);
    Facts { cgroup, oom_kills, pod_oom_kills, own_pids, external }
}

fn runtime(binary: &Path, state: &Path, bundle: &Path, mounts: &Path, systemd: bool) -> Runtime {
    let [binary, state, bundle, mounts] = [binary, state, bundle, mounts].map(Path::to_owned);
    Runtime { binary, state, bundle, mounts, systemd }
}

fn has_own_pids(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    namespaces.is_some_and(|namespaces| {
        namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none())
    })
}

/// Takes the first descriptor and reads its JSON.
fn read_plan<T: DeserializeOwned>(fds: &mut Vec<OwnedFd>) -> Result<T, CallError> {
    if fds.is_empty() {
        return Err(bad("the plan's descriptor is missing".to_owned()));
    }
    let bytes = read_memfd(fds.remove(0)).map_err(|error| bad(format!("the plan: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("the plan: {error}")))
}

/// Everything in a memfd, from its beginning.
///
/// # Errors
/// If it is not a regular file, too large or cannot be read.
pub fn read_memfd(fd: OwnedFd) -> Result<Vec<u8>, String> {
    let file = File::from(fd);
    let metadata = file.metadata().map_err(|error| format!("fstat: {error}"))?;
    if !metadata.is_file() {
        return Err("not a memfd".to_owned());
    }
    if metadata.len() > MAX_PLAN {
        return Err(format!("{} bytes are more than the {MAX_PLAN} allowed", metadata.len()));
    }
    let mut bytes = vec![0; usize::try_from(metadata.len()).map_err(|error| error.to_string())?];
    file.read_exact_at(&mut bytes, 0).map_err(|error| format!("read: {error}"))?;
    Ok(bytes)
}

/// A bad request.
pub fn bad(error: String) -> CallError {
    CallError::BadRequest { error }
}

/// The node's fault.
pub fn node(step: &str, error: String) -> CallError {
    CallError::Node { step: step.to_owned(), error }
}
