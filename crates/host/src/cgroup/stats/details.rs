//! What only monitoring asks for: peaks, counts of limits hit, limits as they are set, huge pages, and block devices one by one.

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{
        Cgroup, Error, convert, file,
        hierarchies::{Controller, Version},
    },
    optional_number, parse_limit, v1, value_of,
};

/// How many block devices are told of. A node has a few.
const MAX_DEVICES: usize = 64;

/// More of a cgroup than [`super::Stats`]. `None` for what the kernel does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The most memory it ever used, in bytes (v2: since Linux 5.19).
    pub memory_peak: Option<u64>,
    /// How often its memory was at the limit.
    pub memory_limit_hits: Option<u64>,
    /// How often it was slowed down for being over `memory.high`. v2 only.
    pub memory_high_hits: Option<u64>,
    /// How often the OOM killer killed a process here; v1 counts only this cgroup, v2 those below as well.
    pub oom_kills: Option<u64>,
    /// The limits that are set.
    pub configured: Configured,
    /// Huge pages, by size.
    pub hugepages: Vec<Hugepages>,
    /// Block devices that it has used.
    pub devices: Vec<DeviceIo>,
}

/// The limits set on this cgroup itself; `None` for none, or where the controller is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Configured {
    /// The relative weight of its CPU time in v1's terms.
    pub cpu_shares: Option<u64>,
    /// The CPU time per period, in microseconds.
    pub cpu_quota: Option<u64>,
    /// The period, in microseconds.
    pub cpu_period: Option<u64>,
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// v1: memory and swap together; v2: swap alone. In bytes.
    pub swap: Option<u64>,
    /// Memory that is not reclaimed before others' (v1: the soft limit, v2: `memory.min`), in bytes.
    pub reservation: Option<u64>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hugepages {
    /// The size as the kernel spells it: `2MB`.
    pub size: String,
    /// Bytes in use.
    pub usage: u64,
    /// The most bytes ever used. v1 only.
    pub peak: Option<u64>,
}

/// The traffic of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// The device's number.
    pub device: (u32, u32),
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

impl Cgroup {
    /// Reads what [`Cgroup::stats`] leaves out.
    ///
    /// # Errors
    /// If a file cannot be read or understood.
    pub fn details(&self) -> Result<Details, Error> {
        let mut details = Details::default();
        match self.with(Controller::Memory) {
            Some((Version::V1, place)) => memory_v1(&place.dir, &mut details)?,
            Some((Version::V2, place)) => memory_v2(&place.dir, &mut details)?,
            None => {}
        }
        match self.with(Controller::Cpu) {
            Some((Version::V1, place)) => cpu_v1(&place.dir, &mut details.configured)?,
            Some((Version::V2, place)) => cpu_v2(&place.dir, &mut details.configured)?,
            None => {}
        }
        if let Some((version, place)) = self.with(Controller::Hugetlb) {
            details.hugepages = hugepages(&place.dir, version)?;
        }
        details.devices = match self.with(Controller::Io) {
            Some((Version::V1, place)) => devices_v1(&place.dir)?,
            Some((Version::V2, place)) => parse_devices_v2(&optional(&place.dir, "io.stat")?),
            None => Vec::new(),
        };
        Ok(details)
    }
}

fn memory_v1(dir: &Path, details: &mut Details) -> Result<(), Error> {
    let limit = |name| Ok::<_, Error>(optional_number(dir, name)?.filter(|value| *value < v1::UNLIMITED));
    details.memory_peak = optional_number(dir, "memory.max_usage_in_bytes")?;
    details.memory_limit_hits = optional_number(dir, "memory.failcnt")?;
    details.oom_kills = value_of(&optional(dir, "memory.oom_control")?, "oom_kill");
    details.configured.memory = limit("memory.limit_in_bytes")?;
    details.configured.swap = limit("memory.memsw.limit_in_bytes")?;
    details.configured.reservation = limit("memory.soft_limit_in_bytes")?;
    Ok(())
}

