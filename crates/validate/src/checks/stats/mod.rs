//! Statistics and metrics.

mod containers;
mod metrics;
mod pods;

use corten_cri::v1::{CpuUsage, MemoryUsage, UInt64Value};

use crate::{
    check::Check,
    expect::{holds, present},
    time::Closed,
    verdict::Checked,
};

/// The checks of this area.
pub fn checks() -> Vec<&'static [Check]> {
    vec![containers::CHECKS, pods::CHECKS, metrics::CHECKS]
}

/// How long a check's pods and containers are there at most, in nanoseconds.
const LIFE: u64 = 600_000_000_000;

/// How many processors the node has.
fn processors() -> u64 {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    u64::try_from(count).unwrap_or(1).max(1)
}

/// How much memory the node has, in bytes; more than any has where the kernel does not tell.
fn node_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map_or(u64::MAX, |kibibytes: u64| kibibytes.saturating_mul(1024))
}

/// That something measured is not more than there can be of it.
fn at_most(what: &str, value: Option<UInt64Value>, most: u64) -> Checked {
    let value = value.unwrap_or_default().value;
    holds(what, value <= most, format!("at most {most}"), value)
}

/// That processor times are there, possible for what was made just now, and were taken in a time.
fn cpu(what: &str, cpu: Option<CpuUsage>, window: &Closed) -> Checked<u64> {
    let cpu = present(format!("{what}.cpu"), cpu)?;
    window.holds(&format!("{what}.cpu.timestamp"), cpu.timestamp)?;
    let used = present(format!("{what}.cpu.usage_core_nano_seconds"), cpu.usage_core_nano_seconds)?.value;
    holds(format!("{what}.cpu.usage_core_nano_seconds"), used > 0, "more than 0", used)?;
    let most = processors().saturating_mul(LIFE);
    at_most(&format!("{what}.cpu.usage_core_nano_seconds"), cpu.usage_core_nano_seconds, most)?;
    // A processor gives a second of its time in a second; the two are not read at once.
    let most = processors().saturating_mul(2_000_000_000);
    at_most(&format!("{what}.cpu.usage_nano_cores"), cpu.usage_nano_cores, most)?;
    Ok(used)
}

/// That memory in use is there, no more than the node has, and was taken in a time.
fn memory(what: &str, memory: Option<MemoryUsage>, window: &Closed) -> Checked<u64> {
    let memory = present(format!("{what}.memory"), memory)?;
    window.holds(&format!("{what}.memory.timestamp"), memory.timestamp)?;
    let used = present(format!("{what}.memory.working_set_bytes"), memory.working_set_bytes)?.value;
    holds(format!("{what}.memory.working_set_bytes"), used > 0, "more than 0", used)?;
    if let Some(usage) = memory.usage_bytes {
        holds(
            format!("{what}.memory.usage_bytes"),
            usage.value >= used,
            "not below the working set",
            (usage.value, used),
        )?;
    }
    let all = [
        ("working_set_bytes", memory.working_set_bytes),
        ("available_bytes", memory.available_bytes),
        ("usage_bytes", memory.usage_bytes),
        ("rss_bytes", memory.rss_bytes),
    ];
    for (name, value) in all {
        at_most(&format!("{what}.memory.{name}"), value, node_memory())?;
    }
    Ok(used)
}

/// That the kinds of memory are told that the kubelet's summary has; `held` bytes of it are the process's own.
fn memory_in_full(what: &str, memory: Option<MemoryUsage>, held: u64) -> Checked {
    let memory = present(format!("{what}.memory"), memory)?;
    present(format!("{what}.memory.usage_bytes"), memory.usage_bytes)?;
    present(format!("{what}.memory.page_faults"), memory.page_faults)?;
    present(format!("{what}.memory.major_page_faults"), memory.major_page_faults)?;
    let rss = present(format!("{what}.memory.rss_bytes"), memory.rss_bytes)?.value;
    holds(format!("{what}.memory.rss_bytes"), rss >= held, format!("at least {held}"), rss)
}
