//! Mounts and devices.

use crate::table::{ALL, Message, Why, done, message, noted, refused};

pub const ROWS: &[Message] = &[
    message(
        "Mount",
        &[
            done(
                &["container_path"],
                &[
                    "containers::mounts_are_there_and_read_only_if_asked",
                    "containers::a_mount_cannot_leave_the_container",
                    "containers::a_mount_of_nothing_is_refused",
                ],
            ),
            done(&["host_path"], &["containers::a_file_can_be_mounted", "containers::a_mount_of_nothing_is_refused"]),
            done(&["readonly"], &["containers::mounts_are_there_and_read_only_if_asked"]),
            noted(
                &["selinux_relabel"],
                "where the kernel has SELinux; elsewhere there are no labels to set",
                &[
                    "effects::what_the_kernel_lacks_is_refused_by_field",
                    "crates/node/src/spec/sources.rs::sources_that_ask_for_it_are_labelled",
                ],
            ),
            done(
                &["propagation"],
                &[
                    "effects::mounts_travel_as_asked",
                    "containers::mounts_propagate_from_and_to_a_directory_of_the_nodes_root",
                ],
            ),
            done(
                &["uidMappings", "gidMappings"],
                &[
                    "users::a_volume_stores_the_ids_of_the_inside",
                    "users::a_runtime_that_cannot_map_a_volume_is_not_asked_to",
                ],
            ),
            done(&["recursive_read_only"], &["effects::a_mount_is_read_only_with_or_without_what_is_below_it"]),
            done(
                &["image"],
                &[
                    "image_volumes::an_image_is_seen_whole_and_cannot_be_written",
                    "image_volumes::an_image_stays_while_a_container_has_it",
                    "image_volumes::in_a_user_namespace_its_files_have_their_owners",
                    "image_volumes::what_cannot_be_mounted_is_refused_and_leaves_nothing",
                ],
            ),
            done(
                &["image_sub_path"],
                &[
                    "image_volumes::a_part_of_an_image_is_seen_and_nothing_outside_of_it",
                    "image_volumes::what_cannot_be_mounted_is_refused_and_leaves_nothing",
                    "crates/monitor/tests/launcher/mounts.rs::parts_of_images_are_confined_to_them",
                ],
            ),
            done(
                &["mount_options"],
                &[
                    "containers::mount_options_hold_for_their_mount",
                    "image_volumes::an_image_is_seen_whole_and_cannot_be_written",
                ],
            ),
        ],
    ),
    message(
        "IDMapping",
        &[done(ALL, &["users::root_inside_is_nobody_on_the_node", "users::what_does_not_fit_is_refused"])],
    ),
    message("Device", &[done(ALL, &["effects::devices_are_there_with_what_is_permitted"])]),
    message(
        "CDIDevice",
        &[refused(ALL, Why::DeviceInterface, &["refused::devices_of_the_device_interface_are_refused"])],
    ),
];
