//! Memory.

use super::{Family, Sample, Value};

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_memory_cache", "Number of bytes of page cache memory.", |s| {
        Some(s.stats.memory?.cache.total)
    }),
    Family::gauge("container_memory_rss", "Size of RSS in bytes.", |s| Some(s.stats.memory?.rss)),
    Family::gauge("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", |s| {
        s.stats.memory?.kernel
    }),
    Family::gauge("container_memory_mapped_file", "Size of memory mapped files in bytes.", |s| {
        Some(s.stats.memory?.cache.mapped)
    }),
    Family::gauge("container_memory_swap", "Container swap usage in bytes, 0 where swap is not accounted.", |s| {
        Some(s.stats.memory?.swap.unwrap_or(0))
    }),
    Family::counter("container_memory_failcnt", "Number of memory usage hits limits", |s| s.details.memory_limit_hits),
    Family::gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |s| Some(s.stats.memory?.usage),
    ),
    Family::gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", |s| {
        s.details.memory_peak
    }),
    Family::gauge("container_memory_working_set_bytes", "Current working set in bytes.", |s| {
        Some(s.stats.memory?.working_set)
    }),
    Family::gauge("container_memory_total_active_file_bytes", "Current total active file in bytes.", |s| {
        Some(s.stats.memory?.cache.active)
    }),
    Family::gauge("container_memory_total_inactive_file_bytes", "Current total inactive file in bytes.", |s| {
        Some(s.stats.memory?.cache.inactive)
    }),
    Family::gauge(
        "container_memory_file_dirty_bytes",
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
        |s| Some(s.stats.memory?.cache.dirty),
    ),
    Family::gauge(
        "container_memory_file_writeback_bytes",
        "Number of bytes of file cache that is currently being written back to disk.",
        |s| Some(s.stats.memory?.cache.writeback),
    ),
    Family::counters(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        &["failure_type", "scope"],
        failures,
    ),
    Family::counter(
        "container_memory_workingset_refault_file_total",
        "Cumulative number of refaults of previously evicted file pages.",
        |s| s.stats.memory?.reclaim.refaults_file,
    ),
    Family::counter(
        "container_memory_workingset_refault_anon_total",
        "Cumulative number of refaults of previously evicted anonymous pages.",
        |s| s.stats.memory?.reclaim.refaults_anon,
    ),
    Family::counter(
        "container_memory_pgscan_total",
        "Cumulative number of pages scanned by the page reclaim algorithm.",
        |s| s.stats.memory?.reclaim.scanned,
    )
    .of_v2(),
    Family::counter(
        "container_memory_pgsteal_total",
        "Cumulative number of pages reclaimed by the page reclaim algorithm.",
        |s| s.stats.memory?.reclaim.stolen,
    )
    .of_v2(),
    Family::counter(
        "container_memory_events_high_total",
        "Cumulative count of memory.high throttle events for the container",
        |s| s.details.memory_high_hits,
    )
    .of_v2(),
    Family::counter(
        "container_memory_events_max_total",
        "Cumulative count of memory.max limit hit events for the container",
        |s| s.details.memory_limit_hits,
    )
    .of_v2(),
    Family::counter("container_oom_events_total", "Count of out of memory events observed for the container", |s| {
        s.details.oom_kills
    }),
];

/// Page faults, in cAdvisor's words.
fn failures(sample: &Sample) -> Vec<Value> {
    let Some(memory) = sample.stats.memory else { return Vec::new() };
    vec![
        Value::new(["pgfault", "container"], memory.own_page_faults),
        Value::new(["pgmajfault", "container"], memory.own_major_page_faults),
        Value::new(["pgfault", "hierarchy"], memory.page_faults),
        Value::new(["pgmajfault", "hierarchy"], memory.major_page_faults),
    ]
}
