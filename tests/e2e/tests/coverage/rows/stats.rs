//! Stats and metrics.

use crate::table::{ALL, Message, done, message, noted, without_meaning};

const BUSY: &[&str] = &["stats::a_container_that_computes_has_a_rate"];
const MEMORY: &[&str] = &["stats::memory_is_in_the_working_set_and_its_limit_leaves_the_rest"];
const PRESSURE: &[&str] = &["stats::pressure_is_told_where_the_kernel_tells_it"];
const TRAFFIC: &[&str] = &["stats::a_pods_traffic_is_that_of_its_interfaces"];
const METRICS: &[&str] = &["stats::metrics_are_described_and_tell_what_the_container_says"];
const PODS: &[&str] = &["stats::pod_stats_are_filtered_by_id_and_labels_and_only_of_ready_pods"];
const COUNTED: &[&str] = &["containers::stats_count_what_the_container_uses"];
const PROCESSES: &[&str] = &["stats::a_pods_processes_are_those_of_its_containers"];
const LAYER: &[&str] = &["stats::a_container_that_does_not_run_has_only_its_writable_layer"];
const STREAMED: &[&str] = &["events::streams_say_what_lists_say"];

pub const ROWS: &[Message] = &[
    message("ContainerStatsRequest", &[done(ALL, COUNTED)]),
    message("ContainerStatsResponse", &[done(ALL, COUNTED)]),
    message("ListContainerStatsRequest", &[done(ALL, COUNTED)]),
    message("StreamContainerStatsRequest", &[done(ALL, STREAMED)]),
    message(
        "ContainerStatsFilter",
        &[done(ALL, &["effects::container_stats_are_filtered_by_id_pod_and_labels_together"])],
    ),
    message("ListContainerStatsResponse", &[done(ALL, COUNTED)]),
    message("StreamContainerStatsResponse", &[done(ALL, STREAMED)]),
    message("ContainerAttributes", &[done(ALL, &["effects::what_is_said_is_given_back_whole"])]),
    message(
        "ContainerStats",
        &[
            done(&["attributes", "writable_layer"], LAYER),
            done(&["cpu"], BUSY),
            done(&["memory"], MEMORY),
            noted(
                &["swap"],
                "where cgroups count swap",
                &[
                    "effects::swap_is_told_where_cgroups_count_it",
                    "crates/node/src/rpc/stats_message.rs::swap_left_is_told_where_it_is_limited",
                ],
            ),
            noted(&["io"], "where the kernel tells pressure", PRESSURE),
        ],
    ),
    message("PodSandboxStatsRequest", &[done(ALL, PODS)]),
    message("PodSandboxStatsResponse", &[done(ALL, PODS)]),
    message("ListPodSandboxStatsRequest", &[done(ALL, PODS)]),
    message("StreamPodSandboxStatsRequest", &[done(ALL, STREAMED)]),
    message("PodSandboxStatsFilter", &[done(ALL, PODS)]),
    message("ListPodSandboxStatsResponse", &[done(ALL, PODS)]),
    message("StreamPodSandboxStatsResponse", &[done(ALL, STREAMED)]),
    message("PodSandboxAttributes", &[done(ALL, PODS)]),
    message(
        "PodSandboxStats",
        &[done(&["attributes", "linux"], PODS), without_meaning(&["windows"], "is for Windows nodes")],
    ),
    message(
        "LinuxPodSandboxStats",
        &[
            done(&["cpu"], BUSY),
            done(&["memory"], MEMORY),
            done(&["network"], TRAFFIC),
            done(&["process"], PROCESSES),
            done(&["containers"], LAYER),
            noted(&["io"], "where the kernel tells pressure", PRESSURE),
        ],
    ),
    message(
        "CpuUsage",
        &[
            done(&["timestamp"], COUNTED),
            done(&["usage_core_nano_seconds", "usage_nano_cores"], BUSY),
            noted(&["psi"], "where the kernel tells pressure", PRESSURE),
        ],
    ),
    message(
        "MemoryUsage",
        &[
            done(&["timestamp"], COUNTED),
            done(
                &[
                    "working_set_bytes",
                    "available_bytes",
                    "usage_bytes",
                    "rss_bytes",
                    "page_faults",
                    "major_page_faults",
                ],
                MEMORY,
            ),
            noted(&["psi"], "where the kernel tells pressure", PRESSURE),
        ],
    ),
    message("IoUsage", &[noted(ALL, "where the kernel tells pressure", PRESSURE)]),
    message(
        "SwapUsage",
        &[noted(
            ALL,
            "where cgroups count swap",
            &[
                "effects::swap_is_told_where_cgroups_count_it",
                "crates/node/src/rpc/stats_message.rs::swap_left_is_told_where_it_is_limited",
            ],
        )],
    ),
    message(
        "PsiStats",
        &[noted(
            ALL,
            "where the kernel tells pressure",
            &[
                "stats::pressure_is_told_where_the_kernel_tells_it",
                "crates/node/src/rpc/stats_message.rs::pressure_is_told_in_nanoseconds_where_there_is_some",
            ],
        )],
    ),
    message(
        "PsiData",
        &[noted(
            ALL,
            "where the kernel tells pressure",
            &[
                "stats::pressure_is_told_where_the_kernel_tells_it",
                "crates/node/src/rpc/stats_message.rs::pressure_is_told_in_nanoseconds_where_there_is_some",
            ],
        )],
    ),
    message("NetworkUsage", &[done(ALL, TRAFFIC)]),
    message("NetworkInterfaceUsage", &[done(ALL, TRAFFIC)]),
    message("ProcessUsage", &[done(ALL, PROCESSES)]),
    message("ListMetricDescriptorsResponse", &[done(ALL, METRICS)]),
    message("MetricDescriptor", &[done(ALL, METRICS)]),
    message("ListPodSandboxMetricsResponse", &[done(ALL, METRICS)]),
    message("StreamPodSandboxMetricsResponse", &[done(ALL, STREAMED)]),
    message("PodSandboxMetrics", &[done(ALL, METRICS)]),
    message("ContainerMetrics", &[done(ALL, METRICS)]),
    message("Metric", &[done(ALL, METRICS)]),
];
