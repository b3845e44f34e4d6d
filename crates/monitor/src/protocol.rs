//! What `cortend` and a pod's monitor say to each other.
//!
//! One `SOCK_SEQPACKET` unix socket per pod, `monitor.sock` in the pod's state directory, which the daemon binds and
//! the monitor inherits listening. Every packet is one JSON document of at most [`MAX_PACKET`] bytes, with the file
//! descriptors it speaks of attached (`SCM_RIGHTS`). The daemon sends [`Request`], the monitor [`Message`]. Anything
//! large (an OCI spec, a seccomp filter) travels as a descriptor of a sealed memfd.
//!
//! The monitor holds no state on disk: what it knows it tells anybody who connects ([`Call::State`]), so a restarted
//! daemon misses nothing. Several connections may be open at once; exits are told to all of them.

use std::path::{Path, PathBuf};

use corten_host::user_namespace::Mappings;
use oci_spec::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

/// The version of this protocol. A daemon refuses a monitor of a newer one; a monitor outlives daemon upgrades.
pub const VERSION: u32 = 1;

/// The largest packet, in bytes.
pub const MAX_PACKET: usize = 64 * 1024;

/// The monitor's arguments: `corten-monitor <pod id>`, so that a person sees in `ps` whose monitor it is, with these
/// descriptors inherited at fixed numbers.
pub mod inherited {
    /// The listening `SOCK_SEQPACKET` socket.
    pub const LISTENER: i32 = 3;
    /// The first connection, one end of a socket pair: [`super::Message::Hello`] or [`super::Message::Failed`] comes
    /// over it when the pod is set up or could not be.
    pub const FIRST: i32 = 4;
    /// A memfd with the JSON of [`super::PodPlan`].
    pub const PLAN: i32 = 5;
}

/// What the monitor sets up for the whole pod before it says [`Message::Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodPlan {
    /// The pod sandbox's id.
    pub id: String,
    /// The hostname to set in a UTS namespace of the pod's own; `None` keeps the host's UTS namespace.
    pub hostname: Option<String>,
    /// Whether the pod has an IPC namespace (and a `/dev/shm`) of its own.
    pub private_ipc: bool,
    /// Whether the pod's containers share one PID namespace; its init is then the monitor's own.
    pub shared_pid: bool,
    /// The pod's network namespace file; `None` for the host's network.
    pub netns: Option<PathBuf>,
    /// The ids of the pod's user namespace, which owns its other namespaces; `None` keeps the host's. With a network
    /// namespace it is the one that owns that.
    #[serde(default)]
    pub users: Option<Mappings>,
    /// Sysctls to write in the pod's namespaces (dotted names).
    pub sysctls: Vec<(String, String)>,
    /// The cgroup, below each hierarchy's root, that the monitor moves itself (and the pod's init) to. Created if missing.
    pub cgroup: Option<String>,
    /// Whether the monitor was started in that cgroup of the v2 hierarchy already.
    #[serde(default)]
    pub in_v2: bool,
    /// Size limit of the pod's `/dev/shm` in bytes.
    pub shm_size: u64,
    /// The SELinux label of its files; `None` for what the kernel gives them.
    #[serde(default)]
    pub shm_label: Option<String>,
    /// The `oom_score_adj` to ask for, clamped to what is allowed.
    pub oom_score_adj: i32,
}

/// A request, answered by one [`Message::Reply`] with the same `seq`. Requests are answered as they finish, not in order.
///
/// A packet that is no request is answered with [`CallError::BadRequest`], and with `seq` 0 if it has none that can be read.
/// A client that lets more than 256 messages or 1 MiB of them wait unread is disconnected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the daemon, unique on its connection, not 0.
    pub seq: u64,
    /// What is asked.
    pub call: Call,
}

