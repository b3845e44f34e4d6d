//! The processes in a cgroup: joining, listing, killing and freezing them.

use std::{
    collections::HashSet,
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode as Permissions, OFlags},
};

use super::{
    Cgroup, Error, Mode, Place, file,
    hierarchies::{Controller, Version},
    tree,
};

/// How often all processes are killed before giving up. New ones can only come from ones not yet killed, so two or three
/// rounds do; only something that moves processes into the cgroup all the time needs more.
const KILL_PASSES: u32 = 100;

/// How long processes may take to freeze.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Moves the calling process into this cgroup, in every hierarchy. The process must have one thread only: v1 hierarchies are
    /// joined by `tasks`, because `cgroup.procs` waits for an RCU grace period there.
    ///
    /// # Errors
    /// If a file cannot be written: the cgroup does not exist, a v2 cgroup has children with controllers, ...
    pub fn join_self(&self) -> Result<(), Error> {
        self.join_self_v1()?;
        self.v2().map_or(Ok(()), |place| file::write(&place.dir, "cgroup.procs", "0"))
    }

    /// As [`Cgroup::join_self`], but only in the v1 hierarchies: for a process that was cloned into the v2 one (by
    /// CLONE_INTO_CGROUP with [`Cgroup::open_v2`]).
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn join_self_v1(&self) -> Result<(), Error> {
        let mut v1 = self.places.iter().filter(|p| p.hierarchy.version == Version::V1);
        v1.try_for_each(|place| file::write(&place.dir, "tasks", "0"))
    }

    /// Where it is in the v2 hierarchy, if there is one.
    pub fn v2_directory(&self) -> Option<&Path> {
        self.v2().map(|place| place.dir.as_path())
    }

    /// The directory in the v2 hierarchy, for CLONE_INTO_CGROUP; `None` if there is no such hierarchy, or no such cgroup in it.
    pub fn open_v2(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.v2()?.dir, flags, Permissions::empty()).ok()
    }

    /// The ids of the processes in this cgroup and those below it, in the caller's PID namespace. None if it does not exist.
    ///
    /// # Errors
    /// If a `cgroup.procs` cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let Some(place) = self.primary() else { return Ok(Vec::new()) };
        let mut processes = Vec::new();
        read_processes(&place.dir, &mut processes)?;
        for dir in tree::descendants(&place.dir)? {
            read_processes(&dir, &mut processes)?;
        }
        Ok(processes)
    }

    /// Sends a signal to every process in this cgroup and those below it; none, if it does not exist.
    ///
    /// SIGKILL gets everybody, also processes forked meanwhile and frozen ones. It does not wait for them to end. Any other signal
    /// goes once to each process that is there now.
    ///
    /// # Errors
    /// If it is a root cgroup, a process may not be signalled, or new processes keep coming from outside.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        self.not_root("kill the processes of")?;
        if signal != libc::SIGKILL {
            return self.processes()?.into_iter().try_for_each(|pid| self.send(pid, signal));
        }
        // `cgroup.kill` came with Linux 5.14 and takes descendants along. On a hybrid machine there may be processes that are
        // in the v1 hierarchies only.
        if let Some(place) = self.v2() {
            let killed = match file::write_if_exists(&place.dir, "cgroup.kill", "1") {
                Ok(killed) => killed,
                Err(Error::Write { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => true,
                Err(e) => return Err(e),
            };
            if self.mode == Mode::V2 && killed {
                return Ok(());
            }
        }
        self.kill_one_by_one()?;
        // A frozen process dies when it is thawed.
        if self.freezer().is_ok() { self.thaw() } else { Ok(()) }
    }

    /// A process with SIGKILL pending cannot fork, so a round that meets no new process was the last.
    pub(super) fn kill_one_by_one(&self) -> Result<(), Error> {
        let mut killed = HashSet::new();
        for _ in 0..KILL_PASSES {
            let mut new = false;
            for pid in self.processes()? {
                self.send(pid, libc::SIGKILL)?;
                new |= killed.insert(pid);
            }
            if !new {
                return Ok(());
            }
        }
        Err(Error::StillForking { path: self.name.clone(), passes: KILL_PASSES })
    }

    fn send(&self, pid: i32, signal: i32) -> Result<(), Error> {
        // SAFETY: kill(2) takes two integers and touches no memory of ours. `pid` is positive: a process, never a group.
        if unsafe { libc::kill(pid, signal) } == 0 {
            return Ok(());
        }
        let source = io::Error::last_os_error();
        match source.raw_os_error() {
            Some(libc::ESRCH) => Ok(()),
            _ => Err(Error::Kill { path: self.name.clone(), pid, signal, source }),
        }
    }

    /// Stops all processes of this cgroup and those below it where they are, and returns when they stand still.
    ///
    /// # Errors
    /// If it is a root cgroup, there is no freezer, or a process did not freeze within two seconds (it is stuck in the kernel); all
    /// are thawed again then.
    pub fn freeze(&self) -> Result<(), Error> {
        self.not_root("freeze")?;
        let deadline = Instant::now() + FREEZE_TIMEOUT;
        loop {
            if self.try_freeze()? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.thaw()?;
                let milliseconds = u64::try_from(FREEZE_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::NotFrozen { path: self.name.clone(), milliseconds });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks for it, and says whether it has happened. v1 wants to be asked again for processes that forked meanwhile.
    fn try_freeze(&self) -> Result<bool, Error> {
        match self.freezer()? {
            (Version::V1, place) => {
                file::write(&place.dir, "freezer.state", "FROZEN")?;
                Ok(file::read(&place.dir.join("freezer.state"))?.trim() == "FROZEN")
            }
            (Version::V2, place) => {
                file::write(&place.dir, "cgroup.freeze", "1")?;
                let events = file::read(&place.dir.join("cgroup.events"))?;
                Ok(events.lines().any(|line| line == "frozen 1"))
            }
        }
    }

    /// Lets frozen processes go on. Nothing happens if they are not frozen, or there is no such cgroup.
    ///
    /// # Errors
    /// If it is a root cgroup, there is no freezer, or it cannot be written.
    pub fn thaw(&self) -> Result<(), Error> {
        self.not_root("thaw")?;
        match self.freezer()? {
            (Version::V1, place) => file::write_if_exists(&place.dir, "freezer.state", "THAWED")?,
            (Version::V2, place) => file::write_if_exists(&place.dir, "cgroup.freeze", "0")?,
        };
        Ok(())
    }

    fn freezer(&self) -> Result<(Version, &Place), Error> {
        let v1 = self.v1(Controller::Freezer).map(|place| (Version::V1, place));
        let any = v1.or_else(|| self.v2().map(|place| (Version::V2, place)));
        any.ok_or(Error::NoController { field: "freeze", controller: "freezer" })
    }

    /// The hierarchy in which its processes are looked up.
    fn primary(&self) -> Option<&Place> {
        if self.mode == Mode::V2 {
            return self.v2();
        }
        let tried = [Controller::Pids, Controller::Freezer, Controller::Devices, Controller::Memory];
        tried.into_iter().find_map(|c| self.v1(c)).or(self.places.first())
    }
}

fn read_processes(dir: &Path, processes: &mut Vec<i32>) -> Result<(), Error> {
    let file = dir.join("cgroup.procs");
    // EOPNOTSUPP, which also reads as `None`: a threaded cgroup, whose processes its parent lists.
    let Some(text) = file::read_if_exists(&file)? else { return Ok(()) };
    for line in text.lines() {
        match line.parse() {
            // 0 stands for a process outside of the caller's PID namespace.
            Ok(0) => {}
            Ok(pid) if pid > 0 => processes.push(pid),
            _ => return Err(Error::Parse { file, text: line.to_owned() }),
        }
    }
    Ok(())
}
