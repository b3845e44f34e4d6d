//! The process that a scope begins with.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid};

use crate::spawn;

/// A process that does nothing until this is dropped, or until the process that has this ends.
#[derive(Debug)]
pub struct Placeholder {
    pid: Pid,
    /// It ends when nobody can write to it any more.
    _input: PipeWriter,
}

impl Placeholder {
    /// Starts `program` with `arguments` (its own name first), which is to read its standard input to the end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let (reader, input) = io::pipe()?;
        let null = File::options().write(true).open("/dev/null")?;
        let descriptors = [reader.as_fd(), null.as_fd(), null.as_fd()];
        let pid = spawn::spawn(program, arguments, &descriptors, None).map_err(|error| error.source)?;
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        Ok(Self { pid, _input: input })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends it and waits for that, which blocks. Dropping it only has it ended.
    pub fn end(self) {
        let _ = kill_process(self.pid, Signal::KILL);
        // Not reaped: its id is still its own when it is dropped.
        let _ = waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        // It may have ended, with the scope it is in: then it waits to be reaped, and its id is no other's.
        let _ = kill_process(self.pid, Signal::KILL);
        // In a cgroup with little CPU time its end takes a while.
        let pid = self.pid;
        let reap = move || {
            let _ = waitpid(Some(pid), WaitOptions::empty());
        };
        if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
            return;
        }
        if thread::Builder::new().name("reap".to_owned()).spawn(reap).is_err() {
            reap();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_reaped_when_it_is_ended_and_soon_when_it_is_dropped() {
        let start = || Placeholder::start(Path::new("/bin/cat"), &["cat"]).unwrap();
        let there = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        let (first, second) = (start(), start());
        let (ended, dropped) = (first.pid(), second.pid());
        assert!(there(ended) && there(dropped));
        first.end();
        assert!(!there(ended));
        drop(second);
        while there(dropped) {
            thread::yield_now();
        }
    }
}
