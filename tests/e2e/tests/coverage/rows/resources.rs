//! Limits.

use crate::table::{ALL, Message, done, message, noted};

const AT_THE_START: &str = "resources::limits_changed_before_the_start_are_there_at_the_start";
const CHANGED: &str = "resources::limits_of_a_running_container_change_up_and_down";

pub const ROWS: &[Message] = &[
    message(
        "LinuxContainerResources",
        &[
            done(&["cpu_period", "cpu_quota", "cpuset_cpus"], &["containers::limits_reach_the_cgroup", CHANGED]),
            done(&["cpu_shares"], &[AT_THE_START, CHANGED]),
            done(
                &["memory_limit_in_bytes"],
                &["containers::limits_reach_the_cgroup", "containers::memory_over_the_limit_is_an_oom_kill", CHANGED],
            ),
            noted(
                &["oom_score_adj"],
                "of a container; a pod has no process of its own",
                &[AT_THE_START, "resources::the_oom_score_follows_for_processes_that_did_not_choose_their_own"],
            ),
            done(&["cpuset_mems"], &[CHANGED]),
            noted(
                &["hugepage_limits"],
                "withheld, with a word in the log, where the node's cgroups cannot limit huge pages: the kubelet limits them always",
                &[
                    "limits::huge_pages_are_limited_and_limited_otherwise",
                    "limits::huge_pages_are_limited_where_cgroups_are_of_version_2",
                    "crates/node/src/spec/tests.rs::limits_that_the_node_cannot_set_are_left_out_or_refused",
                ],
            ),
            noted(
                &["unified"],
                "`Unimplemented` where cgroups are not version 2",
                &[
                    "limits::files_of_cgroups_are_set_by_name",
                    "cgroup_v2::every_limit_reaches_its_file",
                    "limits::files_of_version_2_are_refused_where_cgroups_are_not",
                    "crates/host/src/cgroup/limits/tests.rs::unified_keys_are_files_of_the_cgroup_and_nothing_else",
                ],
            ),
            noted(
                &["memory_swap_limit_in_bytes"],
                "memory and swap together; without it there is no swap to use",
                &["limits::swap_is_what_the_sum_leaves_and_none_without_one", CHANGED],
            ),
        ],
    ),
    message(
        "HugepageLimit",
        &[done(
            ALL,
            &[
                "limits::huge_pages_are_limited_and_limited_otherwise",
                "limits::huge_pages_of_a_size_that_the_kernel_has_not_are_refused",
            ],
        )],
    ),
];
