//! The daemon's end of a pod's monitor: starting it, finding it again, asking it, hearing of exits.

mod packet;
mod program;
mod socket;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corten_monitor::protocol::{Answer, Call, CallError, Exec, Exit, Held, Launch, Message, PodPlan, Request, VERSION};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Result};
use crate::operation::lock;

pub use program::Program;

/// How long a monitor may take to set its pod up, and to answer when it is found again.
const HELLO: Duration = Duration::from_secs(30);

/// How long a monitor may take for what it does at once.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a monitor may take to leave before it is killed.
const LEAVE: Duration = Duration::from_secs(10);

/// What a monitor tells unasked.
#[derive(Debug)]
pub enum Event {
    /// A container's init ended.
    Exited {
        /// The container's id.
        container: String,
        /// When it was started, in nanoseconds since the Unix epoch, if the monitor says so.
        started: Option<i64>,
        /// How.
        exit: Exit,
    },
    /// The monitor is gone.
    Gone,
}

/// A connection to a pod's monitor.
pub struct Monitor {
    /// Its process id.
    pub pid: i32,
    /// The process id of the init of the pod's PID namespace, if it has one.
    pub init_pid: Option<i32>,
    process: OwnedFd,
    link: Arc<Link>,
}

struct Link {
    socket: AsyncFd<OwnedFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    open: watch::Sender<bool>,
}

/// An answer, with the descriptors that came with it.
type Reply = (Result<Answer, CallError>, Vec<OwnedFd>);

#[derive(Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    execs: HashMap<String, oneshot::Sender<Exit>>,
}

/// A process that a monitor started, with how it will end.
pub struct Running {
    /// Its process id.
    pub pid: i32,
    /// Its terminal's master, if it has a terminal.
    pub terminal: Option<OwnedFd>,
    /// Resolves when it has ended; an error when the monitor is gone.
    pub exit: oneshot::Receiver<Exit>,
}

/// What a client of a container's output gets, and may write to.
#[derive(Debug)]
pub struct Attached {
    /// Where the output comes, as [`corten_monitor::protocol::attached`] says.
    pub output: OwnedFd,
    /// Its input: the write end of its stdin or its terminal's master.
    pub input: Option<OwnedFd>,
    /// Whether it has a terminal.
    pub terminal: bool,
}