/// What the daemon may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// What do you hold? Answered with [`Answer::State`].
    State,
    /// Launch a container. Descriptors: a memfd with the JSON of [`Launch`]; then, if [`Launch::seccomp`], a memfd
    /// with the compiled filter (an array of `struct sock_filter`). Answered with [`Answer::Launched`] after the
    /// container's `execve` has succeeded. The launch goes on if the connection ends meanwhile. On failure nothing of
    /// it is left, and the id is free again. A pod has at most 200 containers that are not forgotten.
    Launch {
        /// The container's id: at most 128 letters, digits, `-`, `_` and `.`.
        container: String,
    },
    /// Run a process in a container. Descriptors: a memfd with the JSON of [`Exec`]; stdin, stdout and stderr as the
    /// process shall have them (with [`Exec::terminal`] none: a pty is made and its master end comes with the reply);
    /// then, if [`Exec::seccomp`], the compiled filter. Answered with [`Answer::Launched`].
    Exec {
        /// The container's id.
        container: String,
        /// This process's id, unique in the pod.
        exec: String,
    },
    /// Send a signal to a container's init, or to an exec'd process.
    Signal {
        /// The container's id.
        container: String,
        /// An exec'd process instead of the container's init.
        exec: Option<String>,
        /// The signal's number.
        signal: i32,
        /// Everything in it: for a container all its processes (by its cgroup), for an exec its process group.
        all: bool,
    },
    /// Open the container's log file afresh (after rotation). Answered when that is done; the file that was open stays
    /// in use if it fails. A container that has ended is [`CallError::NotRunning`].
    ReopenLog {
        /// The container's id.
        container: String,
    },
    /// Forget an exited container: its exit has been recorded. [`CallError::BadRequest`] if it has not exited.
    Forget {
        /// The container's id.
        container: String,
    },
    /// Follow a container's output, from now on, and reach its stdin. Descriptor: one end of a `SOCK_SEQPACKET` socket
    /// pair, which the monitor keeps and sends the output over as packets (see [`attached`]). It never waits for the
    /// other end: whoever has no room for a packet (`SO_SNDBUF`) is cut off. It reads nothing; that the other end is
    /// closed, or shut down for writing, is the end of it. Answered with [`Answer::Attached`]; descriptors with it: the
    /// terminal's master if the container has a terminal, else the write end of its stdin if that is held open. They are
    /// duplicates of the monitor's and non-blocking, which has to stay so, and nobody but the monitor may read from the
    /// master. At most 64 at once for one container. A monitor that is older than this call answers with
    /// [`CallError::BadRequest`].
    Attach {
        /// The container's id.
        container: String,
    },
    /// Close the monitor's end of a container's stdin, for good: the container reads its end once the duplicates that
    /// came with [`Answer::Attached`] are closed too. It is no error if it is closed already. With a terminal there is
    /// nothing to close, and for a monitor that is older than this call: [`CallError::BadRequest`].
    CloseStdin {
        /// The container's id.
        container: String,
    },
    /// Kill whatever is left and end. Exits are told on the way; answered when nothing is left, or with
    /// [`CallError::Node`] after 8 seconds if something is (a process stuck in the kernel). The connection closes then.
    Leave,
}

/// How to launch a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The OCI runtime spec. `linux.seccomp` is ignored by the built-in launcher in favour of the compiled filter.
    /// A bind mount whose source is [`POD_SHM`] is the pod's own `/dev/shm`, and [`image_source`] one of `images`. A user namespace has no path: it is the
    /// pod's, whose ids `linux.uidMappings` and `linux.gidMappings` repeat.
    pub spec: Spec,
    /// The container's root filesystem.
    pub root: OverlayRoot,
    /// What its mounts show of images.
    #[serde(default)]
    pub images: Vec<ImageMount>,
    /// Whether a compiled seccomp filter comes with the request.
    pub seccomp: bool,
    /// The `SECCOMP_FILTER_FLAG_*` bits to load it with: TSYNC, LOG, SPEC_ALLOW. `None`, as an older daemon has it, for the
    /// runtime's choice.
    #[serde(default)]
    pub seccomp_flags: Option<u32>,
    /// Who launches.
    pub launcher: Launcher,
    /// Whether stdin is held open (a pipe that the monitor keeps, for attach); otherwise it is /dev/null.
    pub stdin: bool,
    /// Where the CRI-format log goes; `None` for no log.
    pub log: Option<PathBuf>,
    /// The most bytes of one log line before it is split into partials (`P`).
    pub max_log_line: usize,
}

impl Launch {
    /// The SELinux label that the container's own file systems shall have.
    pub fn file_label(&self) -> Option<&str> {
        self.spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty())
    }
}

/// The source of the mount that stands for the pod's `/dev/shm`.
pub const POD_SHM: &str = "corten:pod-shm";

/// A container's root: an overlay of read-only layers below a writable one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OverlayRoot {
    /// Read-only layers, topmost first. At least one.
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// Overlayfs's work directory, on the same filesystem as `upper`.
    pub work: PathBuf,
    /// Directories to be in it, made where the image has none: the volumes that it declares.
    #[serde(default)]
    pub directories: Vec<PathBuf>,
}

/// An image as a volume: its layers merged, read-only. In a user namespace their files have the owners that it gives them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// The layers, topmost first. At least two.
    pub layers: Vec<PathBuf>,
    /// The directory of it to show; links and `..` lead nowhere outside. `None` shows everything.
    pub sub_path: Option<PathBuf>,
}

/// What the sources begin with that stand for images.
const IMAGE: &str = "corten:image/";

/// The source of the mount that stands for the image with this number in [`Launch::images`].
pub fn image_source(number: usize) -> PathBuf {
    format!("{IMAGE}{number}").into()
}

/// The number of the image that the source of a mount stands for, if it does for one.
pub fn image_number(source: &Path) -> Option<usize> {
    source.to_str()?.strip_prefix(IMAGE)?.parse().ok()
}

