//! Processes, threads and what they have open.

use super::{Family, Sample, Value};

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_processes", "Number of processes running inside the container.", |s| {
        Some(s.processes.as_ref()?.count)
    }),
    Family::gauge("container_file_descriptors", "Number of open file descriptors for the container.", |s| {
        Some(s.processes.as_ref()?.open?.descriptors)
    }),
    Family::gauge("container_sockets", "Number of open sockets for the container.", |s| {
        Some(s.processes.as_ref()?.open?.sockets)
    }),
    Family::gauge("container_threads", "Number of threads running inside the container", |s| {
        Some(s.stats.pids?.current)
    }),
    Family::gauge(
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |s| Some(s.stats.pids?.limit.unwrap_or(0)),
    ),
    Family::gauges(
        "container_ulimits_soft",
        "Soft ulimit values for the container root process. 18446744073709551615 (-1 in 64 bits) for unlimited",
        &["ulimit"],
        limits,
    ),
];

fn limits(sample: &Sample) -> Vec<Value> {
    let limits = sample.processes.iter().flat_map(|processes| &processes.limits);
    limits.map(|(name, value)| Value::new([name], *value)).collect()
}
