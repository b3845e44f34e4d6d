//! Exec with a terminal.

use corten_e2e::{
    daemon::Setup,
    for_each_launcher, lab,
    streaming::{SCREEN, TERMINAL, TRANSPORTS, read_until, to_end},
};
use corten_streaming::remote_command::{Outcome, Size};

use super::sleeping;

for_each_launcher!(
    its_size_is_what_the_client_says,
    a_change_of_size_is_signalled,
    control_c_interrupts,
    control_d_ends_the_input,
    a_terminal_without_input_has_a_size,
    the_end_of_input_does_not_hang_it_up,
);

/// Ends when the terminal has had both sizes, one after the other.
const BOTH_SIZES: &str = "until [ \"$(stty size)\" = '50 132' ]; do sleep 0.02; done; echo first; \
                          until [ \"$(stty size)\" = '20 70' ]; do sleep 0.02; done; echo second";

fn its_size_is_what_the_client_says(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &["sh", "-c", BOTH_SIZES], TERMINAL, transport).await;
            session.resize.as_ref().unwrap().send(Size { width: 132, height: 50 }).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "first").await;
            session.resize.as_ref().unwrap().send(Size { width: 70, height: 20 }).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "second").await;
            assert_eq!(to_end(session).await.outcome, Outcome::Exited(0));
        }
    });
}

fn a_terminal_without_input_has_a_size(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &["sh", "-c", BOTH_SIZES], SCREEN, transport).await;
            session.resize.as_ref().unwrap().send(Size { width: 132, height: 50 }).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "first").await;
            session.resize.as_ref().unwrap().send(Size { width: 70, height: 20 }).await.unwrap();
            assert!(to_end(session).await.text().contains("second"));
        }
    });
}

fn a_change_of_size_is_signalled(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let script = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.02; done";
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &["sh", "-c", script], TERMINAL, transport).await;
            read_until(session.stdout.as_mut().unwrap(), "ready").await;
            session.resize.as_ref().unwrap().send(Size { width: 111, height: 33 }).await.unwrap();
            let said = to_end(session).await;
            assert_eq!(said.outcome, Outcome::Exited(5));
            assert!(said.text().contains("33 111"), "{said:?}");
        }
    });
}

fn control_c_interrupts(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let command = ["sh", "-c", "echo ready; exec sleep 1000"];
            let mut session = lab.cri.exec_session(&id, &command, TERMINAL, transport).await;
            read_until(session.stdout.as_mut().unwrap(), "ready").await;
            session.stdin.as_ref().unwrap().send("\x03".into()).await.unwrap();
            assert_eq!(to_end(session).await.outcome, Outcome::Exited(130));
        }
    });
}

fn control_d_ends_the_input(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &["cat"], TERMINAL, transport).await;
            let stdin = session.stdin.clone().unwrap();
            stdin.send("line\n".into()).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "line\r\nline\r\n").await;
            stdin.send("\x04".into()).await.unwrap();
            assert_eq!(to_end(session).await.outcome, Outcome::Exited(0));
        }
    });
}

fn the_end_of_input_does_not_hang_it_up(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = sleeping(lab).await;
        let command = ["sh", "-c", "read line; echo got $line; sleep 0.3; echo goes on; exit 6"];
        for transport in TRANSPORTS {
            let said = lab.cri.exec_to_end(&id, &command, TERMINAL, transport, b"line\n").await;
            assert!(said.text().ends_with("goes on\r\n"), "{said:?}");
            assert_eq!(said.outcome, Outcome::Exited(6));
        }
    });
}
