//! What metrics are read from.

use corten_host::cgroup::{Details, Stats};
use corten_host::network::interfaces::Interface;

use super::super::{Measured, Processes};
use super::{Family, Value, seconds};

/// One pod or container, looked at once. A part that is `None` or empty is not known, or not the subject's.
#[derive(Default)]
pub struct Sample {
    /// Whose.
    pub subject: Subject,
    /// The cgroup's usage.
    pub stats: Stats,
    /// More of the cgroup.
    pub details: Details,
    /// The names of the block devices in `details`.
    pub device_names: Vec<String>,
    /// The pod's interfaces.
    pub interfaces: Vec<Interface>,
    /// The container's processes.
    pub processes: Option<Processes>,
    /// The filesystem of the container's writable layer.
    pub filesystem: Option<Filesystem>,
    /// The container's writable layer, as last measured.
    pub layer: Option<Measured>,
    /// When it was read, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// When it was created, likewise.
    pub created_at: i64,
    /// When it was started, likewise.
    pub started_at: i64,
}

/// Whom a sample is of, in label values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The container's id, or the pod's.
    pub id: String,
    /// The container's name; `POD` for a pod's own.
    pub container: String,
    /// The container's image, as its user named it; empty for a pod's own.
    pub image: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
}

impl Subject {
    /// The values of [`super::LABELS`].
    pub fn labels(&self) -> [&str; 6] {
        let Self { id, container, image, pod, namespace } = self;
        [id, container, image, container, pod, namespace]
    }
}

/// A filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// The device it is on.
    pub device: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many inodes it can have.
    pub inodes: u64,
    /// How many more inodes it can have.
    pub inodes_free: u64,
}

/// What a sample tells by itself.
pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_last_seen", "Last time a container was seen by the exporter", |s| since_epoch(s.at)),
    Family::gauge("container_creation_time_seconds", "Container creation time since unix epoch in seconds.", |s| {
        since_epoch(s.created_at)
    }),
    Family::gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", |s| {
        since_epoch(s.started_at)
    }),
    Family::gauge("container_spec_cpu_period", "CPU period of the container.", |s| s.details.configured.cpu_period),
    Family::gauge("container_spec_cpu_quota", "CPU quota of the container; none if it has none.", |s| {
        s.details.configured.cpu_quota
    }),
    Family::gauge("container_spec_cpu_shares", "CPU share of the container.", |s| s.details.configured.cpu_shares),
    Family::gauge("container_spec_memory_limit_bytes", "Memory limit for the container in bytes, 0 for none.", |s| {
        Some(s.details.configured.memory.unwrap_or(0))
    }),
    Family::gauge(
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container in bytes, with memory on cgroup v1, 0 for none.",
        |s| Some(s.details.configured.swap.unwrap_or(0)),
    ),
    Family::gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container in bytes, 0 for none.",
        |s| Some(s.details.configured.reservation.unwrap_or(0)),
    ),
    Family::gauges("container_hugetlb_usage_bytes", "Current hugepage usage", &["pagesize"], |s| {
        s.details.hugepages.iter().map(|pages| Value::new([&pages.size], pages.usage)).collect()
    }),
    Family::gauges("container_hugetlb_max_usage_bytes", "Maximum hugepage usages recorded", &["pagesize"], |s| {
        let peaks = s.details.hugepages.iter().filter_map(|pages| Some(Value::new([&pages.size], pages.peak?)));
        peaks.collect()
    }),
];

fn since_epoch(nanoseconds: i64) -> Option<u64> {
    u64::try_from(nanoseconds).ok().filter(|time| *time > 0).map(seconds)
}
