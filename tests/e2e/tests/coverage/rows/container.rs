//! Containers.

use crate::table::{ALL, Message, Why, done, message, refused, without_meaning};

const GIVEN_BACK: &[&str] = &[
    "containers::status_and_list_give_back_what_the_container_was_made_of",
    "effects::what_is_said_is_given_back_whole",
];
const VERBOSE: &[&str] = &["verbose::a_containers_points_to_its_process_and_spec"];
const LIFE: &[&str] = &["containers::a_container_is_created_started_stopped_and_removed"];
const LISTED: &[&str] = &["containers::a_list_is_filtered_by_id_state_pod_and_labels_together"];
const STREAMED: &[&str] = &["events::streams_say_what_lists_say"];

pub const ROWS: &[Message] = &[
    message(
        "CreateContainerRequest",
        &[
            done(&["pod_sandbox_id", "config"], GIVEN_BACK),
            without_meaning(
                &["sandbox_config"],
                "is, by the CRI, the one that the sandbox was run with, which is on record",
            ),
        ],
    ),
    message("CreateContainerResponse", &[done(ALL, LIFE)]),
    message(
        "ContainerConfig",
        &[
            done(&["metadata", "labels", "annotations"], GIVEN_BACK),
            done(
                &["image"],
                &[
                    "images::an_unpulled_image_makes_no_container",
                    "images::every_format_and_compression_is_pulled_and_runs",
                ],
            ),
            done(&["command", "args"], &["containers::command_and_arguments_override_the_images"]),
            done(&["working_dir"], &["containers::the_working_directory_is_the_images_or_the_pods"]),
            done(&["envs"], &["containers::the_environment_is_the_images_and_the_pods"]),
            done(
                &["mounts"],
                &["containers::mounts_are_there_and_read_only_if_asked", "effects::mounts_travel_as_asked"],
            ),
            done(&["devices"], &["effects::devices_are_there_with_what_is_permitted"]),
            done(&["log_path"], &["status::logs_are_where_the_pod_and_the_container_say"]),
            done(
                &["stdin"],
                &[
                    "streaming::attach_input::input_stays_open_for_the_next_client",
                    "streaming::attach_input::a_container_without_input_ignores_it",
                ],
            ),
            done(&["stdin_once"], &["streaming::attach_input::input_for_one_client_ends_with_it"]),
            done(&["tty"], &["streaming::attach_input::a_terminal_is_spoken_to", "users::a_terminal_is_the_users"]),
            done(&["linux"], &["containers::limits_reach_the_cgroup"]),
            refused(&["windows"], Why::Windows, &["refused::whatever_is_for_windows_is_refused"]),
            refused(&["CDI_devices"], Why::DeviceInterface, &["refused::devices_of_the_device_interface_are_refused"]),
            done(&["stop_signal"], &["status::the_stop_signal_is_the_requests_or_the_images_however_it_is_spelled"]),
        ],
    ),
    message("ContainerMetadata", &[done(ALL, GIVEN_BACK)]),
    message("KeyValue", &[done(ALL, &["containers::the_environment_is_the_images_and_the_pods"])]),
    message(
        "LinuxContainerConfig",
        &[
            done(
                &["resources"],
                &["containers::limits_reach_the_cgroup", "differential::the_built_in_launcher_makes_what_runc_makes"],
            ),
            done(
                &["security_context"],
                &["security::users_and_groups_by_number", "differential::the_built_in_launcher_makes_what_runc_makes"],
            ),
        ],
    ),
    message("StartContainerRequest", &[done(ALL, LIFE)]),
    message(
        "StopContainerRequest",
        &[
            done(&["container_id"], LIFE),
            done(
                &["timeout"],
                &[
                    "containers::a_container_that_ignores_sigterm_is_killed",
                    "containers::a_container_that_ends_on_sigterm_ends_by_itself",
                ],
            ),
        ],
    ),
    message("RemoveContainerRequest", &[done(ALL, LIFE)]),
    message("ListContainersRequest", &[done(ALL, LISTED)]),
    message("StreamContainersRequest", &[done(ALL, STREAMED)]),
    message("ContainerFilter", &[done(ALL, LISTED)]),
    message("ContainerStateValue", &[done(ALL, LISTED)]),
    message("ListContainersResponse", &[done(ALL, LISTED)]),
    message("StreamContainersResponse", &[done(ALL, STREAMED)]),
    message("Container", &[done(ALL, GIVEN_BACK)]),
    message("ContainerStatusRequest", &[done(&["container_id"], LIFE), done(&["verbose"], VERBOSE)]),
    message("ContainerStatusResponse", &[done(&["status"], GIVEN_BACK), done(&["info"], VERBOSE)]),
    message(
        "ContainerStatus",
        &[
            done(
                &[
                    "id",
                    "metadata",
                    "created_at",
                    "image",
                    "image_ref",
                    "image_id",
                    "labels",
                    "annotations",
                    "log_path",
                ],
                GIVEN_BACK,
            ),
            done(&["state"], LIFE),
            done(&["started_at", "finished_at", "message"], &["status::what_could_not_start_says_why_and_when"]),
            done(
                &["exit_code"],
                &["containers::the_exit_code_is_reported", "containers::death_by_a_signal_is_128_and_its_number"],
            ),
            done(
                &["reason"],
                &[
                    "containers::the_exit_code_is_reported",
                    "status::a_child_killed_for_memory_makes_the_end_an_oom_kill",
                    "status::a_kill_for_no_memory_is_no_oom_kill",
                ],
            ),
            done(
                &["mounts"],
                &["containers::mounts_are_there_and_read_only_if_asked", "effects::mounts_travel_as_asked"],
            ),
            done(&["resources"], &["resources::limits_of_a_running_container_change_up_and_down"]),
            done(&["user"], &["effects::what_is_said_is_given_back_whole"]),
            done(&["stop_signal"], &["status::the_stop_signal_is_the_requests_or_the_images_however_it_is_spelled"]),
        ],
    ),
    message(
        "ContainerResources",
        &[
            done(&["linux"], &["resources::limits_of_a_running_container_change_up_and_down"]),
            without_meaning(&["windows"], "is for Windows nodes"),
        ],
    ),
    message("ContainerUser", &[done(ALL, &["effects::what_is_said_is_given_back_whole"])]),
    message("LinuxContainerUser", &[done(ALL, &["effects::what_is_said_is_given_back_whole"])]),
    message(
        "UpdateContainerResourcesRequest",
        &[
            done(&["container_id", "linux"], &["resources::limits_of_a_running_container_change_up_and_down"]),
            refused(&["windows"], Why::Windows, &["refused::whatever_is_for_windows_is_refused"]),
            without_meaning(
                &["annotations"],
                "is about this one update, to extensions of a runtime, of which there are none",
            ),
        ],
    ),
];