fn memory_v2(dir: &Path, details: &mut Details) -> Result<(), Error> {
    let events = optional(dir, "memory.events")?;
    details.memory_peak = optional_number(dir, "memory.peak")?;
    details.memory_limit_hits = value_of(&events, "max");
    details.memory_high_hits = value_of(&events, "high");
    details.oom_kills = value_of(&events, "oom_kill");
    details.configured.memory = limit_v2(dir, "memory.max")?;
    details.configured.swap = limit_v2(dir, "memory.swap.max")?;
    details.configured.reservation = limit_v2(dir, "memory.min")?.filter(|value| *value > 0);
    Ok(())
}

fn limit_v2(dir: &Path, name: &str) -> Result<Option<u64>, Error> {
    Ok(parse_limit(&optional(dir, name)?).flatten())
}

fn cpu_v1(dir: &Path, configured: &mut Configured) -> Result<(), Error> {
    configured.cpu_shares = optional_number(dir, "cpu.shares")?;
    configured.cpu_period = optional_number(dir, "cpu.cfs_period_us")?;
    // -1 for none.
    configured.cpu_quota = optional(dir, "cpu.cfs_quota_us")?.trim().parse().ok();
    Ok(())
}

fn cpu_v2(dir: &Path, configured: &mut Configured) -> Result<(), Error> {
    configured.cpu_shares = optional_number(dir, "cpu.weight")?.map(convert::cpu_shares);
    let text = optional(dir, "cpu.max")?;
    let mut words = text.split_ascii_whitespace();
    configured.cpu_quota = words.next().and_then(|word| word.parse().ok());
    configured.cpu_period = words.next().and_then(|word| word.parse().ok());
    Ok(())
}

/// The sizes are those that the cgroup has files for.
fn hugepages(dir: &Path, version: Version) -> Result<Vec<Hugepages>, Error> {
    let suffix = if version == Version::V1 { ".usage_in_bytes" } else { ".current" };
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(suffix));
        // `hugetlb.2MB.rsvd.current` is what is reserved.
        let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
        let Some(usage) = optional_number(dir, &name)? else { continue };
        let peak = optional_number(dir, &format!("hugetlb.{size}.max_usage_in_bytes"))?;
        found.push(Hugepages { size: size.to_owned(), usage, peak });
    }
    found.sort_by(|a, b| a.size.cmp(&b.size));
    Ok(found)
}

fn devices_v1(dir: &Path) -> Result<Vec<DeviceIo>, Error> {
    let mut devices = Devices::default();
    devices.add_v1(&optional(dir, "blkio.throttle.io_service_bytes_recursive")?, |device, kind| match kind {
        "Read" => Some(&mut device.read_bytes),
        "Write" => Some(&mut device.write_bytes),
        _ => None,
    });
    devices.add_v1(&optional(dir, "blkio.throttle.io_serviced_recursive")?, |device, kind| match kind {
        "Read" => Some(&mut device.reads),
        "Write" => Some(&mut device.writes),
        _ => None,
    });
    Ok(devices.0.into_values().collect())
}

/// Lines of `major:minor rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn parse_devices_v2(text: &str) -> Vec<DeviceIo> {
    let mut devices = Devices::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(device) = words.next().and_then(|word| devices.at(word)) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            match key {
                "rbytes" => device.read_bytes = value,
                "wbytes" => device.write_bytes = value,
                "rios" => device.reads = value,
                "wios" => device.writes = value,
                _ => {}
            }
        }
    }
    devices.0.into_values().collect()
}

#[derive(Default)]
struct Devices(BTreeMap<(u32, u32), DeviceIo>);

impl Devices {
    /// The device of a `major:minor`; `None` for something else, or one too many.
    fn at(&mut self, word: &str) -> Option<&mut DeviceIo> {
        let (major, minor) = word.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        if self.0.len() >= MAX_DEVICES && !self.0.contains_key(&device) {
            return None;
        }
        Some(self.0.entry(device).or_insert(DeviceIo { device, ..DeviceIo::default() }))
    }

    /// Lines of `major:minor Read number`.
    fn add_v1(&mut self, text: &str, field: for<'a> fn(&'a mut DeviceIo, &str) -> Option<&'a mut u64>) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(device), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
            let Ok(value) = value.parse() else { continue };
            if let Some(field) = self.at(device).and_then(|device| field(device, kind)) {
                *field = value;
            }
        }
    }
}

/// A file's text; empty if it does not exist.
fn optional(dir: &Path, name: &str) -> Result<String, Error> {
    Ok(file::read_if_exists(&dir.join(name))?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
