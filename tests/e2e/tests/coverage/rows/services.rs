//! The RPCs.

use crate::table::{Message, Why, done, message, refused};

pub const ROWS: &[Message] = &[
    message(
        "RuntimeService",
        &[
            done(&["Version"], &["runtime::version_is_what_the_kubelet_insists_on"]),
            done(&["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"], &["pods::a_pod_runs_stops_and_goes"]),
            done(&["PodSandboxStatus"], &["pods::status_and_list_give_back_what_the_pod_was_made_of"]),
            done(&["ListPodSandbox"], &["pods::a_list_is_filtered_by_id_state_and_labels_together"]),
            done(
                &["CreateContainer", "StartContainer", "StopContainer", "RemoveContainer"],
                &["containers::a_container_is_created_started_stopped_and_removed"],
            ),
            done(&["ListContainers"], &["containers::a_list_is_filtered_by_id_state_pod_and_labels_together"]),
            done(&["ContainerStatus"], &["containers::status_and_list_give_back_what_the_container_was_made_of"]),
            done(&["UpdateContainerResources"], &["resources::limits_of_a_running_container_change_up_and_down"]),
            done(&["ReopenContainerLog"], &["logs::rotation_under_load_loses_doubles_and_splits_nothing"]),
            done(&["ExecSync"], &["exec::output_and_exit_code_come_back"]),
            done(&["Exec"], &["streaming::exec::what_is_wanted_is_connected"]),
            done(&["Attach"], &["streaming::attach::output_is_attached_and_logged"]),
            done(&["PortForward"], &["streaming::port_forward::a_container_is_reached"]),
            done(&["ContainerStats", "ListContainerStats"], &["containers::stats_count_what_the_container_uses"]),
            done(&["UpdateRuntimeConfig"], &["pod_cidr::the_bridges_pools_follow_the_pod_cidr"]),
            done(&["Status"], &["runtime::status_has_both_conditions_and_the_runtime_handlers"]),
            done(
                &["PodSandboxStats", "ListPodSandboxStats"],
                &["stats::pod_stats_are_filtered_by_id_and_labels_and_only_of_ready_pods"],
            ),
            done(&["GetContainerEvents"], &["events::a_life_is_told_in_order_with_statuses"]),
            done(
                &["ListMetricDescriptors", "ListPodSandboxMetrics"],
                &["stats::metrics_are_described_and_tell_what_the_container_says"],
            ),
            done(&["RuntimeConfig"], &["runtime::the_runtime_config_names_the_cgroup_driver"]),
            done(&["UpdatePodSandboxResources"], &["resources::limits_of_a_pod_reach_its_own_cgroup"]),
            done(
                &[
                    "StreamPodSandboxes",
                    "StreamContainers",
                    "StreamContainerStats",
                    "StreamPodSandboxStats",
                    "StreamPodSandboxMetrics",
                ],
                &["events::streams_say_what_lists_say"],
            ),
            refused(
                &["CheckpointContainer", "CheckpointPod", "RestorePod"],
                Why::Checkpoints,
                &["refused::checkpoints_are_refused"],
            ),
        ],
    ),
    message(
        "ImageService",
        &[
            done(&["ListImages", "ImageStatus"], &["images::status_and_list_tell_tags_digests_size_and_user"]),
            done(&["PullImage"], &["images::every_format_and_compression_is_pulled_and_runs"]),
            done(&["RemoveImage"], &["images::a_removed_image_is_gone_with_its_layers"]),
            done(&["ImageFsInfo"], &["images::image_fs_info_grows_with_images"]),
            done(&["StreamImages"], &["events::streams_say_what_lists_say"]),
        ],
    ),
];
