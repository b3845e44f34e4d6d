#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::{Cache, Reclaim};
use super::*;

#[test]
fn memory_is_that_of_the_whole_subtree() {
    let stat = "cache 1\nrss 2\nswap 0\npgfault 5\npgmajfault 1\nhierarchical_memory_limit 10000\nhierarchical_memsw_limit 15000\n\
                total_cache 3000\ntotal_rss 2000\ntotal_swap 7\ntotal_pgfault 500\ntotal_pgmajfault 4\n\
                total_inactive_file 1000\ntotal_active_file 2000\ntotal_mapped_file 300\ntotal_dirty 30\n\
                total_writeback 3\ntotal_workingset_refault_anon 8\ntotal_workingset_refault_file 9\n";
    let memory = parse_memory(6000, stat);
    let expected = Memory {
        usage: 6000,
        working_set: 5000,
        rss: 2000,
        cache: Cache { total: 3000, mapped: 300, active: 2000, inactive: 1000, dirty: 30, writeback: 3 },
        kernel: None,
        limit: Some(10_000),
        available: Some(5000),
        page_faults: 500,
        major_page_faults: 4,
        own_page_faults: 5,
        own_major_page_faults: 1,
        reclaim: Reclaim { refaults_anon: Some(8), refaults_file: Some(9), ..Reclaim::default() },
        swap: Some(7),
        swap_limit: Some(5000),
    };
    assert_eq!(memory, expected);
}

#[test]
fn the_largest_number_is_no_limit() {
    let memory = parse_memory(10, "hierarchical_memory_limit 9223372036854771712\ntotal_inactive_file 20\n");
    assert_eq!((memory.limit, memory.available, memory.working_set, memory.swap), (None, None, 0, None));
}

#[test]
fn io_is_summed_over_devices() {
    let text = "8:0 Read 100\n8:0 Write 20\n8:0 Sync 1\n8:0 Total 120\n253:0 Read 5\n253:0 Write 6\nTotal 131\n";
    assert_eq!(sums(text), (105, 26));
    assert_eq!(sums("Total 0\nRead\n\n8:0 Read x\n"), (0, 0));
}
