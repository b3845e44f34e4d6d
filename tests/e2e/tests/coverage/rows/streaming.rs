//! Exec, attach, port-forward and logs.

use crate::table::{ALL, Message, done, message};

const CONNECTED: &[&str] =
    &["streaming::exec::what_is_wanted_is_connected", "streaming::requests::streams_that_cannot_be_are_refused"];
const ATTACHED: &[&str] =
    &["streaming::attach::only_what_is_wanted_comes", "streaming::requests::streams_that_cannot_be_are_refused"];
const URLS: &[&str] =
    &["streaming::http::a_url_is_good_for_one_use", "streaming::http::a_url_is_good_for_what_was_asked"];

pub const ROWS: &[Message] = &[
    message(
        "ExecSyncRequest",
        &[
            done(&["container_id", "cmd"], &["exec::output_and_exit_code_come_back"]),
            done(&["timeout"], &["exec::a_timed_out_process_is_gone_with_its_children"]),
        ],
    ),
    message("ExecSyncResponse", &[done(ALL, &["exec::output_and_exit_code_come_back"])]),
    message("ExecRequest", &[done(ALL, CONNECTED)]),
    message("ExecResponse", &[done(ALL, URLS)]),
    message(
        "AttachRequest",
        &[
            done(&["container_id", "stdout", "stderr"], ATTACHED),
            done(&["stdin"], &["streaming::attach_input::input_stays_open_for_the_next_client"]),
            done(&["tty"], &["streaming::attach_input::a_terminal_is_spoken_to"]),
        ],
    ),
    message("AttachResponse", &[done(ALL, URLS)]),
    message(
        "PortForwardRequest",
        &[
            done(&["pod_sandbox_id"], &["streaming::port_forward::a_container_is_reached"]),
            done(
                &["port"],
                &[
                    "streaming::port_forward_old_clients::channels_carry_the_ports_that_were_named_beforehand",
                    "streaming::requests::ports_that_cannot_be_are_refused",
                ],
            ),
        ],
    ),
    message("PortForwardResponse", &[done(ALL, URLS)]),
    message(
        "ReopenContainerLogRequest",
        &[done(
            ALL,
            &[
                "logs::rotation_under_load_loses_doubles_and_splits_nothing",
                "logs::the_log_of_what_does_not_run_is_not_reopened",
            ],
        )],
    ),
];
