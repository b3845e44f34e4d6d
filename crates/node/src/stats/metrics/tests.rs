#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use corten_host::cgroup::{
    Configured, Cpu, Details, DeviceIo, Hugepages, Memory, Pids, Pressure, Pressures, Stall, Stats, Throttling,
};
use corten_host::network::interfaces::{Interface, Traffic};

use super::super::{Open, Processes};
use super::*;

/// A sample that knows everything but the layer.
fn full() -> Sample {
    let stall = Stall { total: 7_500_000, ..Stall::default() };
    let pressure = Some(Pressure { some: stall, full: Stall { total: 999_999, ..stall } });
    let throttling = Throttling { throttled: 3_999_999_999, ..Throttling::default() };
    let mut memory = Memory { usage: 6000, working_set: 5000, kernel: Some(5), swap: None, ..Memory::default() };
    memory.reclaim.refaults_anon = Some(1);
    memory.reclaim.refaults_file = Some(2);
    memory.reclaim.scanned = Some(3);
    memory.reclaim.stolen = Some(4);
    Sample {
        stats: Stats {
            cpu: Some(Cpu { usage: 2_500_000_000, throttling, ..Cpu::default() }),
            memory: Some(memory),
            pids: Some(Pids { current: 9, limit: None }),
            io: None,
            pressure: Pressures { cpu: pressure, memory: pressure, io: pressure },
        },
        details: Details {
            memory_peak: Some(1),
            memory_limit_hits: Some(2),
            memory_high_hits: Some(3),
            oom_kills: Some(4),
            configured: Configured {
                cpu_quota: Some(1),
                cpu_period: Some(2),
                cpu_shares: Some(3),
                ..Configured::default()
            },
            hugepages: vec![Hugepages { size: "2MB".to_owned(), usage: 4, peak: Some(8) }],
            devices: vec![DeviceIo { device: (8, 0), read_bytes: 100, ..DeviceIo::default() }],
        },
        device_names: vec!["/dev/sda".to_owned()],
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            received: Traffic { bytes: 1, packets: 2, errors: 3, dropped: 4 },
            sent: Traffic { bytes: 5, packets: 6, errors: 7, dropped: 8 },
        }],
        processes: Some(Processes {
            count: 3,
            open: Some(Open { descriptors: 12, sockets: 2 }),
            limits: vec![("max_open_files".to_owned(), 1024)],
        }),
        filesystem: Some(Filesystem { device: "/dev/sda".to_owned(), size: 1, inodes: 2, inodes_free: 3 }),
        at: 1_999_999_999,
        created_at: 1_000_000_000,
        started_at: 1_000_000_000,
        ..Sample::default()
    }
}

fn values(name: &str) -> Vec<Value> {
    let family = families(Mode::V2).find(|family| family.name == name).unwrap();
    family.values(&full())
}

#[test]
fn names_are_unique_and_described() {
    let all: Vec<&Family> = families(Mode::V2).collect();
    let names: BTreeSet<&str> = all.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), all.len());
    for family in all {
        assert!(family.name.starts_with("container_") && !family.help.is_empty(), "{}", family.name);
        let keys: BTreeSet<&&str> = LABELS.iter().chain(family.labels).collect();
        assert_eq!(keys.len(), LABELS.len() + family.labels.len(), "{}", family.name);
        // cAdvisor's name for how many inodes there are.
        let total = family.name.ends_with("_total") && family.name != "container_fs_inodes_total";
        assert_eq!(family.kind == Kind::Counter, total || family.name.ends_with("_failcnt"), "{}", family.name);
    }
    assert_eq!(Subject::default().labels().len(), LABELS.len());
}

#[test]
fn every_value_has_its_familys_labels_and_no_two_have_the_same() {
    let sample = full();
    for family in families(Mode::V2).filter(|family| family.name != "container_fs_usage_bytes") {
        let values = family.values(&sample);
        assert!(!values.is_empty(), "{} is not read", family.name);
        let labels: BTreeSet<&Vec<String>> = values.iter().map(|value| &value.labels).collect();
        assert_eq!(labels.len(), values.len(), "{}", family.name);
        assert!(labels.iter().all(|labels| labels.len() == family.labels.len()), "{}", family.name);
    }
}

#[test]
fn what_is_not_known_is_not_served() {
    let always = [
        "container_spec_memory_limit_bytes",
        "container_spec_memory_swap_limit_bytes",
        "container_spec_memory_reservation_limit_bytes",
    ];
    for family in families(Mode::V2).filter(|family| !always.contains(&family.name)) {
        assert_eq!(family.values(&Sample::default()), [], "{}", family.name);
    }
}

#[test]
fn times_are_in_whole_seconds() {
    for (name, expected) in [
        ("container_cpu_cfs_throttled_seconds_total", 3),
        ("container_pressure_cpu_waiting_seconds_total", 7),
        ("container_pressure_cpu_stalled_seconds_total", 0),
        ("container_last_seen", 1),
    ] {
        assert_eq!(values(name), [Value::new([], expected)], "{name}");
    }
    assert_eq!(values("container_cpu_usage_seconds_total"), [Value::new(["total"], 2)]);
}

#[test]
fn labels_name_the_part() {
    assert_eq!(values("container_network_transmit_errors_total"), [Value::new(["eth0"], 7)]);
    assert_eq!(values("container_ulimits_soft"), [Value::new(["max_open_files"], 1024)]);
    let read = Value::new(["/dev/sda", "8", "0", "Read"], 100);
    assert_eq!(values("container_blkio_device_usage_total")[0], read);
}

#[test]
fn what_only_version_2_has_is_described_only_there() {
    let names = |mode| families(mode).map(|family| family.name).collect::<BTreeSet<_>>();
    let only = names(Mode::V2).difference(&names(Mode::Hybrid)).copied().collect::<Vec<_>>();
    let expected = [
        "container_memory_events_high_total",
        "container_memory_events_max_total",
        "container_memory_pgscan_total",
        "container_memory_pgsteal_total",
    ];
    assert_eq!(only, expected);
    assert_eq!(names(Mode::V1), names(Mode::Hybrid));
}
