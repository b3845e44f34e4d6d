//! Images.

use crate::table::{ALL, Message, done, message, noted, without_meaning};

const TOLD: &[&str] = &["images::status_and_list_tell_tags_digests_size_and_user"];
const STREAMED: &[&str] = &["events::streams_say_what_lists_say"];
const USAGE: &[&str] = &["images::image_fs_info_grows_with_images"];

pub const ROWS: &[Message] = &[
    message(
        "ImageSpec",
        &[
            done(
                &["image"],
                &[
                    "images::an_image_is_pulled_by_digest_and_without_a_tag",
                    "images::a_reference_that_cannot_be_is_refused",
                ],
            ),
            done(&["user_specified_image"], &["effects::what_is_said_is_given_back_whole"]),
            noted(
                &["annotations"],
                "said of a container's image, and given back",
                &["effects::what_is_said_is_given_back_whole"],
            ),
            noted(
                &["image_ref"],
                "said of a container's image, and given back; of an image volume what it is by",
                &[
                    "effects::what_is_said_is_given_back_whole",
                    "image_volumes::an_image_is_seen_whole_and_cannot_be_written",
                ],
            ),
            noted(
                &["runtime_handler"],
                "has to be one that there is; the image is the same for all, as there is one store",
                &["refused::what_is_out_of_bounds_makes_nothing", "effects::what_is_said_is_given_back_whole"],
            ),
        ],
    ),
    message("ListImagesRequest", &[done(ALL, TOLD)]),
    message("StreamImagesRequest", &[done(ALL, STREAMED)]),
    message("ImageFilter", &[done(ALL, TOLD)]),
    message("ListImagesResponse", &[done(ALL, TOLD)]),
    message("StreamImagesResponse", &[done(ALL, STREAMED)]),
    message(
        "Image",
        &[
            done(&["id", "repo_tags", "repo_digests", "size", "uid", "username"], TOLD),
            noted(&["spec"], "its id, and the annotations of its manifest", TOLD),
            noted(
                &["pinned"],
                "what `images.pinned` names",
                &["cli::images::images_are_tagged_inspected_saved_loaded_and_cleared_up"],
            ),
        ],
    ),
    message("ImageStatusRequest", &[done(ALL, TOLD)]),
    message("ImageStatusResponse", &[done(ALL, TOLD)]),
    message(
        "PullImageRequest",
        &[
            done(&["image"], &["images::every_format_and_compression_is_pulled_and_runs"]),
            done(&["auth"], &["credentials::a_registry_is_shown_what_the_request_says_and_another_nothing"]),
            without_meaning(&["sandbox_config"], "makes no difference: there is one image store for all pods"),
        ],
    ),
    message("PullImageResponse", &[done(ALL, TOLD)]),
    message(
        "AuthConfig",
        &[
            done(
                &["username", "password", "auth", "identity_token", "registry_token"],
                &["credentials::a_registry_is_shown_what_the_request_says_and_another_nothing"],
            ),
            done(
                &["server_address"],
                &[
                    "credentials::a_registry_is_shown_what_the_request_says_and_another_nothing",
                    "crates/images/src/registry/auth.rs::only_the_named_server_sees_them",
                ],
            ),
        ],
    ),
    message("RemoveImageRequest", &[done(ALL, &["images::a_removed_image_is_gone_with_its_layers"])]),
    message(
        "ImageFsInfoResponse",
        &[
            done(&["image_filesystems"], USAGE),
            noted(
                &["container_filesystems"],
                "the same, unless `images.root` says that images are elsewhere",
                &["images::image_fs_info_grows_with_images", "disks::images_have_a_disk_of_their_own"],
            ),
        ],
    ),
    message(
        "FilesystemUsage",
        &[noted(
            ALL,
            "of images and of writable layers",
            &["images::image_fs_info_grows_with_images", "stats::files_are_in_the_writable_layer"],
        )],
    ),
    message("FilesystemIdentifier", &[done(ALL, USAGE)]),
    message("UInt64Value", &[done(ALL, USAGE)]),
];
