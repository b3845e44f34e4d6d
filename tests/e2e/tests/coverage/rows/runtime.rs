//! The runtime itself.

use crate::table::{ALL, Message, Why, done, message, refused, without_meaning};

const STATUS: &[&str] = &["runtime::status_has_both_conditions_and_the_runtime_handlers"];
const FEATURES: &[&str] = &["runtime::handlers_features_are_what_their_programs_say"];
const CHECKPOINTS: &[&str] = &["refused::checkpoints_are_refused"];

pub const ROWS: &[Message] = &[
    message(
        "VersionRequest",
        &[without_meaning(
            &["version"],
            "is the version that the caller speaks, and is of no consequence: there is one",
        )],
    ),
    message("VersionResponse", &[done(ALL, &["runtime::version_is_what_the_kubelet_insists_on"])]),
    message("StatusRequest", &[done(ALL, STATUS)]),
    message("StatusResponse", &[done(&["status", "info", "runtime_handlers"], STATUS), done(&["features"], FEATURES)]),
    message("RuntimeStatus", &[done(ALL, STATUS)]),
    message(
        "RuntimeCondition",
        &[
            done(&["type", "status"], STATUS),
            done(
                &["reason", "message"],
                &["runtime::without_a_cni_configuration_the_network_is_not_ready_and_says_where_it_looked"],
            ),
        ],
    ),
    message("RuntimeHandler", &[done(&["name"], STATUS), done(&["features"], FEATURES)]),
    message("RuntimeHandlerFeatures", &[done(ALL, FEATURES)]),
    message("RuntimeFeatures", &[done(ALL, FEATURES)]),
    message("RuntimeConfigResponse", &[done(ALL, &["runtime::the_runtime_config_names_the_cgroup_driver"])]),
    message("LinuxRuntimeConfiguration", &[done(ALL, &["runtime::the_runtime_config_names_the_cgroup_driver"])]),
    message("UpdateRuntimeConfigRequest", &[done(ALL, &["pod_cidr::the_bridges_pools_follow_the_pod_cidr"])]),
    message("RuntimeConfig", &[done(ALL, &["pod_cidr::the_bridges_pools_follow_the_pod_cidr"])]),
    message(
        "NetworkConfig",
        &[done(
            ALL,
            &["pod_cidr::the_bridges_pools_follow_the_pod_cidr", "pod_cidr::cni_is_configured_from_the_template"],
        )],
    ),
    message("CheckpointContainerRequest", &[refused(ALL, Why::Checkpoints, CHECKPOINTS)]),
    message("CheckpointPodRequest", &[refused(ALL, Why::Checkpoints, CHECKPOINTS)]),
    message("RestorePodRequest", &[refused(ALL, Why::Checkpoints, CHECKPOINTS)]),
    message("RestorePodResponse", &[without_meaning(ALL, "answers a request that is refused")]),
    message("RestoredContainer", &[without_meaning(ALL, "answers a request that is refused")]),
];
