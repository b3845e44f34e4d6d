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
                "without SELinux there are no labels to set",
                &["effects::what_the_kernel_lacks_is_refused_by_field"],
            ),
            done(&["propagation"], &["effects::mounts_travel_as_asked"]),
            done(
                &["uidMappings", "gidMappings"],
                &[
                    "users::a_volume_stores_the_ids_of_the_inside",
                    "users::a_runtime_that_cannot_map_a_volume_is_not_asked_to",
                ],
            ),
            done(&["recursive_read_only"], &["effects::a_mount_is_read_only_with_or_without_what_is_below_it"]),
            refused(
                &["image", "image_sub_path"],
                Why::ImageVolumes,
                &["crates/node/src/container/config/tests.rs::what_is_not_done_yet_is_refused_when_asked_for"],
            ),
            done(&["mount_options"], &["containers::mount_options_hold_for_their_mount"]),
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
