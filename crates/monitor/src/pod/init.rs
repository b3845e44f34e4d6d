//! The init of a PID namespace that a pod's containers share.

use std::os::fd::{AsFd, BorrowedFd};
use std::{io, ptr};

use corten_host::process::{self, Fork};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, move_into_link_name_space, set_capabilities, set_no_new_privs,
};

use super::shm;
use crate::{fork, packet, users};

/// Starts it and returns its process id. It reaps what is reparented to it, and dies with the monitor and all processes of
/// its namespace with it. It is what containers see as process 1: it has an empty root, the pod's network and no
/// capabilities, so that nothing is to be had from it.
///
/// # Errors
/// The step and why.
pub fn start(netns: Option<BorrowedFd<'_>>, users: Option<BorrowedFd<'_>>) -> Result<i32, String> {
    let (said, says) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| format!("pipe: {error}"))?;
    let pid = match users {
        Some(users) => clone_owned(netns, users, says.as_fd())?,
        None => match clone_into_pid_namespace().map_err(|error| format!("clone3: {error}"))? {
            0 => {
                drop(said);
                run(netns, false, says.as_fd())
            }
            pid => pid,
        },
    };
    drop(says);
    let mut text = [0; 256];
    match rustix::io::retry_on_intr(|| rustix::io::read(&said, &mut text)) {
        Ok(n) if &text[..n] == b"ok" => Ok(pid),
        Ok(n) => {
            let _ = fork::wait(pid);
            Err(String::from_utf8_lossy(&text[..n]).into_owned())
        }
        Err(error) => Err(format!("read: {error}")),
    }
}

fn clone_into_pid_namespace() -> io::Result<i32> {
    let arguments = libc::clone_args {
        flags: u64::from(libc::CLONE_NEWPID.cast_unsigned()),
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: without CLONE_VM and a stack of its own it behaves like fork; the monitor has one thread now, so the child
    // may go on as usual.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => i32::try_from(pid).map_err(io::Error::other),
    }
}

/// Has it born from inside the user namespace, which then owns its PID namespace: by a child of the monitor's that goes
/// there, as that child's sibling.
fn clone_owned(netns: Option<BorrowedFd<'_>>, users: BorrowedFd<'_>, says: BorrowedFd<'_>) -> Result<i32, String> {
    let keep: Vec<_> = [Some(users), Some(says), netns].into_iter().flatten().collect();
    let child = fork::fork(&keep, |socket| {
        let text = match born_in(users) {
            Ok(Fork::Child) => run(netns, true, says),
            Ok(Fork::Parent(sibling)) => sibling.pid.to_string(),
            Err(error) => error.to_string(),
        };
        let _ = packet::send(socket, text.as_bytes(), &[], true);
    })
    .map_err(|error| format!("fork: {error}"))?;
    let heard = packet::receive(child.socket.as_fd(), 4096);
    fork::wait(child.pid).map_err(|error| format!("waitpid: {error}"))?;
    let text = heard.map_err(|error| format!("recvmsg: {error}"))?.map(|packet| packet.bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.parse().map_err(|_| format!("clone3: {text}"))
}

fn born_in(users: BorrowedFd<'_>) -> io::Result<Fork> {
    process::join_namespaces(users, libc::CLONE_NEWUSER)?;
    // SAFETY: the caller is a fork of the monitor and has started no thread.
    unsafe { process::fork_sibling(libc::CLONE_NEWPID, None) }
}

/// In the new process; `owned` if it is in a user namespace that it has no id in yet.
fn run(netns: Option<BorrowedFd<'_>>, owned: bool, says: BorrowedFd<'_>) -> ! {
    match confine(netns, owned, says) {
        Ok(()) => {
            let _ = rustix::io::write(says, b"ok");
            // SAFETY: nothing here uses a descriptor any longer, `says` included, and no destructor runs.
            unsafe { libc::close_range(0, u32::MAX, 0) };
            loop {
                // SAFETY: pause(2) waits for a signal; those that reach an init without handlers are SIGKILL and SIGSTOP.
                unsafe { libc::pause() };
            }
        }
        Err((step, error)) => {
            let _ = rustix::io::write(says, format!("{step}: {error}").as_bytes());
            // SAFETY: ends the process without running the monitor's destructors.
            unsafe { libc::_exit(1) }
        }
    }
}

fn confine(netns: Option<BorrowedFd<'_>>, owned: bool, says: BorrowedFd<'_>) -> Result<(), (&'static str, Errno)> {
    let at = |step: &'static str| move |error| (step, error);
    reap_without_waiting();
    if let Some(netns) = netns {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .map_err(at("entering the network namespace"))?;
    }
    if owned {
        users::become_root().map_err(at("becoming the user namespace's root"))?;
    }
    shm::enter(MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"mode=0555,size=4k")?;
    set_no_new_privs(true).map_err(at("no_new_privs"))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(at("dropping capabilities"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("making it undumpable"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("parent death signal"))?;
    // The monitor may have died before that; it holds the other end then no longer.
    let mut other = [rustix::event::PollFd::from_borrowed_fd(says, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut other, Some(&now)) {
        Ok(0) => Ok(()),
        _ => Err(("the monitor", Errno::PIPE)),
    }
}

/// With `SIGCHLD` ignored the kernel reaps.
fn reap_without_waiting() {
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours; the signal set is initialised before its use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}
