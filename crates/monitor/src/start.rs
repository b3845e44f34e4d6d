//! The monitor's start: what it inherits, what it is as a process.

use std::ffi::OsString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::{io, ptr};

use rustix::fs::{FileType, OFlags};
use rustix::io::FdFlags;
use rustix::net::{SocketType, sockopt};

use crate::fork::IGNORED;
use crate::launch::read_memfd;
use crate::memory;
use crate::monitor::Monitor;
use crate::packet;
use crate::pod::Pod;
use crate::protocol::{Message, PodPlan, inherited};

/// Why a monitor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line.
    #[error("usage: corten-monitor POD-ID, with descriptors 3, 4 and 5 (it is started by cortend)")]
    Usage,
    /// An inherited descriptor.
    #[error("descriptor {fd} is not {what}")]
    Inherited {
        /// Its number.
        fd: RawFd,
        /// What it should be.
        what: &'static str,
    },
    /// The process itself.
    #[error("{step}: {error}")]
    Process {
        /// What it was about to do.
        step: &'static str,
        /// Why that failed.
        error: io::Error,
    },
    /// The plan.
    #[error("plan: {0}")]
    Plan(String),
}

/// The argument in place of a pod's id with which the program only waits for the end of its standard input: what systemd is to
/// put into a scope until a container is in it.
pub const PLACEHOLDER: &str = "--placeholder";

/// The program.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.get(1).is_some_and(|first| first == PLACEHOLDER) {
        // Nothing ever comes.
        return ExitCode::from(u8::from(io::copy(&mut io::stdin(), &mut io::sink()).is_err()));
    }
    let arguments = arguments.into_iter();
    let (id, inherited) = match take(arguments) {
        Ok(taken) => taken,
        Err(error) => {
            eprintln!("corten-monitor: {error}");
            return ExitCode::from(2);
        }
    };
    let Inherited { listener, first, plan } = inherited;
    match set_up(&id, plan) {
        Ok((pod, signals)) => match Monitor::new(pod, listener, first, signals).and_then(Monitor::run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("corten-monitor: epoll: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("corten-monitor: {error}");
            tell_failed(&first, error);
            ExitCode::FAILURE
        }
    }
}

struct Inherited {
    listener: OwnedFd,
    first: OwnedFd,
    plan: OwnedFd,
}

fn take(mut arguments: impl Iterator<Item = OsString>) -> Result<(String, Inherited), Error> {
    let id = arguments.nth(1).and_then(|id| id.into_string().ok()).ok_or(Error::Usage)?;
    if arguments.next().is_some() {
        return Err(Error::Usage);
    }
    let [listener, first, plan] = [inherited::LISTENER, inherited::FIRST, inherited::PLAN].map(take_fd);
    let inherited = Inherited { listener: listener?, first: first?, plan: plan? };
    check_socket(&inherited.listener, inherited::LISTENER, true, "a listening SOCK_SEQPACKET socket")?;
    check_socket(&inherited.first, inherited::FIRST, false, "a connected SOCK_SEQPACKET socket")?;
    let is_file = rustix::fs::fstat(&inherited.plan).is_ok_and(|it| FileType::from_raw_mode(it.st_mode).is_file());
    if !is_file {
        return Err(Error::Inherited { fd: inherited::PLAN, what: "a memfd" });
    }
    Ok((id, inherited))
}

/// Takes ownership of an inherited descriptor; no program started by the monitor shall have it.
fn take_fd(fd: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: the protocol says that the number is the monitor's; that it is open is checked before it is owned, and
    // each number is taken once.
    let open = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if open == -1 {
        return Err(Error::Inherited { fd, what: "open" });
    }
    // SAFETY: as above.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC).map_err(process("close-on-exec"))?;
    Ok(owned)
}

fn check_socket(socket: &OwnedFd, fd: RawFd, listening: bool, what: &'static str) -> Result<(), Error> {
    let kind = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    let state = sockopt::socket_acceptconn(socket).is_ok_and(|accepts| accepts == listening);
    if !kind || !state {
        return Err(Error::Inherited { fd, what });
    }
    let flags = rustix::fs::fcntl_getfl(socket).map_err(process("fcntl"))?;
    rustix::fs::fcntl_setfl(socket, flags | OFlags::NONBLOCK).map_err(process("fcntl"))
}

fn process<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Process { step, error: error.into() }
}

fn set_up(id: &str, plan: OwnedFd) -> Result<(Pod, OwnedFd), String> {
    let signals = become_monitor().map_err(|error| error.to_string())?;
    let plan = read_memfd(plan).map_err(|error| Error::Plan(error).to_string())?;
    let plan: PodPlan = serde_json::from_slice(&plan).map_err(|error| Error::Plan(error.to_string()).to_string())?;
    if plan.id != id {
        return Err(Error::Plan(format!("it is for pod {:?}, not {id:?}", plan.id)).to_string());
    }
    let pod = Pod::set_up(plan).map_err(|error| error.to_string())?;
    memory::give_back();
    Ok((pod, signals))
}

/// A process that outlives the daemon and adopts orphans. Returns a signalfd for `SIGCHLD`.
fn become_monitor() -> Result<OwnedFd, Error> {
    memory::keep_little();
    // EPERM: it leads a session already.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::chdir("/").map_err(process("chdir"))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(process("becoming a subreaper"))?;
    default_internal_signals();
    for signal in IGNORED {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    child_signals().map_err(process("signalfd"))
}

/// glibc's posix_spawn leaves the two signals that it keeps for itself ignored, and containers would inherit that. Its
/// sigaction refuses to touch them.
fn default_internal_signals() {
    // handler, flags, restorer, mask: all zero is the default
    let default = [0u64; 4];
    for signal in [32, 33] {
        // SAFETY: the kernel's struct sigaction has 32 bytes where it is largest (x86-64), and its mask 8; nothing is
        // written. This program has no thread that could be sent one of these yet.
        unsafe {
            let no_old = ptr::null_mut::<libc::c_void>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), no_old, 8)
        };
    }
}

fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used, and the descriptor is new and owned by nobody else.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) == -1 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn tell_failed(first: &OwnedFd, error: String) {
    if let Ok(bytes) = serde_json::to_vec(&Message::Failed { error }) {
        let _ = packet::send(first.as_fd(), &bytes, &[], false);
    }
}
