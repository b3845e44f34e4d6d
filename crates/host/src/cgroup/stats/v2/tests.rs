#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use super::super::{Cache, Reclaim};
use super::*;

#[test]
fn cpu_times_become_nanoseconds() {
    let text = "usage_usec 5\nuser_usec 3\nsystem_usec 2\ncore_sched.force_idle_usec 0\nnr_periods 7\nnr_throttled 1\n\
                throttled_usec 9\nnr_bursts 2\nburst_usec 4\n";
    let throttling = Throttling { periods: 7, throttled_periods: 1, throttled: 9000, burst_periods: 2, burst: 4000 };
    assert_eq!(parse_cpu(text), Cpu { usage: 5000, user: 3000, system: 2000, throttling });
}

#[test]
fn memory_is_read_from_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put(
        "memory.stat",
        "anon 2000\nfile 3000\nkernel 500\nfile_mapped 300\nfile_dirty 30\nfile_writeback 3\ninactive_file 1000\n\
         active_file 2000\nworkingset_refault_anon 8\nworkingset_refault_file 9\npgscan 70\npgsteal 60\npgfault 50\n\
         pgmajfault 4\n",
    );
    let root = memory(dir.path()).unwrap();
    assert_eq!((root.usage, root.limit, root.swap), (5500, None, None), "the root cgroup has no other files");
    put("memory.current", "6000\n");
    put("memory.max", "10000\n");
    put("memory.swap.current", "7\n");
    put("memory.swap.max", "max\n");
    let expected = Memory {
        usage: 6000,
        working_set: 5000,
        rss: 2000,
        cache: Cache { total: 3000, mapped: 300, active: 2000, inactive: 1000, dirty: 30, writeback: 3 },
        kernel: Some(500),
        limit: Some(10_000),
        available: Some(5000),
        page_faults: 50,
        major_page_faults: 4,
        own_page_faults: 50,
        own_major_page_faults: 4,
        reclaim: Reclaim { scanned: Some(70), stolen: Some(60), refaults_anon: Some(8), refaults_file: Some(9) },
        swap: Some(7),
        swap_limit: None,
    };
    assert_eq!(memory(dir.path()).unwrap(), expected);
    put("memory.max", "lots\n");
    assert!(memory(dir.path()).unwrap_err().to_string().contains("memory.max"));
}

#[test]
fn io_is_summed_over_devices() {
    let text = "8:0 rbytes=100 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n253:0 rbytes=5 wbytes=6 rios=7 wios=8\n7:0 \n";
    assert_eq!(parse_io(text), Io { read_bytes: 105, write_bytes: 26, reads: 10, writes: 12 });
}

#[test]
fn pressure_has_some_and_full() {
    let text = "some avg10=1.50 avg60=0.20 avg300=0.01 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    let pressure = parse_pressure(text);
    assert_eq!(pressure.some, Stall { avg10: 1.5, avg60: 0.2, avg300: 0.01, total: 77 });
    assert_eq!(pressure.full.total, 5);
}
