//! What the monitor knows of a container and of processes run in it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::log::attached::Attached;
use crate::log::file::LogFile;
use crate::log::format::Source;
use crate::log::{Log, Output, Stream};
use crate::protocol::{Exit, Held, HeldState};
use crate::report::{Facts, Streams};

/// A process that the monitor is the parent of and has not reaped: its id cannot mean another one.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// The process with this id. Without a pidfd (they have run out, say) the id has to do.
    pub fn new(pid: i32) -> Self {
        let pidfd = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self { pid, pidfd }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) says.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // SAFETY: integers and a null pointer; the process is not reaped yet, so that its id is its own.
        let sent = unsafe {
            match &self.pidfd {
                Some(pidfd) => {
                    let none = std::ptr::null::<libc::siginfo_t>();
                    libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0)
                }
                None => libc::c_long::from(libc::kill(self.pid, signal)),
            }
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a signal to the process group that it leads.
    ///
    /// # Errors
    /// What kill(2) says.
    pub fn signal_group(&self, signal: i32) -> io::Result<()> {
        // SAFETY: two integers; the leader is not reaped, so that the group is its own.
        if unsafe { libc::kill(-self.pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Where a container is.
#[derive(Debug)]
pub enum State {
    /// A child is launching it.
    Launching,
    /// Its init runs.
    Running {
        /// Its init.
        init: Process,
        /// When it was started.
        started: i64,
    },
    /// Its init has ended; its last output is being written and its runtime's state removed. Not yet told.
    Ending {
        /// Its init's former id.
        pid: i32,
        /// When it was started.
        started: i64,
        /// How it ended.
        exit: Exit,
        /// Whether an external runtime's `delete` is still to finish.
        deleting: bool,
    },
    /// Ended, and told.
    Exited {
        /// Its init's former id.
        pid: i32,
        /// When it was started.
        started: i64,
        /// How it ended.
        exit: Exit,
    },
}

/// What a container's stdin is connected to, as the monitor holds it.
#[derive(Debug)]
pub enum Input {
    /// Nothing, or nothing any longer.
    Closed,
    /// The write end of a non-blocking pipe.
    Pipe(OwnedFd),
    /// The terminal's master, which is the output's too.
    Terminal(Arc<OwnedFd>),
}

impl Input {
    /// A descriptor to write to, for a client.
    ///
    /// # Errors
    /// If it cannot be duplicated.
    pub fn duplicate(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Closed => Ok(None),
            Self::Pipe(pipe) => pipe.try_clone().map(Some),
            Self::Terminal(master) => master.try_clone().map(Some),
        }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// A container.
#[derive(Debug)]
pub struct Container {
    /// The monitor's number for it, in events.
    pub number: u32,
    /// Where it is.
    pub state: State,
    /// What the child that launches it has found in its plan.
    pub facts: Option<Facts>,
    /// Its output.
    pub log: Log,
    /// Those that follow its output.
    pub attached: Arc<Attached>,
    /// Its stdin.
    pub input: Input,
    /// Requests that wait for the log to be reopened.
    pub reopening: Vec<Caller>,
    /// Processes run in it, by their ids.
    pub execs: BTreeMap<String, Process>,
    /// The OOM killer's strikes as last seen.
    pub oom_seen: u64,
    /// Whether it was sent SIGKILL by the monitor.
    pub killed: bool,
}

/// Who made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The connection's number.
    pub client: u32,
    /// The request's.
    pub seq: u64,
}

impl Container {
    /// One that is being launched.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            state: State::Launching,
            facts: None,
            log: Log::Finished,
            attached: Arc::default(),
            input: Input::Closed,
            reopening: Vec::new(),
            execs: BTreeMap::new(),
            oom_seen: 0,
            killed: false,
        }
    }

    /// Its init, while it runs.
    pub fn init(&self) -> Option<&Process> {
        match &self.state {
            State::Running { init, .. } => Some(init),
            _ => None,
        }
    }

    /// As the daemon is told.
    pub fn held(&self, id: &str) -> Held {
        let state = match &self.state {
            State::Launching => HeldState::Launching,
            State::Running { init, started } => HeldState::Running { pid: init.pid, at: *started },
            State::Ending { pid, started, .. } => HeldState::Running { pid: *pid, at: *started },
            State::Exited { pid, started, exit } => HeldState::Exited { pid: *pid, started: *started, exit: *exit },
        };
        Held { container: id.to_owned(), state }
    }

    /// Takes over the monitor's ends of its stdio.
    pub fn take_streams(&mut self, streams: &Streams, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let file = match &streams.log {
            Some(path) => fds.next().map(|fd| LogFile::new(path.clone(), fd)),
            None => None,
        };
        let sources: &[Source] = if streams.terminal { &[Source::Stdout] } else { &[Source::Stdout, Source::Stderr] };
        let (terminal, max_line) = (streams.terminal, streams.max_log_line);
        let outputs: Vec<Arc<OwnedFd>> = fds.by_ref().take(sources.len()).map(Arc::new).collect();
        self.input = match (outputs.first(), fds.next()) {
            (Some(master), _) if terminal => Input::Terminal(Arc::clone(master)),
            (_, Some(pipe)) => Input::Pipe(pipe),
            _ => Input::Closed,
        };
        let streams = outputs.into_iter().zip(sources);
        let streams = streams.map(|(fd, source)| Stream::new(fd, *source, terminal, max_line)).collect();
        self.log = Log::Watched(Output { streams, file, attached: Arc::clone(&self.attached), finished: false });
    }
}
