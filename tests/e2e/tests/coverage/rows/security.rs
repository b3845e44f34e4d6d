//! Security contexts.

use crate::table::{ALL, Message, done, message, noted};

const BY_NUMBER: &[&str] = &["security::users_and_groups_by_number"];

pub const ROWS: &[Message] = &[
    message(
        "LinuxContainerSecurityContext",
        &[
            done(
                &["capabilities"],
                &["security::capabilities_are_the_default_ones", "security::capabilities_are_added_and_dropped"],
            ),
            done(
                &["privileged"],
                &[
                    "security::a_privileged_container_may_everything",
                    "security::a_container_is_unprivileged_by_default",
                ],
            ),
            done(&["namespace_options"], &["pods::host_pid_and_ipc_are_the_hosts"]),
            noted(
                &["selinux_options"],
                "`Unimplemented` where the kernel has no SELinux",
                &[
                    "effects::what_the_kernel_lacks_is_refused_by_field",
                    "crates/node/src/spec/tests.rs::selinux_is_refused_where_there_is_none_and_completed_by_the_policy_where_there_is",
                ],
            ),
            done(&["run_as_user", "run_as_group", "supplemental_groups"], BY_NUMBER),
            done(
                &["run_as_username"],
                &["security::a_user_by_name_is_the_images", "security::an_unknown_user_is_refused"],
            ),
            done(&["readonly_rootfs"], &["security::a_read_only_root_cannot_be_written"]),
            noted(
                &["apparmor", "apparmor_profile"],
                "`Unimplemented` for a profile by name where the kernel has no AppArmor",
                &[
                    "apparmor::each_kind_of_profile_is_inits_and_execs",
                    "effects::what_the_kernel_lacks_is_refused_by_field",
                    "crates/node/src/spec/tests.rs::apparmor_by_name_is_refused_where_there_is_none",
                ],
            ),
            done(
                &["seccomp"],
                &[
                    "security::a_localhost_profile_holds_for_init_and_exec",
                    "security::the_default_profile_filters",
                    "security::unconfined_does_not_filter",
                ],
            ),
            done(&["seccomp_profile_path"], &["effects::profiles_of_the_deprecated_fields_hold"]),
            done(&["no_new_privs"], &["security::no_new_privs_is_set_and_only_if_asked"]),
            done(&["masked_paths", "readonly_paths"], &["security::masked_and_readonly_paths"]),
            done(&["supplemental_groups_policy"], &["security::the_images_groups_are_merged_or_not_by_policy"]),
        ],
    ),
    message(
        "Capability",
        &[
            done(&["add_capabilities", "drop_capabilities"], &["security::capabilities_are_added_and_dropped"]),
            done(&["add_ambient_capabilities"], &["effects::ambient_capabilities_outlive_the_change_of_user"]),
        ],
    ),
    message(
        "NamespaceOption",
        &[
            done(
                &["network"],
                &["pods::containers_share_the_pods_ipc", "pods::the_host_keeps_its_hostname_in_a_host_network_pod"],
            ),
            done(
                &["pid"],
                &[
                    "pods::a_shared_pid_namespace_is_shared",
                    "pods::each_container_has_its_own_processes",
                    "pods::host_pid_and_ipc_are_the_hosts",
                ],
            ),
            done(&["ipc"], &["pods::containers_share_the_pods_ipc", "pods::host_pid_and_ipc_are_the_hosts"]),
            done(&["target_id"], &["effects::the_processes_of_a_target_are_seen"]),
            done(
                &["userns_options"],
                &[
                    "users::root_inside_is_nobody_on_the_node",
                    "users::the_nodes_network_can_be_had",
                    "effects::a_pods_user_namespace_is_told",
                ],
            ),
        ],
    ),
    message(
        "UserNamespace",
        &[done(ALL, &["users::root_inside_is_nobody_on_the_node", "users::what_does_not_fit_is_refused"])],
    ),
    message(
        "SecurityProfile",
        &[
            done(&["profile_type"], &["security::the_default_profile_filters", "security::unconfined_does_not_filter"]),
            done(
                &["localhost_ref"],
                &[
                    "security::a_localhost_profile_holds_for_init_and_exec",
                    "security::a_localhost_profile_that_is_not_there_is_refused",
                ],
            ),
        ],
    ),
    message(
        "SELinuxOption",
        &[noted(
            ALL,
            "`Unimplemented` where the kernel has no SELinux",
            &[
                "effects::what_the_kernel_lacks_is_refused_by_field",
                "crates/node/src/spec/tests.rs::selinux_is_refused_where_there_is_none_and_completed_by_the_policy_where_there_is",
            ],
        )],
    ),
    message("Int64Value", &[done(ALL, BY_NUMBER)]),
];
