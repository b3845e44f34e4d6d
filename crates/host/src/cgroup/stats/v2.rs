//! The files of cgroup v2.

use std::path::Path;

use super::{Cpu, Error, Io, Memory, Pressure, Pressures, Stall, Throttling, file, pairs, parse_limit};

pub(super) fn cpu(dir: &Path) -> Result<Cpu, Error> {
    Ok(parse_cpu(&file::read(&dir.join("cpu.stat"))?))
}

/// Microseconds in the file, nanoseconds here.
fn parse_cpu(text: &str) -> Cpu {
    let mut cpu = Cpu { throttling: Throttling::default(), ..Cpu::default() };
    for (key, value) in pairs(text) {
        match key {
            "usage_usec" => cpu.usage = value.saturating_mul(1000),
            "user_usec" => cpu.user = value.saturating_mul(1000),
            "system_usec" => cpu.system = value.saturating_mul(1000),
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled = value.saturating_mul(1000),
            "nr_bursts" => cpu.throttling.burst_periods = value,
            "burst_usec" => cpu.throttling.burst = value.saturating_mul(1000),
            _ => {}
        }
    }
    cpu
}

pub(super) fn memory(dir: &Path) -> Result<Memory, Error> {
    let mut memory = parse_memory(&file::read(&dir.join("memory.stat"))?);
    // The root cgroup has no memory.current: what it uses is the sum that memory.stat shows.
    memory.usage = optional_limit(dir, "memory.current")?.unwrap_or(memory.usage);
    memory.working_set = memory.usage.saturating_sub(memory.cache.inactive);
    memory.limit = optional_limit(dir, "memory.max")?;
    memory.available = memory.limit.map(|limit| limit.saturating_sub(memory.working_set));
    memory.swap = optional_limit(dir, "memory.swap.current")?;
    memory.swap_limit = optional_limit(dir, "memory.swap.max")?;
    Ok(memory)
}

/// Of `memory.stat`; the usage is what the root cgroup's is.
fn parse_memory(stat: &str) -> Memory {
    let mut memory = Memory::default();
    for (key, value) in pairs(stat) {
        match key {
            "anon" => {
                memory.rss = value;
                memory.usage = memory.usage.saturating_add(value);
            }
            "file" => {
                memory.cache.total = value;
                memory.usage = memory.usage.saturating_add(value);
            }
            "kernel" => {
                memory.kernel = Some(value);
                memory.usage = memory.usage.saturating_add(value);
            }
            "file_mapped" => memory.cache.mapped = value,
            "active_file" => memory.cache.active = value,
            "inactive_file" => memory.cache.inactive = value,
            "file_dirty" => memory.cache.dirty = value,
            "file_writeback" => memory.cache.writeback = value,
            "pgfault" => (memory.page_faults, memory.own_page_faults) = (value, value),
            "pgmajfault" => (memory.major_page_faults, memory.own_major_page_faults) = (value, value),
            "pgscan" => memory.reclaim.scanned = Some(value),
            "pgsteal" => memory.reclaim.stolen = Some(value),
            "workingset_refault_anon" => memory.reclaim.refaults_anon = Some(value),
            "workingset_refault_file" => memory.reclaim.refaults_file = Some(value),
            _ => {}
        }
    }
    memory
}

/// A file with a number or `max`; `None` if it says `max` or does not exist.
fn optional_limit(dir: &Path, name: &str) -> Result<Option<u64>, Error> {
    let file = dir.join(name);
    match file::read_if_exists(&file)? {
        None => Ok(None),
        Some(text) => parse_limit(&text).ok_or(Error::Parse { file, text }),
    }
}

pub(super) fn io(dir: &Path) -> Result<Io, Error> {
    Ok(file::read_if_exists(&dir.join("io.stat"))?.map(|text| parse_io(&text)).unwrap_or_default())
}

/// Lines of `major:minor rbytes=1 wbytes=2 rios=3 wios=4 ...`, summed up.
fn parse_io(text: &str) -> Io {
    let mut io = Io::default();
    for (key, value) in text.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        let sum = match key {
            "rbytes" => &mut io.read_bytes,
            "wbytes" => &mut io.write_bytes,
            "rios" => &mut io.reads,
            "wios" => &mut io.writes,
            _ => continue,
        };
        *sum = sum.saturating_add(value);
    }
    io
}

pub(super) fn pressures(dir: &Path) -> Result<Pressures, Error> {
    let read = |name| Ok(file::read_if_exists(&dir.join(name))?.map(|text| parse_pressure(&text)));
    Ok(Pressures { cpu: read("cpu.pressure")?, memory: read("memory.pressure")?, io: read("io.pressure")? })
}

/// Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => pressure.some = parse_stall(rest),
            Some(("full", rest)) => pressure.full = parse_stall(rest),
            _ => {}
        }
    }
    pressure
}

fn parse_stall(text: &str) -> Stall {
    let mut stall = Stall::default();
    for (key, value) in text.split(' ').filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => stall.avg10 = value.parse().unwrap_or_default(),
            "avg60" => stall.avg60 = value.parse().unwrap_or_default(),
            "avg300" => stall.avg300 = value.parse().unwrap_or_default(),
            "total" => stall.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
mod tests;
