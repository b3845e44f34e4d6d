//! CPU time.

use super::{Family, Value, seconds};

pub(super) const FAMILIES: &[Family] = &[
    Family::counter("container_cpu_user_seconds_total", "Cumulative user CPU time consumed in seconds.", |s| {
        Some(seconds(s.stats.cpu?.user))
    }),
    Family::counter("container_cpu_system_seconds_total", "Cumulative system CPU time consumed in seconds.", |s| {
        Some(seconds(s.stats.cpu?.system))
    }),
    // The kubelet's cAdvisor does not tell CPUs apart either.
    Family::counters("container_cpu_usage_seconds_total", "Cumulative CPU time consumed in seconds.", &["cpu"], |s| {
        s.stats.cpu.map(|cpu| Value::new(["total"], seconds(cpu.usage))).into_iter().collect()
    }),
    Family::counter("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |s| {
        Some(s.stats.cpu?.throttling.periods)
    }),
    Family::counter("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", |s| {
        Some(s.stats.cpu?.throttling.throttled_periods)
    }),
    Family::counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        |s| Some(seconds(s.stats.cpu?.throttling.throttled)),
    ),
    Family::counter("container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", |s| {
        Some(s.stats.cpu?.throttling.burst_periods)
    }),
    Family::counter(
        "container_cpu_cfs_burst_seconds_total",
        "Total time duration the container has been bursted.",
        |s| Some(seconds(s.stats.cpu?.throttling.burst)),
    ),
];
