//! The files of cgroup v1.

use std::path::Path;

use super::{Cpu, Error, Io, Memory, Throttling, file, number, optional_number, pairs};

/// A limit from here on means none: the kernel's is the largest `long`, rounded down to a page.
pub(super) const UNLIMITED: u64 = 1 << 62;

pub(super) fn cpu(accounting: &Path, throttling: Option<&Path>) -> Result<Cpu, Error> {
    let mut cpu = Cpu {
        usage: number(accounting, "cpuacct.usage")?,
        user: number(accounting, "cpuacct.usage_user")?,
        system: number(accounting, "cpuacct.usage_sys")?,
        throttling: Throttling::default(),
    };
    if let Some(text) = throttling.map(|dir| file::read(&dir.join("cpu.stat"))).transpose()? {
        for (key, value) in pairs(&text) {
            match key {
                "nr_periods" => cpu.throttling.periods = value,
                "nr_throttled" => cpu.throttling.throttled_periods = value,
                "throttled_time" => cpu.throttling.throttled = value,
                "nr_bursts" => cpu.throttling.burst_periods = value,
                "burst_time" => cpu.throttling.burst = value,
                _ => {}
            }
        }
    }
    Ok(cpu)
}

pub(super) fn memory(dir: &Path) -> Result<Memory, Error> {
    let usage = number(dir, "memory.usage_in_bytes")?;
    let mut memory = parse_memory(usage, &file::read(&dir.join("memory.stat"))?);
    memory.kernel = optional_number(dir, "memory.kmem.usage_in_bytes")?;
    Ok(memory)
}

/// `memory.stat` has the limits too.
fn parse_memory(usage: u64, stat: &str) -> Memory {
    let mut memory = Memory { usage, ..Memory::default() };
    let mut sum_limit = None;
    for (key, value) in pairs(stat) {
        match key {
            "total_cache" => memory.cache.total = value,
            "total_mapped_file" => memory.cache.mapped = value,
            "total_active_file" => memory.cache.active = value,
            "total_inactive_file" => memory.cache.inactive = value,
            "total_dirty" => memory.cache.dirty = value,
            "total_writeback" => memory.cache.writeback = value,
            "total_workingset_refault_anon" => memory.reclaim.refaults_anon = Some(value),
            "total_workingset_refault_file" => memory.reclaim.refaults_file = Some(value),
            "total_rss" => memory.rss = value,
            "pgfault" => memory.own_page_faults = value,
            "pgmajfault" => memory.own_major_page_faults = value,
            "total_pgfault" => memory.page_faults = value,
            "total_pgmajfault" => memory.major_page_faults = value,
            "total_swap" => memory.swap = Some(value),
            "hierarchical_memory_limit" => memory.limit = Some(value).filter(|v| *v < UNLIMITED),
            "hierarchical_memsw_limit" => sum_limit = Some(value).filter(|v| *v < UNLIMITED),
            _ => {}
        }
    }
    memory.working_set = usage.saturating_sub(memory.cache.inactive);
    memory.available = memory.limit.map(|limit| limit.saturating_sub(memory.working_set));
    memory.swap_limit = sum_limit.zip(memory.limit).map(|(sum, limit)| sum.saturating_sub(limit));
    memory
}

pub(super) fn io(dir: &Path) -> Result<Io, Error> {
    let mut io = Io::default();
    let bytes = file::read_if_exists(&dir.join("blkio.throttle.io_service_bytes_recursive"))?;
    let operations = file::read_if_exists(&dir.join("blkio.throttle.io_serviced_recursive"))?;
    (io.read_bytes, io.write_bytes) = sums(&bytes.unwrap_or_default());
    (io.reads, io.writes) = sums(&operations.unwrap_or_default());
    Ok(io)
}

/// Of lines of `major:minor Read number`, the sums of `Read` and of `Write`.
fn sums(text: &str) -> (u64, u64) {
    let (mut reads, mut writes) = (0u64, 0u64);
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (kind, Some(value)) = (words.next(), words.next().and_then(|v| v.parse::<u64>().ok())) else { continue };
        match kind {
            Some("Read") => reads = reads.saturating_add(value),
            Some("Write") => writes = writes.saturating_add(value),
            _ => {}
        }
    }
    (reads, writes)
}

#[cfg(test)]
mod tests;
