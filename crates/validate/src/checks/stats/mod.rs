//! Statistics and metrics.

mod containers;
mod metrics;
mod pods;

use corten_cri::v1::{CpuUsage, MemoryUsage};

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

/// That processor times are there, and were taken in a time.
fn cpu(what: &str, cpu: Option<CpuUsage>, window: &Closed) -> Checked<u64> {
    let cpu = present(format!("{what}.cpu"), cpu)?;
    window.holds(&format!("{what}.cpu.timestamp"), cpu.timestamp)?;
    let used = present(format!("{what}.cpu.usage_core_nano_seconds"), cpu.usage_core_nano_seconds)?.value;
    holds(format!("{what}.cpu.usage_core_nano_seconds"), used > 0, "more than 0", used)?;
    Ok(used)
}

/// That memory in use is there, and was taken in a time.
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
    Ok(used)
}
