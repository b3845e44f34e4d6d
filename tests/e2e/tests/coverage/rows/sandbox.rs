//! Pod sandboxes.

use crate::table::{ALL, Message, Why, done, message, noted, refused, without_meaning};

const GIVEN_BACK: &[&str] = &["pods::status_and_list_give_back_what_the_pod_was_made_of"];
const LIFE: &[&str] = &["pods::a_pod_runs_stops_and_goes"];
const LISTED: &[&str] = &["pods::a_list_is_filtered_by_id_state_and_labels_together"];

pub const ROWS: &[Message] = &[
    message(
        "RunPodSandboxRequest",
        &[
            done(&["config"], GIVEN_BACK),
            done(
                &["runtime_handler"],
                &[
                    "effects::the_handler_that_is_named_runs_the_pod",
                    "pods::a_request_that_cannot_be_is_refused_by_field",
                ],
            ),
        ],
    ),
    message("RunPodSandboxResponse", &[done(ALL, LIFE)]),
    message(
        "PodSandboxConfig",
        &[
            done(&["metadata", "labels"], GIVEN_BACK),
            noted(
                &["annotations"],
                "given back; of `kubernetes.io/ingress-bandwidth` and `egress-bandwidth` limits are made",
                &[
                    "pods::status_and_list_give_back_what_the_pod_was_made_of",
                    "effects::bandwidth_is_limited_as_the_annotations_say",
                ],
            ),
            done(
                &["hostname"],
                &["pods::hostname_is_the_pods", "pods::the_host_keeps_its_hostname_in_a_host_network_pod"],
            ),
            done(&["log_directory"], &["status::logs_are_where_the_pod_and_the_container_say"]),
            done(
                &["dns_config"],
                &["network::resolv_conf_is_the_dns_config", "network::resolv_conf_is_the_hosts_without_one"],
            ),
            done(&["port_mappings"], &["network::a_host_port_leads_to_the_pod", "network::a_host_port_is_free_again"]),
            done(&["linux"], &["pods::sysctls_are_set_in_the_pod"]),
            refused(&["windows"], Why::Windows, &["refused::whatever_is_for_windows_is_refused"]),
        ],
    ),
    message(
        "PodSandboxMetadata",
        &[
            done(&["name", "namespace"], &["stats::metrics_are_described_and_tell_what_the_container_says"]),
            done(&["uid"], GIVEN_BACK),
            done(&["attempt"], &["pods::the_same_request_again_gives_the_same_pod"]),
        ],
    ),
    message("DNSConfig", &[done(ALL, &["network::resolv_conf_is_the_dns_config"])]),
    message(
        "PortMapping",
        &[
            done(&["container_port", "host_port"], &["network::a_host_port_leads_to_the_pod"]),
            done(
                &["protocol", "host_ip"],
                &[
                    "effects::a_host_port_is_open_at_its_address_only",
                    "crates/host/src/network/bridge/tests.rs::a_host_port_can_be_bound_to_one_address_and_to_udp",
                ],
            ),
        ],
    ),
    message(
        "LinuxPodSandboxConfig",
        &[
            done(
                &["cgroup_parent"],
                &["resources::a_pods_cgroup_that_somebody_named_is_left_alone", "containers::limits_reach_the_cgroup"],
            ),
            done(&["security_context"], &["security::a_privileged_container_may_everything"]),
            done(
                &["sysctls"],
                &[
                    "pods::sysctls_are_set_in_the_pod",
                    "crates/node/src/spec/tests.rs::only_sysctls_of_the_pods_own_namespaces_pass",
                ],
            ),
            noted(
                &["overhead", "resources"],
                "on a cgroup that the runtime made; one that `cgroup_parent` names is the kubelet's",
                &["resources::limits_of_a_pod_reach_its_own_cgroup"],
            ),
        ],
    ),
    message("StopPodSandboxRequest", &[done(ALL, LIFE)]),
    message("RemovePodSandboxRequest", &[done(ALL, LIFE)]),
    message(
        "PodSandboxStatusRequest",
        &[
            done(&["pod_sandbox_id"], LIFE),
            done(&["verbose"], &["verbose::a_pods_points_to_its_namespaces_and_addresses"]),
        ],
    ),
    message(
        "PodSandboxStatusResponse",
        &[
            done(&["status"], GIVEN_BACK),
            done(
                &["info"],
                &[
                    "verbose::a_pods_points_to_its_namespaces_and_addresses",
                    "resources::limits_of_a_pod_reach_its_own_cgroup",
                ],
            ),
            done(&["containers_statuses", "timestamp"], &["effects::what_is_said_is_given_back_whole"]),
        ],
    ),
    message(
        "PodSandboxStatus",
        &[
            done(&["id", "metadata", "created_at", "labels", "annotations", "runtime_handler", "linux"], GIVEN_BACK),
            done(&["state"], LIFE),
            done(&["network"], &["network::a_pod_has_an_address_and_is_reached_at_it"]),
        ],
    ),
    message(
        "PodSandboxNetworkStatus",
        &[
            done(&["ip"], &["network::a_pod_has_an_address_and_is_reached_at_it"]),
            done(&["additional_ips"], &["pod_cidr::the_bridges_pools_follow_the_pod_cidr"]),
        ],
    ),
    message("PodIP", &[done(ALL, &["pod_cidr::the_bridges_pools_follow_the_pod_cidr"])]),
    message("LinuxPodSandboxStatus", &[done(ALL, &["effects::a_pods_user_namespace_is_told"])]),
    message("Namespace", &[done(ALL, &["effects::a_pods_user_namespace_is_told"])]),
    message("ListPodSandboxRequest", &[done(ALL, LISTED)]),
    message("StreamPodSandboxesRequest", &[done(ALL, &["events::streams_say_what_lists_say"])]),
    message("PodSandboxFilter", &[done(ALL, LISTED)]),
    message("PodSandboxStateValue", &[done(ALL, LISTED)]),
    message("ListPodSandboxResponse", &[done(ALL, LISTED)]),
    message("StreamPodSandboxesResponse", &[done(ALL, &["events::streams_say_what_lists_say"])]),
    message("PodSandbox", &[done(ALL, GIVEN_BACK)]),
    message(
        "UpdatePodSandboxResourcesRequest",
        &[done(
            ALL,
            &[
                "resources::limits_of_a_pod_reach_its_own_cgroup",
                "resources::a_pods_cgroup_that_somebody_named_is_left_alone",
            ],
        )],
    ),
    message(
        "LinuxSandboxSecurityContext",
        &[
            done(&["namespace_options"], &["pods::host_pid_and_ipc_are_the_hosts"]),
            noted(
                &["privileged"],
                "without it none of the pod's containers may be privileged",
                &["security::a_privileged_container_may_everything"],
            ),
            without_meaning(
                &[
                    "selinux_options",
                    "run_as_user",
                    "run_as_group",
                    "readonly_rootfs",
                    "supplemental_groups",
                    "supplemental_groups_policy",
                    "seccomp",
                    "seccomp_profile_path",
                    "apparmor",
                ],
                "is about processes of the sandbox itself (the CRI says that it does not apply to containers), and a sandbox \
                 of Corten has none: no pause process. Its value is checked all the same",
            ),
        ],
    ),
];
