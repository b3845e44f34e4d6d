//! The metric families that cAdvisor would export for pods and containers, in one table: their descriptors and their
//! values come from the same lines.
//!
//! Names, units and label keys are cAdvisor's, as far as the kernel offers them; a family is described only where it is
//! served. The CRI has whole numbers only, so times are in whole seconds. A pod's own values (its cgroup's and its
//! network's) have the name and container `POD` and no image, so that a sum over containers can leave them out.

mod collect;
mod cpu;
mod disk;
mod memory;
mod network;
mod pressure;
mod process;
mod sample;

pub use collect::{PodMetrics, pod};
pub use sample::{Filesystem, Sample, Subject};

use corten_host::cgroup::Mode;

/// The label keys of every family; a family's own follow.
pub const LABELS: [&str; 6] = ["id", "name", "image", "container", "pod", "namespace"];

/// A family of metrics.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it tells, for people.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The keys of its own labels.
    pub labels: &'static [&'static str],
    offered: Offered,
    read: Read,
}

/// Whether a metric only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// On which machines there is such a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Everywhere,
    CgroupV2,
}

enum Read {
    /// One number, if it is known.
    One(fn(&Sample) -> Option<u64>),
    /// A number for each combination of its own labels' values.
    Each(fn(&Sample) -> Vec<Value>),
}

/// A number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The values of the family's own labels.
    pub labels: Vec<String>,
    /// The number.
    pub value: u64,
    /// When it was measured, in nanoseconds since the Unix epoch; 0 for now.
    pub at: i64,
}

impl Value {
    fn new<const N: usize>(labels: [&str; N], value: u64) -> Self {
        Self { labels: labels.map(str::to_owned).to_vec(), value, at: 0 }
    }
}

impl Family {
    const fn counter(name: &'static str, help: &'static str, read: fn(&Sample) -> Option<u64>) -> Self {
        Self { name, help, kind: Kind::Counter, labels: &[], offered: Offered::Everywhere, read: Read::One(read) }
    }

    const fn gauge(name: &'static str, help: &'static str, read: fn(&Sample) -> Option<u64>) -> Self {
        Self { name, help, kind: Kind::Gauge, labels: &[], offered: Offered::Everywhere, read: Read::One(read) }
    }

    const fn counters(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        read: fn(&Sample) -> Vec<Value>,
    ) -> Self {
        Self { name, help, kind: Kind::Counter, labels, offered: Offered::Everywhere, read: Read::Each(read) }
    }

    const fn gauges(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        read: fn(&Sample) -> Vec<Value>,
    ) -> Self {
        Self { name, help, kind: Kind::Gauge, labels, offered: Offered::Everywhere, read: Read::Each(read) }
    }

    /// Only where the controllers are version 2's.
    const fn of_v2(mut self) -> Self {
        self.offered = Offered::CgroupV2;
        self
    }

    /// Its values in a sample.
    pub fn values(&self, sample: &Sample) -> Vec<Value> {
        match self.read {
            Read::One(read) => read(sample).map(|value| Value::new([], value)).into_iter().collect(),
            Read::Each(read) => read(sample),
        }
    }
}

/// All families that a machine offers.
pub fn families(mode: Mode) -> impl Iterator<Item = &'static Family> {
    let tables = [cpu::FAMILIES, memory::FAMILIES, disk::FAMILIES, network::FAMILIES, process::FAMILIES];
    let all = tables.into_iter().chain([pressure::FAMILIES, sample::FAMILIES]).flatten();
    all.filter(move |family| family.offered == Offered::Everywhere || mode == Mode::V2)
}

/// Nanoseconds in whole seconds.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000_000
}

#[cfg(test)]
mod tests;
