#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use proptest::prelude::*;

use super::*;

fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn memory_of_v1_is_read_from_its_files() {
    let dir = files(&[
        ("memory.max_usage_in_bytes", "9000\n"),
        ("memory.failcnt", "3\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("memory.limit_in_bytes", "10000\n"),
        ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
        ("memory.soft_limit_in_bytes", "5000\n"),
    ]);
    let mut details = Details::default();
    memory_v1(dir.path(), &mut details).unwrap();
    assert_eq!((details.memory_peak, details.memory_limit_hits, details.oom_kills), (Some(9000), Some(3), Some(2)));
    let configured = Configured { memory: Some(10_000), reservation: Some(5000), ..Configured::default() };
    assert_eq!((details.configured, details.memory_high_hits), (configured, None));
}

#[test]
fn memory_of_v2_is_read_from_its_files() {
    let dir = files(&[
        ("memory.events", "low 0\nhigh 4\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ("memory.peak", "9000\n"),
        ("memory.max", "10000\n"),
        ("memory.swap.max", "max\n"),
        ("memory.min", "0\n"),
    ]);
    let mut details = Details::default();
    memory_v2(dir.path(), &mut details).unwrap();
    let expected = Details {
        memory_peak: Some(9000),
        memory_limit_hits: Some(9),
        memory_high_hits: Some(4),
        oom_kills: Some(1),
        configured: Configured { memory: Some(10_000), ..Configured::default() },
        ..Details::default()
    };
    assert_eq!(details, expected);
}

#[test]
fn cpu_limits_are_read_in_both_versions() {
    let v1 = files(&[("cpu.shares", "1024\n"), ("cpu.cfs_period_us", "100000\n"), ("cpu.cfs_quota_us", "-1\n")]);
    let mut configured = Configured::default();
    cpu_v1(v1.path(), &mut configured).unwrap();
    let expected = Configured { cpu_shares: Some(1024), cpu_period: Some(100_000), ..Configured::default() };
    assert_eq!(configured, expected);
    let v2 = files(&[("cpu.weight", "100\n"), ("cpu.max", "50000 100000\n")]);
    let mut configured = Configured::default();
    cpu_v2(v2.path(), &mut configured).unwrap();
    assert_eq!(configured, Configured { cpu_quota: Some(50_000), ..expected });
}

#[test]
fn hugepages_are_told_by_size_without_reservations() {
    let v1 = files(&[
        ("hugetlb.2MB.usage_in_bytes", "4\n"),
        ("hugetlb.2MB.max_usage_in_bytes", "8\n"),
        ("hugetlb.2MB.rsvd.usage_in_bytes", "16\n"),
        ("hugetlb.1GB.usage_in_bytes", "0\n"),
    ]);
    let (small, large) = (("2MB", 4, Some(8)), ("1GB", 0, None));
    let of = |(size, usage, peak): (&str, u64, Option<u64>)| Hugepages { size: size.to_owned(), usage, peak };
    assert_eq!(hugepages(v1.path(), Version::V1).unwrap(), [of(large), of(small)]);
    let v2 =
        files(&[("hugetlb.2MB.current", "4\n"), ("hugetlb.2MB.rsvd.current", "16\n"), ("hugetlb.2MB.max", "max\n")]);
    assert_eq!(hugepages(v2.path(), Version::V2).unwrap(), [of(("2MB", 4, None))]);
}

#[test]
fn devices_are_told_one_by_one_in_both_versions() {
    let v1 = files(&[
        ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 100\n8:0 Write 20\n8:0 Total 120\nTotal 120\n"),
        ("blkio.throttle.io_serviced_recursive", "8:0 Read 3\n8:0 Write 4\n253:1 Read 5\nTotal 12\n"),
    ]);
    let disk = DeviceIo { device: (8, 0), read_bytes: 100, write_bytes: 20, reads: 3, writes: 4 };
    let other = DeviceIo { device: (253, 1), reads: 5, ..DeviceIo::default() };
    assert_eq!(devices_v1(v1.path()).unwrap(), [disk, other]);
    let text = "8:0 rbytes=100 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n253:1 rios=5\n7:0 \nx:y rios=1\n";
    let idle = DeviceIo { device: (7, 0), ..DeviceIo::default() };
    assert_eq!(parse_devices_v2(text), [idle, disk, other]);
}

#[test]
fn nothing_there_is_nothing_known() {
    let dir = files(&[]);
    let mut details = Details::default();
    memory_v1(dir.path(), &mut details).unwrap();
    memory_v2(dir.path(), &mut details).unwrap();
    cpu_v1(dir.path(), &mut details.configured).unwrap();
    cpu_v2(dir.path(), &mut details.configured).unwrap();
    assert_eq!(details, Details::default());
    assert!(devices_v1(dir.path()).unwrap().is_empty());
}

proptest! {
    #[test]
    fn the_number_of_devices_is_bounded(numbers in proptest::collection::vec(any::<(u32, u32)>(), 0..200), end in ".{0,20}") {
        let text: String = numbers.iter().map(|(major, minor)| format!("{major}:{minor} rios={end}\n")).collect();
        prop_assert!(parse_devices_v2(&text).len() <= MAX_DEVICES);
    }
}
