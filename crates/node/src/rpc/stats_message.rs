//! Containers' and pods' stats in the CRI's messages.

use std::path::Path;

use corten_cri::v1;
use corten_host::cgroup::{Pressure, Stall, Stats};
use corten_host::network::interfaces::Interface;
use corten_images::Usage;

use super::container_message::metadata;
use super::pod_message;
use crate::container::Container;
use crate::node::Node;
use crate::pod::Pod;
use crate::stats::{ContainerUsage, PodTraffic, PodUsage, Running};

/// A container's stats. One that does not run has only its writable layer.
pub fn container(node: &Node, container: &Container, usage: &ContainerUsage) -> v1::ContainerStats {
    let running = usage.running.as_ref();
    v1::ContainerStats {
        attributes: Some(attributes(container)),
        cpu: running.and_then(|Running { at, cgroup, nano_cores, processes: _ }| cpu(cgroup, *nano_cores, *at)),
        memory: running.and_then(|running| memory(&running.cgroup, running.at)),
        writable_layer: usage.layer.map(|layer| filesystem(node.images.snapshots_in(), layer.usage, layer.at)),
        swap: running.and_then(|running| swap(&running.cgroup, running.at)),
        io: running.and_then(|running| io(&running.cgroup, running.at)),
    }
}

/// A pod's stats.
pub fn pod(node: &Node, pod: &Pod, usage: &PodUsage) -> v1::PodSandboxStats {
    let PodUsage { at, cgroup, nano_cores, network, containers } = usage;
    let linux = v1::LinuxPodSandboxStats {
        cpu: cpu(cgroup, *nano_cores, *at),
        memory: memory(cgroup, *at),
        network: network.as_ref().map(|traffic| traffic_of(traffic, *at)),
        process: Some(v1::ProcessUsage { timestamp: *at, process_count: value(usage.processes()) }),
        containers: containers.iter().map(|(of_pod, usage)| container(node, of_pod, usage)).collect(),
        io: io(cgroup, *at),
    };
    let attributes = v1::PodSandboxAttributes {
        id: pod.id.clone(),
        metadata: Some(pod_message::metadata(pod)),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
    };
    v1::PodSandboxStats { attributes: Some(attributes), linux: Some(linux), windows: None }
}

fn attributes(container: &Container) -> v1::ContainerAttributes {
    v1::ContainerAttributes {
        id: container.id().into(),
        metadata: Some(metadata(container)),
        labels: container.config().labels.clone(),
        annotations: container.config().annotations.clone(),
    }
}

fn cpu(stats: &Stats, nano_cores: Option<u64>, timestamp: i64) -> Option<v1::CpuUsage> {
    let usage = stats.cpu.as_ref()?.usage;
    Some(v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(usage),
        usage_nano_cores: nano_cores.and_then(value),
        psi: stats.pressure.cpu.map(psi),
    })
}

fn memory(stats: &Stats, timestamp: i64) -> Option<v1::MemoryUsage> {
    let memory = stats.memory.as_ref()?;
    Some(v1::MemoryUsage {
        timestamp,
        working_set_bytes: value(memory.working_set),
        available_bytes: memory.available.and_then(value),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
        psi: stats.pressure.memory.map(psi),
    })
}

fn swap(stats: &Stats, timestamp: i64) -> Option<v1::SwapUsage> {
    let memory = stats.memory.as_ref()?;
    let used = memory.swap?;
    let left = memory.swap_limit.map(|limit| limit.saturating_sub(used));
    Some(v1::SwapUsage { timestamp, swap_available_bytes: left.and_then(value), swap_usage_bytes: value(used) })
}

/// The message has nothing but the pressure, so there is none without.
fn io(stats: &Stats, timestamp: i64) -> Option<v1::IoUsage> {
    Some(v1::IoUsage { timestamp, psi: Some(psi(stats.pressure.io?)) })
}

fn psi(pressure: Pressure) -> v1::PsiStats {
    let data = |stall: Stall| v1::PsiData {
        // The kernel's are microseconds.
        total: stall.total.saturating_mul(1000),
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    v1::PsiStats { full: Some(data(pressure.full)), some: Some(data(pressure.some)) }
}

fn traffic_of(traffic: &PodTraffic, timestamp: i64) -> v1::NetworkUsage {
    v1::NetworkUsage {
        timestamp,
        default_interface: traffic.default.as_ref().map(interface),
        interfaces: traffic.others.iter().map(interface).collect(),
    }
}

fn interface(interface: &Interface) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: interface.name.clone(),
        rx_bytes: value(interface.received.bytes),
        rx_errors: value(interface.received.errors),
        tx_bytes: value(interface.sent.bytes),
        tx_errors: value(interface.sent.errors),
    }
}

/// A filesystem's usage.
pub fn filesystem(mountpoint: &Path, usage: Usage, timestamp: i64) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: mountpoint.to_string_lossy().into_owned() }),
        used_bytes: value(usage.bytes),
        inodes_used: value(usage.inodes),
    }
}

fn value(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use corten_host::cgroup::{Cpu, Memory, Pressures};

    use super::*;

    #[test]
    fn pressure_is_told_in_nanoseconds_where_there_is_some() {
        let some = Stall { avg10: 1.5, avg60: 0.5, avg300: 0.25, total: 77 };
        let pressure = Some(Pressure { some, full: Stall { total: 5, ..Stall::default() } });
        let mut stats = Stats { cpu: Some(Cpu::default()), memory: Some(Memory::default()), ..Stats::default() };
        assert_eq!(cpu(&stats, None, 1).unwrap().psi, None);
        assert_eq!(memory(&stats, 1).unwrap().psi, None);
        assert_eq!(io(&stats, 1), None);
        stats.pressure = Pressures { cpu: pressure, memory: pressure, io: pressure };
        let expected = v1::PsiStats {
            some: Some(v1::PsiData { total: 77_000, avg10: 1.5, avg60: 0.5, avg300: 0.25 }),
            full: Some(v1::PsiData { total: 5000, ..v1::PsiData::default() }),
        };
        assert_eq!(cpu(&stats, None, 1).unwrap().psi, Some(expected));
        assert_eq!(memory(&stats, 1).unwrap().psi, Some(expected));
        assert_eq!(io(&stats, 1).unwrap().psi, Some(expected));
    }

    #[test]
    fn swap_left_is_told_where_it_is_limited() {
        let of = |swap, swap_limit| {
            swap_of(Memory { swap, swap_limit, ..Memory::default() }).map(|swap| swap.swap_available_bytes)
        };
        fn swap_of(memory: Memory) -> Option<v1::SwapUsage> {
            swap(&Stats { memory: Some(memory), ..Stats::default() }, 1)
        }
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(3), None), Some(None));
        assert_eq!(of(Some(3), Some(10)), Some(value(7)));
        assert_eq!(of(Some(11), Some(10)), Some(value(0)));
    }
}
