//! What a cgroup uses.

mod details;
mod v1;
mod v2;

use std::path::Path;

pub use details::{Configured, Details, DeviceIo, Hugepages};

use super::{
    Cgroup, Error, Place, file,
    hierarchies::{Controller, Version},
};

/// What a cgroup and those below it use. A part is `None` if its controller is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory and swap.
    pub memory: Option<Memory>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Block device traffic.
    pub io: Option<Io>,
    /// Pressure stall information, of the v2 hierarchy (also on a hybrid machine, for processes that are in it).
    pub pressure: Pressures,
}

/// CPU time, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Time used by all CPUs together.
    pub usage: u64,
    /// Of that, in user mode.
    pub user: u64,
    /// Of that, in the kernel.
    pub system: u64,
    /// Throttling by the CPU quota.
    pub throttling: Throttling,
}

/// How the CPU quota has held a cgroup back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which the cgroup was runnable.
    pub periods: u64,
    /// Of those, in how many it used up its quota.
    pub throttled_periods: u64,
    /// For how many nanoseconds it had to wait.
    pub throttled: u64,
    /// Periods in which it used more than its quota, out of what earlier ones had left over.
    pub burst_periods: u64,
    /// For how many nanoseconds it ran beyond its quota so.
    pub burst: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is charged, the page cache included.
    pub usage: u64,
    /// Usage without the inactive part of the page cache, as the kubelet and cAdvisor reckon.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: u64,
    /// The page cache, and what of it is mapped, hot, cold, or on its way to a disk.
    pub cache: Cache,
    /// The kernel's own memory for it; `None` if the kernel does not tell.
    pub kernel: Option<u64>,
    /// The limit that holds here; `None` if there is none. On v2 only the cgroup's own, on v1 also its parents'.
    pub limit: Option<u64>,
    /// The limit less the working set; `None` if there is no limit.
    pub available: Option<u64>,
    /// Page faults so far.
    pub page_faults: u64,
    /// Of those, how many had to wait for a disk.
    pub major_page_faults: u64,
    /// Page faults of the processes in this cgroup itself; v2 tells only those of the whole subtree.
    pub own_page_faults: u64,
    /// Of those, how many had to wait for a disk.
    pub own_major_page_faults: u64,
    /// What reclaiming memory has taken.
    pub reclaim: Reclaim,
    /// Swap used; `None` if swap is not accounted.
    pub swap: Option<u64>,
    /// The most swap it may use; `None` if there is no limit or swap is not accounted.
    pub swap_limit: Option<u64>,
}

/// The page cache, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cache {
    /// All of it.
    pub total: u64,
    /// Mapped into processes.
    pub mapped: u64,
    /// Used lately.
    pub active: u64,
    /// Not used lately: what the working set does not count.
    pub inactive: u64,
    /// Changed and not yet on its way to a disk.
    pub dirty: u64,
    /// On its way to a disk.
    pub writeback: u64,
}