impl Monitor {
    /// Starts the program for a pod, in a cgroup of the v2 hierarchy. `directory` is the pod's state directory. Events go
    /// to `events`.
    pub async fn start(
        program: &Arc<Program>,
        directory: &Path,
        plan: &PodPlan,
        cgroup: Option<OwnedFd>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Self> {
        let (ours, theirs) = socket::socket_pair()?;
        let inherited = [socket::listener(directory)?, theirs, memfd("plan", plan)?];
        let (task_program, log, id) = (program.clone(), log_file(directory)?, plan.id.clone());
        let spawned = tokio::task::spawn_blocking(move || task_program.spawn(&id, &log, &inherited, cgroup)).await;
        let pid = spawned.unwrap_or_else(|error| Err(Error::node("monitor", error)))?;
        let process = open_process(pid)?;
        let greeted = Self::greet(ours, process, &plan.id, events).await;
        match greeted {
            Ok(greeted) => Ok(greeted),
            Err(error) => {
                kill_and_reap(pid).await;
                Err(with_log(error, directory))
            }
        }
    }

    /// Finds the monitor of the pod `id` again; `None` if there is none.
    pub async fn find(directory: &Path, id: &str, events: mpsc::UnboundedSender<Event>) -> Result<Option<Self>> {
        let Some(socket) = socket::find(directory)? else { return Ok(None) };
        let socket = asynchronous(socket)?;
        let (pid, init_pid) = hello(&socket, id).await?;
        let process = open_process(pid)?;
        Ok(Some(Self::serve(socket, pid, init_pid, process, events)))
    }

    async fn greet(socket: OwnedFd, process: OwnedFd, id: &str, events: mpsc::UnboundedSender<Event>) -> Result<Self> {
        let socket = asynchronous(socket)?;
        let (pid, init_pid) = hello(&socket, id).await?;
        Ok(Self::serve(socket, pid, init_pid, process, events))
    }

    fn serve(
        socket: AsyncFd<OwnedFd>,
        pid: i32,
        init_pid: Option<i32>,
        process: OwnedFd,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (open, _) = watch::channel(true);
        let link = Arc::new(Link { socket, next: AtomicU64::new(1), waiting: Mutex::default(), open });
        tokio::spawn(read(link.clone(), events));
        Self { pid, init_pid, process, link }
    }

    /// Whether the connection stands.
    pub fn is_open(&self) -> bool {
        *self.link.open.borrow()
    }

    /// Launches a container; returns its init's process id and the start time.
    pub async fn launch(
        &self,
        container: &str,
        launch: &Launch,
        seccomp: Option<BorrowedFd<'_>>,
    ) -> Result<(i32, i64), CallError> {
        let plan = memfd("launch", launch).map_err(node_error)?;
        let mut fds = vec![plan.as_fd()];
        fds.extend(seccomp);
        let (answer, _) = self.call(Call::Launch { container: container.to_owned() }, &fds).await?;
        launched(answer)
    }

    /// Runs a process in a container, with `stdio` as its standard streams; none if [`Exec::terminal`].
    pub async fn exec(
        &self,
        container: &str,
        id: &str,
        exec: &Exec,
        stdio: &[BorrowedFd<'_>],
        seccomp: Option<BorrowedFd<'_>>,
    ) -> Result<Running, CallError> {
        let plan = memfd("exec", exec).map_err(node_error)?;
        let mut fds = vec![plan.as_fd()];
        fds.extend(stdio);
        fds.extend(seccomp);
        let (sender, exit) = oneshot::channel();
        lock(&self.link.waiting).execs.insert(id.to_owned(), sender);
        let call = Call::Exec { container: container.to_owned(), exec: id.to_owned() };
        let started = self.call(call, &fds).await.and_then(|(answer, fds)| Ok((launched(answer)?, fds)));
        match started {
            Ok(((pid, _), fds)) => Ok(Running { pid, terminal: fds.into_iter().next(), exit }),
            Err(error) => {
                lock(&self.link.waiting).execs.remove(id);
                Err(error)
            }
        }
    }

    /// Follows a container's output from now on. At most `buffer` bytes of it wait to be read; then the client is cut off.
    pub async fn attach(&self, container: &str, buffer: usize) -> Result<Attached, CallError> {
        let (output, theirs) = socket::stream_of_packets(buffer).map_err(node_error)?;
        let (call, fds) = (Call::Attach { container: container.to_owned() }, [theirs.as_fd()]);
        let answered = tokio::time::timeout(ANSWER, self.call(call, &fds)).await.map_err(|_| self.silent())?;
        match answered? {
            (Answer::Attached { terminal, .. }, fds) => {
                Ok(Attached { output, input: fds.into_iter().next(), terminal })
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Closes a container's stdin.
    pub async fn close_stdin(&self, container: &str) -> Result<(), CallError> {
        self.quick_call(Call::CloseStdin { container: container.to_owned() }).await.map(drop)
    }

    /// Opens a container's log path again.
    pub async fn reopen_log(&self, container: &str) -> Result<(), CallError> {
        self.quick_call(Call::ReopenLog { container: container.to_owned() }).await.map(drop)
    }

    /// Signals a container's init, or all its processes.
    pub async fn signal(&self, container: &str, signal: i32, all: bool) -> Result<(), CallError> {
        let call = Call::Signal { container: container.to_owned(), exec: None, signal, all };
        self.quick_call(call).await.map(drop)
    }

    /// Kills an exec'd process and its process group.
    pub async fn kill_exec(&self, container: &str, exec: &str) -> Result<(), CallError> {
        let (container, exec) = (container.to_owned(), Some(exec.to_owned()));
        let call = Call::Signal { container, exec, signal: Signal::KILL.as_raw(), all: true };
        self.quick_call(call).await.map(drop)
    }

    /// Lets the monitor drop an exited container.
    pub async fn forget(&self, container: &str) -> Result<(), CallError> {
        self.quick_call(Call::Forget { container: container.to_owned() }).await.map(drop)
    }

    /// What the monitor holds.
    pub async fn state(&self) -> Result<Vec<Held>, CallError> {
        match self.quick_call(Call::State).await? {
            Answer::State { containers } => Ok(containers),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends the monitor, and with it whatever it holds. Returns when the process is gone.
    pub async fn leave(&self) -> Result<()> {
        let leaving = async {
            // An error means that it is going already.
            let _ = self.call(Call::Leave, &[]).await;
            self.ended().await;
        };
        if tokio::time::timeout(LEAVE, leaving).await.is_err() {
            tracing::warn!(pid = self.pid, "the monitor does not leave: killed");
            let _ = pidfd_send_signal(&self.process, Signal::KILL);
            self.ended().await;
        }
        self.reap();
        Ok(())
    }

    /// Whether its process ends in this time.
    pub async fn ends_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.ended()).await.is_ok()
    }

    /// Kills the monitor, if it still runs, and reaps it.
    pub async fn kill(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        self.ended().await;
        self.reap();
    }

    async fn ended(&self) {
        let Ok(process) = self.process.try_clone().and_then(register) else { return };
        let _ = process.readable().await;
    }

    /// A monitor that an earlier daemon started is not our child: ECHILD is fine.
    fn reap(&self) {
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }

    /// A call that a monitor answers at once, unless it is stopped or starved.
    async fn quick_call(&self, call: Call) -> Result<Answer, CallError> {
        match tokio::time::timeout(ANSWER, self.call(call, &[])).await {
            Ok(answered) => answered.map(|(answer, _)| answer),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> CallError {
        node_error(format!("the pod's monitor, process {}, gives no answer in {ANSWER:?}", self.pid))
    }

    async fn call(&self, call: Call, fds: &[BorrowedFd<'_>]) -> Result<(Answer, Vec<OwnedFd>), CallError> {
        let seq = self.link.next.fetch_add(1, Ordering::Relaxed);
        let packet = serde_json::to_vec(&Request { seq, call }).map_err(node_error)?;
        let (sender, reply) = oneshot::channel();
        lock(&self.link.waiting).replies.insert(seq, sender);
        if let Err(error) = packet::send(&self.link.socket, &packet, fds).await {
            lock(&self.link.waiting).replies.remove(&seq);
            return Err(node_error(error));
        }
        if !self.is_open() {
            lock(&self.link.waiting).replies.remove(&seq);
        }
        let (result, fds) = reply.await.map_err(|_| node_error("the pod's monitor is gone"))?;
        Ok((result?, fds))
    }
}

/// Reads what the monitor says until it is gone.
async fn read(link: Arc<Link>, events: mpsc::UnboundedSender<Event>) {
    let mut buffer = Vec::new();
    while let Ok(Some(fds)) = packet::receive(&link.socket, &mut buffer).await {
        match serde_json::from_slice(&buffer) {
            Ok(Message::Reply { seq, result }) => {
                if let Some(waiter) = lock(&link.waiting).replies.remove(&seq) {
                    let _ = waiter.send((result, fds));
                }
            }
            Ok(Message::Exited { container, exec: None, started, exit }) => {
                let _ = events.send(Event::Exited { container, started, exit });
            }
            Ok(Message::Exited { exec: Some(exec), exit, .. }) => {
                if let Some(waiter) = lock(&link.waiting).execs.remove(&exec) {
                    let _ = waiter.send(exit);
                }
            }
            Ok(Message::Hello { .. } | Message::Failed { .. }) => {}
            Err(error) => tracing::warn!(%error, "a monitor's packet cannot be understood"),
        }
        // An idle pod costs no buffer.
        buffer = Vec::new();
    }
    link.open.send_replace(false);
    *lock(&link.waiting) = Waiting::default();
    let _ = events.send(Event::Gone);
}

async fn hello(socket: &AsyncFd<OwnedFd>, id: &str) -> Result<(i32, Option<i32>)> {
    let failed = |why: &dyn std::fmt::Display| Error::node("monitor", why);
    let mut buffer = Vec::new();
    let received = tokio::time::timeout(HELLO, packet::receive(socket, &mut buffer)).await;
    match received {
        Err(_) => return Err(failed(&"no greeting in time")),
        Ok(Err(error)) => return Err(failed(&error)),
        Ok(Ok(None)) => return Err(failed(&"it ended before its greeting")),
        Ok(Ok(Some(_))) => {}
    }
    match serde_json::from_slice(&buffer).map_err(|error| failed(&error))? {
        Message::Hello { version, .. } if version > VERSION => {
            Err(failed(&format!("it speaks version {version}, this daemon {VERSION}")))
        }
        Message::Hello { pod, pid, init_pid, .. } if pod == id => Ok((pid, init_pid)),
        Message::Hello { pod, .. } => Err(failed(&format!("it belongs to pod {pod}"))),
        Message::Failed { error } => Err(match error.strip_prefix("sysctl: ") {
            Some(why) => Error::Invalid { field: "config.linux.sysctls".into(), value: String::new(), why: why.into() },
            None => failed(&error),
        }),
        other => Err(failed(&format!("unexpected greeting {other:?}"))),
    }
}

fn launched(answer: Answer) -> Result<(i32, i64), CallError> {
    match answer {
        Answer::Launched { pid, at } => Ok((pid, at)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> CallError {
    node_error(format!("unexpected answer {answer:?}"))
}

fn node_error(error: impl ToString) -> CallError {
    CallError::Node { step: "monitor".into(), error: error.to_string() }
}

fn asynchronous(socket: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    register(socket).map_err(|error| Error::node("monitor socket", error))
}

/// For the reactor. The constructor is deprecated because a descriptor's owner might close it early or give out another;
/// an [`OwnedFd`] does neither, so it is sound here, and the one that replaces it is `unsafe`, which this crate is not.
#[expect(deprecated)]
pub(crate) fn register(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

fn open_process(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| Error::node("monitor", "it has no process id"))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| Error::node("pidfd_open of the monitor", error))
}

async fn kill_and_reap(pid: i32) {
    let Ok(process) = open_process(pid) else { return };
    let _ = pidfd_send_signal(&process, Signal::KILL);
    let Ok(process) = register(process) else { return };
    let _ = process.readable().await;
    let _ = waitid(WaitId::PidFd(process.get_ref().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

fn memfd(name: &str, content: &impl Serialize) -> Result<OwnedFd> {
    let failed = |error: &dyn std::fmt::Display| Error::node(format!("memfd {name}"), error);
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).map_err(|error| failed(&error))?;
    let json = serde_json::to_vec(content).map_err(|error| failed(&error))?;
    let mut file = File::from(fd);
    file.write_all(&json).map_err(|error| failed(&error))?;
    std::io::Seek::rewind(&mut file).map_err(|error| failed(&error))?;
    Ok(file.into())
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("monitor.log")
}

fn log_file(directory: &Path) -> Result<File> {
    let path = log_path(directory);
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::node(format!("open {}", path.display()), error))
}

/// An error of the monitor's start, with what it wrote to its log.
fn with_log(error: Error, directory: &Path) -> Error {
    let log = std::fs::read_to_string(log_path(directory)).unwrap_or_default();
    match (log.lines().last(), error) {
        (Some(last), Error::Node { step, why }) => {
            Error::Node { step, why: format!("{why}; its log ends with: {last}") }
        }
        (_, error) => error,
    }
}
