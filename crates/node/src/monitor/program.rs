//! The `corten-monitor` program.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use corten_host::systemd::Placeholder;

use crate::error::{Error, Result};

/// The `corten-monitor` program. It is started through a read-only mount that is in no mount table, so nobody in a
/// container, where its `/proc/<pid>/exe` may be seen, can open it for writing (CVE-2019-5736).
pub struct Program {
    path: PathBuf,
    locked: OwnedFd,
}

impl Program {
    /// Opens the program.
    pub fn open(path: PathBuf) -> Result<Self> {
        let locked = corten_host::mount::read_only_program(&path);
        let locked = locked.map_err(|error| Error::node(format!("open {}", path.display()), error))?;
        Ok(Self { path, locked })
    }

    /// Starts it for a pod. Blocks until it is executed.
    pub(super) fn spawn(&self, id: &str, log: &File, inherited: &[OwnedFd; 3], cgroup: Option<OwnedFd>) -> Result<i32> {
        let failed = |error: &dyn std::fmt::Display| Error::node(format!("start {}", self.path.display()), error);
        let null = File::open("/dev/null").map_err(|error| failed(&error))?;
        let [listener, first, plan] = inherited;
        let fds = [null.as_fd(), log.as_fd(), log.as_fd(), listener.as_fd(), first.as_fd(), plan.as_fd()];
        let cgroup = cgroup.as_ref().map(AsFd::as_fd);
        corten_host::spawn::spawn(&self.name(), &["corten-monitor", id], &fds, cgroup).map_err(|error| failed(&error))
    }

    /// Starts it as a process that only waits for its end.
    pub fn placeholder(&self) -> io::Result<Placeholder> {
        Placeholder::start(&self.name(), &["corten-monitor", corten_monitor::start::PLACEHOLDER])
    }

    /// Its name among this process's descriptors: the child that executes it has them no more.
    fn name(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.locked.as_raw_fd()))
    }
}
