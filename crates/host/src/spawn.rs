//! Starting a long-lived program with given descriptors, in a given cgroup from its first instruction on.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::io::fcntl_dupfd_cloexec;

use crate::process::{CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP};

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}: {source}", program = program.display())]
pub struct Error {
    /// The program.
    pub program: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Starts `program` with `arguments` (the program's own name first), an empty environment, in a session of its own, with
/// exactly `descriptors` open, numbered from 0, and in the v2 `cgroup` given: joining it later would cost a grace period
/// of 5 to 20 ms. Returns its process id when it has been executed; the caller reaps it.
///
/// # Errors
/// Names the program; what failed may also be to enter the cgroup.
pub fn spawn(
    program: &Path,
    arguments: &[&str],
    descriptors: &[BorrowedFd<'_>],
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<i32, Error> {
    let started = Prepared::new(program, arguments, descriptors).and_then(|prepared| prepared.start(cgroup));
    started.map_err(|source| Error { program: program.to_owned(), source })
}

/// Everything that the child needs, so that it has nothing to allocate.
struct Prepared {
    path: CString,
    arguments: Vec<CString>,
    /// The descriptors, all above the numbers that they shall have.
    sources: Vec<OwnedFd>,
    /// Where the child says why it could not execute: closed by a successful execve(2).
    failure: OwnedFd,
    answer: io::PipeReader,
}

impl Prepared {
    fn new(program: &Path, arguments: &[&str], descriptors: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let above = i32::try_from(descriptors.len() + 1).map_err(|_| io::Error::from_raw_os_error(libc::EMFILE))?;
        let (answer, failure) = io::pipe()?;
        Ok(Self {
            path: CString::new(program.as_os_str().as_bytes())?,
            arguments: arguments.iter().map(|argument| CString::new(*argument)).collect::<Result<_, _>>()?,
            sources: descriptors.iter().map(|fd| fcntl_dupfd_cloexec(fd, above)).collect::<Result<_, _>>()?,
            failure: fcntl_dupfd_cloexec(&failure, above)?,
            answer,
        })
    }

    fn start(mut self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<i32> {
        let mut argv: Vec<*const libc::c_char> = self.arguments.iter().map(|argument| argument.as_ptr()).collect();
        argv.push(ptr::null());
        // SAFETY: all zero is a valid clone_args.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        // No handler of the caller's may run in the child.
        args.flags = CLONE_CLEAR_SIGHAND;
        args.exit_signal = libc::SIGCHLD as u64;
        if let Some(cgroup) = cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
        // SAFETY: without CLONE_VM this is a fork, the child has its own copy of the stack; args outlives the call. The
        // caller may have other threads, which the child has not: it makes system calls only, on what is prepared.
        let pid = match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
            -1 => return Err(io::Error::last_os_error()),
            // SAFETY: this is the child, and argv ends with null.
            0 => unsafe { self.execute(&argv) },
            pid => pid as i32,
        };
        drop(self.failure);
        let mut errno = [0; 4];
        match self.answer.read_exact(&mut errno) {
            // Closed without a word: executed.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(pid),
            outcome => {
                // SAFETY: the child is ours and ends at once.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                outcome.and(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))))
            }
        }
    }

    /// Becomes the program, in the child.
    ///
    /// # Safety
    /// `argv` points to C strings and ends with null. Only for a forked child: it never returns.
    unsafe fn execute(&self, argv: &[*const libc::c_char]) -> ! {
        let environment: [*const libc::c_char; 1] = [ptr::null()];
        let first = self.sources.len() as libc::c_int;
        // SAFETY: system calls on integers and on pointers that outlive them; nothing is allocated, no lock is taken. The
        // descriptors closed are the child's copies, whose owners are the parent's.
        unsafe {
            libc::setsid();
            for (target, source) in (0..).zip(&self.sources) {
                libc::dup2(source.as_raw_fd(), target);
            }
            libc::dup3(self.failure.as_raw_fd(), first, libc::O_CLOEXEC);
            libc::syscall(libc::SYS_close_range, first + 1, u32::MAX, 0);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            libc::execve(self.path.as_ptr(), argv.as_ptr(), environment.as_ptr());
            let errno = *libc::__errno_location();
            libc::write(first, (&raw const errno).cast(), size_of_val(&errno));
            libc::_exit(127)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::Read;
    use std::os::fd::AsFd;

    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::*;

    fn run(script: &str, extra: &[BorrowedFd<'_>]) -> (String, i32) {
        let (mut reader, writer) = io::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut descriptors = vec![null.as_fd(), writer.as_fd(), writer.as_fd()];
        descriptors.extend(extra);
        let pid = spawn(Path::new("/bin/sh"), &["sh", "-c", script], &descriptors, None).unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
        (output, status.exit_status().unwrap())
    }

    #[test]
    fn descriptors_arrive_in_order_and_no_others() {
        let (first, second) = (io::pipe().unwrap(), io::pipe().unwrap());
        let (output, status) =
            run("echo x >&4; ls /proc/self/fd | tr '\\n' ' '; exit 7", &[second.0.as_fd(), first.1.as_fd()]);
        // 5 is what `ls` has the directory open with.
        assert_eq!((output.trim(), status), ("0 1 2 3 4 5", 7));
        drop(first.1);
        let mut got = String::new();
        { first.0 }.read_to_string(&mut got).unwrap();
        assert_eq!(got, "x\n");
    }

    #[test]
    fn it_leads_a_session_of_its_own_with_no_environment() {
        let script =
            "read -r pid _ _ _ _ session _ < /proc/$$/stat; [ $pid = $session ] && ! env | grep -q CARGO && echo alone";
        assert_eq!(run(script, &[]).0, "alone\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = spawn(Path::new("/nonexistent/monitor"), &["monitor"], &[], None).unwrap_err().to_string();
        assert_eq!(error, "cannot start /nonexistent/monitor: No such file or directory (os error 2)");
    }

    #[test]
    fn it_is_in_the_cgroup_from_the_start() {
        let cgroups = crate::cgroup::Hierarchies::detect().unwrap();
        let cgroup = cgroups.cgroup(&format!("/corten-test-spawn-{}", std::process::id())).unwrap();
        let created = cgroup.create().unwrap();
        let fd = cgroup.open_v2().expect("no cgroup v2 hierarchy is mounted");
        let (mut reader, writer) = io::pipe().unwrap();
        let descriptors = [fd.as_fd(), writer.as_fd()];
        let pid = spawn(Path::new("/bin/cat"), &["cat", "/proc/self/cgroup"], &descriptors, Some(fd.as_fd())).unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap();
        crate::cgroup::Cgroup::undo(&created).unwrap();
        assert!(text.lines().any(|line| line.starts_with("0::") && line.ends_with(cgroup.name())), "{text}");
    }
}
