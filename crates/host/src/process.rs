//! Making processes and moving them between namespaces.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// The C library's are ints, too small for them.
pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process made by [`fork_sibling`].
#[derive(Debug)]
pub struct Sibling {
    /// Its id, in the caller's PID namespace.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Which side of [`fork_sibling`] one is on.
#[derive(Debug)]
pub enum Fork {
    /// In the new process.
    Child,
    /// In the caller.
    Parent(Sibling),
}

/// Forks (clone3(2)) a child of the caller's *parent* with the `CLONE_NEW*` bits of `namespaces`, in the v2 cgroup given.
/// Signal handlers are reset in it.
///
/// # Safety
/// The caller must be single-threaded: the child is a copy of this thread alone.
///
/// # Errors
/// The kernel's answer.
pub unsafe fn fork_sibling(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PARENT | libc::CLONE_PIDFD | namespaces) as u64 | CLONE_CLEAR_SIGHAND;
    args.pidfd = &raw mut pidfd as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork, the child has its own copy of the stack; args outlives the call.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        // SAFETY: the kernel has just made this descriptor for us.
        pid => Ok(Fork::Parent(Sibling { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
    }
}

/// Joins namespaces (setns(2)): of the kind of a `/proc/<pid>/ns/*` file, or those of a pidfd's process.
///
/// # Errors
/// The kernel's answer: `ESRCH` if the process has ended.
pub fn join_namespaces(fd: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: setns takes two integers; what it changes is the caller's own.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds) }.into()).map(drop)
}

/// Leaves for new namespaces (unshare(2)), by `CLONE_NEW*` bits.
///
/// # Errors
/// The kernel's answer.
pub fn new_namespaces(kinds: i32) -> io::Result<()> {
    // SAFETY: unshare takes an integer; with CLONE_NEW* bits no memory or descriptor is affected.
    check(unsafe { libc::unshare(kinds) }.into()).map(drop)
}

/// Closes every descriptor from `first` on but `kept`.
///
/// # Safety
/// Whatever owns one of them must neither be used nor dropped any more: for a process that executes or exits from here on
/// without returning to its callers.
///
/// # Errors
/// The kernel's answer.
pub unsafe fn close_all_but(first: u32, kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd() as u32;
    let ranges = [(first, kept.saturating_sub(1)), (first.max(kept + 1), u32::MAX)];
    for (from, to) in ranges.into_iter().filter(|(from, to)| from <= to) {
        // SAFETY: the caller's promise.
        check(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })?;
    }
    Ok(())
}

/// Gives every signal its default disposition and empties the mask.
pub fn reset_signals() {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, an empty mask. Not through the C library, which does
    // not touch the signals that it keeps for itself.
    let default = [0_u64; 8];
    let none: *mut u64 = std::ptr::null_mut();
    // SAFETY: default is at least as long as the kernel's struct, with a mask of 8 bytes, and outlives the calls. What
    // fails (SIGKILL, SIGSTOP) has its default already.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Leaves for a new, anonymous session keyring, so that the caller's is not inherited. A kernel without keyrings is fine.
///
/// # Errors
/// The kernel's answer.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) }) {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Sets the execution domain (personality(2)).
///
/// # Errors
/// The kernel's answer.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: personality takes an integer.
    check(unsafe { libc::personality(domain) }.into()).map(drop)
}

/// Sets the caller's I/O class and priority (ioprio_set(2)).
///
/// # Errors
/// The kernel's answer.
pub fn set_io_priority(class: u32, priority: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, class << 13 | priority) }).map(drop)
}

/// A scheduling policy, as sched_setattr(2) takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulerAttributes {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`, in nanoseconds.
    pub period: u64,
}

/// Sets the caller's scheduling policy.
///
/// # Errors
/// The kernel's answer.
pub fn set_scheduler(mut attributes: SchedulerAttributes) -> io::Result<()> {
    attributes.size = size_of::<SchedulerAttributes>() as u32;
    // SAFETY: attributes is a struct sched_attr of the size it says, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) }).map(drop)
}

/// Flags to load a seccomp filter with: the `SECCOMP_FILTER_FLAG_*` bits that [`load_seccomp`] takes.
pub mod seccomp_flag {
    /// For all threads of the process.
    pub const TSYNC: u32 = 1;
    /// What is not allowed is logged, but where the action says otherwise.
    pub const LOG: u32 = 1 << 1;
    /// The filter does not switch the speculative store bypass off.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// All of these.
    pub const ALL: u32 = TSYNC | LOG | SPEC_ALLOW;
}

/// Loads a seccomp filter: the bytes of an array of `struct sock_filter`. Needs no_new_privs or CAP_SYS_ADMIN. Without
/// `flags` it is, as with other runtimes, with [`seccomp_flag::SPEC_ALLOW`] where the kernel knows that.
///
/// # Errors
/// `EINVAL` for what is not a filter or not one of [`seccomp_flag`], or the kernel's answer.
pub fn load_seccomp(filter: &[u8], flags: Option<u32>) -> io::Result<()> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let count = filter.len() / size_of::<libc::sock_filter>();
    if count == 0 || !filter.len().is_multiple_of(size_of::<libc::sock_filter>()) {
        return Err(invalid());
    }
    let length = u16::try_from(count).map_err(|_| invalid())?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    let load = |flags: u32| {
        // SAFETY: program describes `filter`, which outlives the call; the kernel copies byte by byte and only reads.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        match check(result)? {
            0 => Ok(()),
            thread => Err(io::Error::other(format!("thread {thread} has a filter of its own"))),
        }
    };
    match flags {
        Some(flags) if flags & !seccomp_flag::ALL != 0 => Err(invalid()),
        Some(flags) => load(flags),
        None => match load(seccomp_flag::SPEC_ALLOW) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load(0),
            other => other,
        },
    }
}

/// Replaces the program (execve(2)). Returns only if that failed.
pub fn execute(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let pointers = |list: &[&CStr]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both are null-terminated arrays of C strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without what was registered to run at its exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
