//! Pressure stall information.

use corten_host::cgroup::Stall;

use super::Family;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |s| seconds(s.stats.pressure.cpu?.full),
    ),
    Family::counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |s| seconds(s.stats.pressure.cpu?.some),
    ),
    Family::counter(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |s| seconds(s.stats.pressure.memory?.full),
    ),
    Family::counter(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        |s| seconds(s.stats.pressure.memory?.some),
    ),
    Family::counter(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |s| seconds(s.stats.pressure.io?.full),
    ),
    Family::counter(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        |s| seconds(s.stats.pressure.io?.some),
    ),
];

/// Microseconds in whole seconds.
fn seconds(stall: Stall) -> Option<u64> {
    Some(stall.total / 1_000_000)
}