/// Who launches a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Launcher {
    /// This monitor.
    BuiltIn,
    /// A runc-compatible program.
    External {
        /// The program.
        binary: PathBuf,
        /// Its `--root`.
        state: PathBuf,
        /// The bundle directory: exists, on the daemon's state tmpfs; the monitor writes `config.json` there.
        bundle: PathBuf,
        /// A directory below which the monitor mounts the container's root, in a mount namespace of its own.
        mounts: PathBuf,
        /// Whether it is to have systemd make the container's cgroup.
        #[serde(default)]
        systemd: bool,
    },
}

/// A process to run in a running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The process, as in the OCI runtime spec.
    pub process: Process,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether a compiled seccomp filter comes with the request.
    pub seccomp: bool,
    /// The `SECCOMP_FILTER_FLAG_*` bits to load it with: TSYNC, LOG, SPEC_ALLOW. `None`, as an older daemon has it, for the
    /// runtime's choice.
    #[serde(default)]
    pub seccomp_flags: Option<u32>,
}

/// What the monitor says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// First on every connection.
    Hello {
        /// [`VERSION`] as the monitor was built with.
        version: u32,
        /// The pod's id.
        pod: String,
        /// The monitor's process id.
        pid: i32,
        /// The process id, in the host's namespace, of the init of the pod's PID namespace, if it has one.
        init_pid: Option<i32>,
    },
    /// The pod could not be set up; the monitor ends.
    Failed {
        /// Which step, and why.
        error: String,
    },
    /// The answer to a request. Descriptors as the call says.
    Reply {
        /// The request's.
        seq: u64,
        /// The outcome.
        result: Result<Answer, CallError>,
    },
    /// A container's init ended, or an exec'd process did. A container's comes when its output up to the exit is in
    /// its log (but 5 seconds after the exit at the latest), and stays in [`Answer::State`] until [`Call::Forget`]; an
    /// exec'd process's is told once, to the connections that are open, after the reply to its [`Call::Exec`].
    Exited {
        /// The container's id.
        container: String,
        /// The exec'd process, if it was one.
        exec: Option<String>,
        /// When the container was started, in nanoseconds since the Unix epoch: its exit may be told before its launch is
        /// answered. Nothing of an exec'd process, and from a monitor of 0.1.0.
        #[serde(default)]
        started: Option<i64>,
        /// How.
        exit: Exit,
    },
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Done, nothing more to say.
    Done,
    /// The answer to [`Call::State`].
    State {
        /// Every container launched and not forgotten.
        containers: Vec<Held>,
    },
    /// A process runs.
    Launched {
        /// Its id in the host's PID namespace.
        pid: i32,
        /// When it was started, in nanoseconds since the Unix epoch.
        at: i64,
    },
    /// A container's output is followed: whatever it says after this answer comes over the socket.
    Attached {
        /// Whether the container has a terminal.
        terminal: bool,
        /// Whether a descriptor for its input comes with this.
        stdin: bool,
    },
}

/// Packets on the socket of a [`Call::Attach`]: the first byte says what the rest is. A socket that is closed without
/// [`END`](attached::END) was cut off, or the monitor is gone: something may be missing.
pub mod attached {
    /// The output is complete: everything up to the container's end has come. Nothing follows.
    pub const END: u8 = 0;
    /// Bytes of standard output, or of the terminal.
    pub const STDOUT: u8 = 1;
    /// Bytes of standard error.
    pub const STDERR: u8 = 2;
    /// The most bytes after the first.
    pub const MAX_DATA: usize = 16 * 1024;
}

/// A container that the monitor holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The container's id.
    pub container: String,
    /// Its state.
    pub state: HeldState,
}

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HeldState {
    /// Being launched.
    Launching,
    /// Running.
    Running {
        /// Its init's id in the host's PID namespace.
        pid: i32,
        /// When it was started, in nanoseconds since the Unix epoch.
        at: i64,
    },
    /// Ended.
    Exited {
        /// Its init's former process id.
        pid: i32,
        /// When it was started, in nanoseconds since the Unix epoch.
        started: i64,
        /// How it ended.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, 128 + signal if a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel's OOM killer struck in its cgroup since the launch; for an exec'd process, whether it ended by
    /// SIGKILL and the killer had struck since the last such end.
    pub oom: bool,
    /// When, in nanoseconds since the Unix epoch.
    pub at: i64,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CallError {
    /// The pod has no such container or exec'd process.
    #[error("{what} not found in this pod")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The process has ended already.
    #[error("{what} is not running")]
    NotRunning {
        /// What was asked for.
        what: String,
    },
    /// The container's own fault (no such program, no permission to run it, a working directory that is a file, ...).
    #[error("{step}: {error}")]
    Container {
        /// The step that failed.
        step: String,
        /// Why.
        error: String,
    },
    /// The node's fault.
    #[error("{step}: {error}")]
    Node {
        /// The step that failed.
        step: String,
        /// Why.
        error: String,
    },
    /// The request cannot be understood.
    #[error("bad request: {error}")]
    BadRequest {
        /// Why.
        error: String,
    },
}
