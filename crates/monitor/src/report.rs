//! What a short-lived child tells the monitor about the process it starts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::packet;
use crate::protocol::{CallError, MAX_PACKET};

/// One packet of a child's.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// A container is about to be launched: what is needed to kill what there is of it, whatever happens next.
    Begun(Facts),
    /// The process runs. Descriptors: those of [`Streams`], in its order; for an exec'd process with a terminal, the
    /// terminal's master.
    Started {
        /// Its process id.
        pid: i32,
        /// When, in nanoseconds since the Unix epoch.
        at: i64,
        /// A container's streams.
        streams: Option<Streams>,
    },
    /// It does not run, and nothing of it is left.
    Failed(CallError),
}

/// What the monitor keeps of a container's plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// Its cgroup.
    pub cgroup: Option<String>,
    /// How many of its processes the OOM killer had got before the launch.
    pub oom_kills: u64,
    /// The same of all of the pod, as last seen, for when its own cgroup has been removed before it could be looked at.
    pub pod_oom_kills: u64,
    /// Whether it has a PID namespace of its own, so that nothing of it outlives its init.
    pub own_pids: bool,
    /// The runtime that launches it, unless the monitor does.
    pub external: Option<Runtime>,
}

/// An external runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Runtime {
    /// The program.
    pub binary: PathBuf,
    /// Its `--root`.
    pub state: PathBuf,
    /// The container's bundle.
    pub bundle: PathBuf,
    /// Below which its root is mounted.
    pub mounts: PathBuf,
    /// Whether it is to have systemd make the container's cgroup.
    pub systemd: bool,
}

/// The monitor's ends of a container's stdio.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Streams {
    /// The log, first of the descriptors if there is one.
    pub log: Option<PathBuf>,
    /// Whether a terminal's master comes next, instead of the read ends of stdout and stderr.
    pub terminal: bool,
    /// Whether the write end of stdin comes last.
    pub stdin: bool,
    /// The most bytes of one log line.
    pub max_log_line: usize,
}

/// Tells the monitor. If it is gone there is nobody to tell.
pub fn tell(socket: BorrowedFd<'_>, report: &Report, fds: &[OwnedFd]) {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    if let Ok(bytes) = serde_json::to_vec(report) {
        let _ = packet::send(socket, &bytes, &fds, true);
    }
}

/// The next report; `None` when the child has ended.
///
/// # Errors
/// Why it cannot be read.
pub fn hear(socket: BorrowedFd<'_>) -> Result<Option<(Report, Vec<OwnedFd>)>, String> {
    match packet::receive(socket, MAX_PACKET) {
        Ok(Some(packet)) => {
            serde_json::from_slice(&packet.bytes).map(|report| Some((report, packet.fds))).map_err(|e| e.to_string())
        }
        Ok(None) | Err(Errno::CONNRESET) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
