//! Short-lived children: whatever may block (resolving a path, mounting, starting a program) happens in one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::packet;

/// The signals that the monitor ignores, and its children must not.
pub const IGNORED: [i32; 8] = [
    libc::SIGPIPE,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// A child at work.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// What it says comes here; closed when it has ended.
    pub socket: OwnedFd,
}

/// Forks a child that runs `work` with its end of a socket pair and ends. It has the default signal dispositions, no
/// signal blocked, and of all descriptors only the standard ones, the socket and `keep`; it is killed when the monitor dies.
///
/// # Errors
/// What socketpair(2) and fork(2) say.
pub fn fork(keep: &[BorrowedFd<'_>], work: impl FnOnce(BorrowedFd<'_>)) -> io::Result<Child> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let monitor = rustix::process::getpid();
    // SAFETY: the child runs on a copy of the forking thread's stack; no lock of this program is held by a writer
    // thread across a call that the child makes (glibc makes malloc usable after a fork).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the monitor's loop.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                prepare(monitor, theirs.as_fd(), keep);
                work(theirs.as_fd());
            }));
            // SAFETY: ends the process without running the monitor's destructors.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        pid => Ok(Child { pid, socket: ours }),
    }
}

fn prepare(monitor: rustix::process::Pid, socket: BorrowedFd<'_>, keep: &[BorrowedFd<'_>]) {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if rustix::process::getppid() != Some(monitor) {
        // SAFETY: as above; the monitor died before the line above took effect.
        unsafe { libc::_exit(1) }
    }
    default_signals();
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.push(socket.as_raw_fd());
    close_all_but(kept);
}

/// Default dispositions, nothing blocked: what a program that is started may expect.
pub fn default_signals() {
    for signal in IGNORED {
        // SAFETY: SIG_DFL runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is valid to pass to sigemptyset, which initialises it; the old mask is not asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

fn close_all_but(mut kept: Vec<RawFd>) {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter_map(|fd| u32::try_from(fd).ok()) {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: the child uses none of the descriptors it closes: their owners live on in the monitor, and the child ends
    // without running destructors.
    unsafe { libc::close_range(first, last, 0) };
}

/// Runs `work` in a child and waits for it: for what needs namespaces of its own for a moment, before the loop runs.
/// Returns the descriptors it made.
///
/// # Errors
/// Its own, or why it could not run.
pub fn run(
    keep: &[BorrowedFd<'_>],
    work: impl FnOnce() -> Result<Vec<OwnedFd>, String>,
) -> Result<Vec<OwnedFd>, String> {
    let child = fork(keep, |socket| {
        let (text, fds) = match work() {
            Ok(fds) => ("ok".to_owned(), fds),
            Err(error) => (format!("error: {error}"), Vec::new()),
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let _ = packet::send(socket, text.as_bytes(), &fds, true);
    })
    .map_err(|error| format!("fork: {error}"))?;
    let said = packet::receive(child.socket.as_fd(), 4096);
    wait(child.pid).map_err(|error| format!("waitpid: {error}"))?;
    match said {
        Ok(Some(packet)) => match packet.bytes.strip_prefix(b"error: ") {
            None => Ok(packet.fds),
            Some(error) => Err(String::from_utf8_lossy(error).into_owned()),
        },
        Ok(None) => Err("the child ended without a word".to_owned()),
        Err(error) => Err(format!("recvmsg: {error}")),
    }
}

/// Waits for a child of the caller's to end; its exit code, or 128 + the signal that ended it.
///
/// # Errors
/// What waitpid(2) says.
pub fn wait(pid: i32) -> io::Result<i32> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    loop {
        let waited =
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()))?;
        let Some((_, status)) = waited else { continue };
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => return Ok(code),
            (_, Some(signal)) => return Ok(128 + signal),
            _ => {}
        }
    }
}
