//! Starting a long-lived program with given descriptors, without copying the caller's page tables.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{io, ptr};

use rustix::io::fcntl_dupfd_cloexec;

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
/// exactly `descriptors` open, numbered from 0. Returns its process id; the caller reaps it.
///
/// This is `posix_spawn`, which shares the caller's memory until the exec, so its cost does not grow with the caller.
pub fn spawn(program: &Path, arguments: &[&str], descriptors: &[BorrowedFd<'_>]) -> Result<i32, Error> {
    let failed = |source| Error { program: program.to_owned(), source };
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let arguments: Vec<CString> =
        arguments.iter().map(|a| CString::new(*a)).collect::<Result<_, _>>().map_err(|error| failed(error.into()))?;
    // Above every target number, so that no dup2 overwrites a source still needed.
    let above = i32::try_from(descriptors.len()).unwrap_or(i32::MAX);
    let sources: Vec<OwnedFd> = descriptors
        .iter()
        .map(|fd| fcntl_dupfd_cloexec(fd, above))
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.into()))?;
    posix_spawn(&path, &arguments, &sources).map_err(failed)
}

fn posix_spawn(path: &CString, arguments: &[CString], sources: &[OwnedFd]) -> io::Result<i32> {
    let mut argv: Vec<*mut libc::c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
    argv.push(ptr::null_mut());
    let environment: [*mut libc::c_char; 1] = [ptr::null_mut()];
    let actions = FileActions::new(sources)?;
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: every pointer is to a live, initialised object of the type wanted; `argv` and `environment` end with null.
    let status = unsafe {
        libc::posix_spawn(&mut pid, path.as_ptr(), &actions.0, &attributes.0, argv.as_ptr(), environment.as_ptr())
    };
    check(status).map(|()| pid)
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new(sources: &[OwnedFd]) -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid value of this plain C struct, which init overwrites.
        let mut actions = Self(unsafe { std::mem::zeroed() });
        // SAFETY: `actions.0` is writable and, once initialised, destroyed by drop alone.
        check(unsafe { libc::posix_spawn_file_actions_init(&mut actions.0) })?;
        for (target, source) in (0..).zip(sources) {
            // SAFETY: `actions.0` is initialised.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut actions.0, source.as_raw_fd(), target) })?;
        }
        let first = i32::try_from(sources.len()).unwrap_or(i32::MAX);
        // SAFETY: `actions.0` is initialised.
        check(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&mut actions.0, first) })?;
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`; on glibc, destroying a zeroed one frees a null pointer.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        // SAFETY: all-zero bytes are a valid value of this plain C struct, which init overwrites.
        let mut attributes = Self(unsafe { std::mem::zeroed() });
        // SAFETY: `attributes.0` is writable.
        check(unsafe { libc::posix_spawnattr_init(&mut attributes.0) })?;
        let flags = (SETSID | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF) as libc::c_short;
        // SAFETY: the sets are written before they are read, and `attributes.0` is initialised.
        unsafe {
            let (mut none, mut all) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut none);
            libc::sigfillset(&mut all);
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, &none))?;
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, &all))?;
            check(libc::posix_spawnattr_setflags(&mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

/// `POSIX_SPAWN_SETSID` of glibc (since 2.26), which the libc crate does not name.
const SETSID: i32 = 0x80;

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

fn check(status: i32) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
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
        let pid = spawn(Path::new("/bin/sh"), &["sh", "-c", script], &descriptors).unwrap();
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
        let error = spawn(Path::new("/nonexistent/monitor"), &["monitor"], &[]).unwrap_err().to_string();
        assert_eq!(error, "cannot start /nonexistent/monitor: No such file or directory (os error 2)");
    }
}