/// Pages reclaimed, and those that were needed again. `None` for what the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaim {
    /// Pages looked at.
    pub scanned: Option<u64>,
    /// Pages taken.
    pub stolen: Option<u64>,
    /// Anonymous pages that came back.
    pub refaults_anon: Option<u64>,
    /// Pages of files that came back.
    pub refaults_file: Option<u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` if there is no limit.
    pub limit: Option<u64>,
}

/// Block device traffic of all devices together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Pressure stall information; `None` for what the kernel does not tell (`psi=0`, a kernel without it).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressures {
    /// Waiting for a CPU.
    pub cpu: Option<Pressure>,
    /// Waiting for memory.
    pub memory: Option<Pressure>,
    /// Waiting for block devices.
    pub io: Option<Pressure>,
}

/// One resource's pressure (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Some processes had to wait.
    pub some: Stall,
    /// All processes had to wait.
    pub full: Stall,
}

/// How long processes had to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last 60 seconds.
    pub avg60: f64,
    /// Percent of the last 300 seconds.
    pub avg300: f64,
    /// Microseconds so far.
    pub total: u64,
}

impl Cgroup {
    /// Reads what the cgroup uses.
    ///
    /// # Errors
    /// If it does not exist, or a file cannot be read or understood.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        if let Some(place) = self.v2() {
            stats.pressure = v2::pressures(&place.dir)?;
        }
        stats.cpu = match (self.v1(Controller::Cpuacct), self.with(Controller::Cpu)) {
            (Some(accounting), throttling) => Some(v1::cpu(&accounting.dir, throttling.map(|(_, p)| p.dir.as_path()))?),
            (None, Some((Version::V2, place))) => Some(v2::cpu(&place.dir)?),
            (None, _) => None,
        };
        stats.memory = self.read(Controller::Memory, v1::memory, v2::memory)?;
        stats.pids = self.read(Controller::Pids, pids, pids)?;
        stats.io = self.read(Controller::Io, v1::io, v2::io)?;
        Ok(stats)
    }

    fn read<T>(
        &self,
        controller: Controller,
        v1: fn(&Path) -> Result<T, Error>,
        v2: fn(&Path) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.with(controller)
            .map(|(version, place)| if version == Version::V1 { v1(&place.dir) } else { v2(&place.dir) })
            .transpose()
    }

    fn with(&self, controller: Controller) -> Option<(Version, &Place)> {
        let v1 = self.v1(controller).map(|place| (Version::V1, place));
        let v2 = || self.v2().filter(|p| p.hierarchy.controllers.has(controller)).map(|place| (Version::V2, place));
        v1.or_else(v2)
    }

    /// How often the kernel's OOM killer has killed a process here; 0 if that cannot be known (there is no such cgroup any more).
    ///
    /// v2 counts the cgroups below as well, v1 only this one.
    pub fn oom_kills(&self) -> u64 {
        self.known_oom_kills().unwrap_or(0)
    }

    /// The same; `None` if it cannot be known.
    pub fn known_oom_kills(&self) -> Option<u64> {
        let file = match self.with(Controller::Memory)? {
            (Version::V1, place) => place.dir.join("memory.oom_control"),
            (Version::V2, place) => place.dir.join("memory.events"),
        };
        value_of(&file::read(&file).ok()?, "oom_kill")
    }

    /// How often it has killed a process here or in a cgroup beside this one; 0 on v1, where that is not counted.
    pub fn oom_kills_beside(&self) -> u64 {
        let Some((Version::V2, place)) = self.with(Controller::Memory) else { return 0 };
        let text = place.dir.parent().and_then(|parent| file::read(&parent.join("memory.events")).ok());
        text.and_then(|text| value_of(&text, "oom_kill")).unwrap_or(0)
    }
}

/// The number behind a key in lines of `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    pairs(text).find_map(|(k, v)| (k == key).then_some(v))
}

/// Lines of `key number`; others are left out.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// A file with one number.
fn number(dir: &Path, name: &str) -> Result<u64, Error> {
    let file = dir.join(name);
    let text = file::read(&file)?;
    text.trim().parse().map_err(|_| Error::Parse { file, text })
}

/// A file with one number; `None` if it does not exist.
fn optional_number(dir: &Path, name: &str) -> Result<Option<u64>, Error> {
    let file = dir.join(name);
    match file::read_if_exists(&file)? {
        None => Ok(None),
        Some(text) => text.trim().parse().map(Some).map_err(|_| Error::Parse { file, text }),
    }
}

/// A file with one number or `max`. `None` for `max`.
fn limit(dir: &Path, name: &str) -> Result<Option<u64>, Error> {
    let file = dir.join(name);
    let text = file::read(&file)?;
    parse_limit(&text).ok_or(Error::Parse { file, text })
}

fn parse_limit(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

/// v1 and v2 have the same files. The root cgroup has none.
fn pids(dir: &Path) -> Result<Pids, Error> {
    if !dir.join("pids.max").exists() && dir.exists() {
        return Ok(Pids::default());
    }
    Ok(Pids { current: number(dir, "pids.current")?, limit: limit(dir, "pids.max")? })
}

#[cfg(test)]
mod tests;
