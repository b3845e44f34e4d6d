//! Collecting children that have ended.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::Exit;

/// A child that has ended, and is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its former process id.
    pub pid: i32,
    /// How and when.
    pub exit: Exit,
}

/// The next child that has ended, if any: the monitor's own, and every orphan in its care. An init of a PID namespace can
/// be waited for only after the processes in it whose parent the monitor is, so all are taken as they come.
///
/// # Errors
/// `ECHILD` when there is no child at all.
pub fn next() -> io::Result<Option<Ended>> {
    // SAFETY: siginfo_t is plain data, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: `info` is a valid place for the answer.
    while unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves zeros if no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then(|| Ended { pid, exit: exit(info.si_code, status, now()) }))
}

fn exit(code: i32, status: i32, at: i64) -> Exit {
    match code {
        libc::CLD_EXITED => Exit { code: status, signal: None, oom: false, at },
        _ => Exit { code: 128 + status, signal: Some(status), oom: false, at },
    }
}

/// Now, in nanoseconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signals_exit_code_is_128_more() {
        let killed = exit(libc::CLD_KILLED, 9, 1);
        assert_eq!((killed.code, killed.signal), (137, Some(9)));
        let dumped = exit(libc::CLD_DUMPED, 11, 1);
        assert_eq!((dumped.code, dumped.signal), (139, Some(11)));
        let exited = exit(libc::CLD_EXITED, 137, 1);
        assert_eq!((exited.code, exited.signal), (137, None));
    }
}
