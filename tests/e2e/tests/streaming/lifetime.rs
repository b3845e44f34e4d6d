//! How long a command lives, and its session: no longer than the container, and not for long without its client.

use std::{fs::File, time::Duration};

use bytes::Bytes;
use corten_e2e::{
    cri::until,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    leaks, pods,
    streaming::{OUTPUT, PIPES, TERMINAL, TRANSPORTS, dial, read_until, to_end, uri},
};
use corten_streaming::{
    client,
    remote_command::{Outcome, Wanted},
    stream::Outgoing,
};
use tokio::time::timeout;

use super::{running, sleeping, wait_gone, wait_runs};

for_each_launcher!(
    a_session_ends_with_its_container,
    a_session_ends_with_its_pod,
    a_session_ends_when_the_container_does_so_itself,
    a_command_without_its_client_is_killed,
    a_terminal_without_its_client_is_hung_up_at_once,
    a_client_that_goes_with_a_full_pipe_is_noticed,
    a_client_that_goes_with_everything_full_is_noticed,
    a_client_that_goes_before_it_has_read_is_noticed,
    a_command_may_end_by_itself_when_its_client_is_gone,
);

/// What a command that its container's end kills says.
#[track_caller]
fn assert_killed(outcome: &Outcome) {
    assert_eq!(outcome, &Outcome::Exited(137));
}

fn a_session_ends_with_its_container(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ends");
        let pod = lab.run_pod(&config).await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, PIPES, TERMINAL] {
                let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
                let command = ["sh", "-c", "trap '' TERM HUP; echo ready; sleep 5151"];
                let mut session = lab.cri.exec_session(&id, &command, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                lab.cri.stop(&id, 0).await.unwrap();
                assert_killed(&to_end(session).await.outcome);
                lab.cri.remove(&id).await.unwrap();
            }
        }
        assert!(!leaks::processes(&lab.paths).iter().any(|line| line.contains("sleep 5151")));
    });
}

fn a_session_ends_with_its_pod(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, TERMINAL] {
                let config = lab.pod("ends");
                let pod = lab.run_pod(&config).await;
                let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
                let command = ["sh", "-c", "trap '' TERM HUP; echo ready; sleep 5252"];
                let mut session = lab.cri.exec_session(&id, &command, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                lab.cri.stop_pod(&pod).await.unwrap();
                assert_killed(&to_end(session).await.outcome);
                lab.cri.remove_pod(&pod).await.unwrap();
            }
        }
    });
}

fn a_session_ends_when_the_container_does_so_itself(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "until [ -e /tmp/end ]; do sleep 0.02; done";
        let id = running(lab, |image| pods::script("c", image, script)).await.container;
        let mut sessions = Vec::new();
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, TERMINAL] {
                let command = ["sh", "-c", "trap '' HUP; echo ready; sleep 5353"];
                let mut session = lab.cri.exec_session(&id, &command, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                sessions.push(session);
            }
        }
        lab.cri.shell(&id, "touch /tmp/end").await;
        for session in sessions {
            assert_killed(&to_end(session).await.outcome);
        }
    });
}

fn with_abandoned(mut setup: Setup, seconds: u32) -> Setup {
    setup.extra = format!("[streaming]\nabandoned_seconds = {seconds}");
    setup
}

/// Waits until the daemon has no more descriptors than before.
async fn wait_descriptors(lab: &Lab, before: usize) {
    until("the daemon to close its descriptors", async || (descriptors(lab) <= before).then_some(())).await;
}

fn descriptors(lab: &Lab) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", lab.daemon.pid())).unwrap().count()
}

/// A command that says so when it runs, and then nothing ends it but SIGKILL.
const STUBBORN: [&str; 3] = ["sh", "-c", "trap '' TERM HUP PIPE INT; echo ready; sleep 6161"];

fn a_command_without_its_client_is_killed(setup: Setup) {
    lab::test(with_abandoned(setup, 1), async |lab| {
        let id = sleeping(lab).await;
        let before = descriptors(lab);
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, PIPES, TERMINAL] {
                let mut session = lab.cri.exec_session(&id, &STUBBORN, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                wait_runs(lab, &id, "sleep 6161").await;
                drop(session);
                wait_gone(lab, &id, "sleep 6161").await;
            }
        }
        wait_descriptors(lab, before).await;
    });
}

fn a_terminal_without_its_client_is_hung_up_at_once(setup: Setup) {
    lab::test(with_abandoned(setup, 3600), async |lab| {
        let id = sleeping(lab).await;
        let script = "trap 'echo hung up > /tmp/hup; exit' HUP; echo ready; while :; do sleep 0.02; done";
        for transport in TRANSPORTS {
            for wanted in [TERMINAL, Wanted { stdin: false, ..TERMINAL }] {
                let mut session = lab.cri.exec_session(&id, &["sh", "-c", script], wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                drop(session);
                until("the command to be hung up", async || {
                    (lab.cri.exec(&id, &["cat", "/tmp/hup"]).await.stdout == "hung up\n").then_some(())
                })
                .await;
                lab.cri.shell(&id, "rm /tmp/hup").await;
            }
        }
    });
}

/// What a pipe holds.
const PIPE: usize = 64 * 1024;

/// How many bytes wait in the pipe that is the standard input of this command.
fn waiting(lab: &Lab, words: &str) -> Option<usize> {
    let pids = leaks::process_ids(&lab.paths).into_iter();
    let mut of_command = pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim_end() == words
    });
    let stdin = File::open(format!("/proc/{}/fd/0", of_command.next()?)).ok()?;
    Some(usize::try_from(rustix::io::ioctl_fionread(stdin).ok()?).unwrap())
}

fn a_client_that_goes_with_a_full_pipe_is_noticed(setup: Setup) {
    lab::test(with_abandoned(setup, 1), async |lab| {
        let id = sleeping(lab).await;
        let before = descriptors(lab);
        for transport in TRANSPORTS {
            let mut session = lab.cri.exec_session(&id, &STUBBORN, PIPES, transport).await;
            read_until(session.stdout.as_mut().unwrap(), "ready").await;
            session.stdin.as_ref().unwrap().send(vec![b'x'; 3 * PIPE].into()).await.unwrap();
            until("the pipe to be full", async || waiting(lab, "sleep 6161").filter(|bytes| *bytes == PIPE)).await;
            drop(session);
            wait_gone(lab, &id, "sleep 6161").await;
        }
        wait_descriptors(lab, before).await;
    });
}

/// Nothing more can be sent: even the end of the connection waits behind what the client's own host holds.
fn a_client_that_goes_with_everything_full_is_noticed(setup: Setup) {
    lab::test(with_abandoned(setup, 1), async |lab| {
        let id = sleeping(lab).await;
        let before = descriptors(lab);
        for transport in TRANSPORTS {
            for reset in [false, true] {
                let url = lab.cri.exec_url(&id, &STUBBORN, PIPES).await.unwrap();
                let io = dial(&url).await;
                if reset {
                    io.set_zero_linger().unwrap();
                }
                let mut session = client::remote_command(io, &uri(&url), transport, PIPES).await.unwrap();
                read_until(session.stdout.as_mut().unwrap(), "ready").await;
                fill(&session.stdin.take().unwrap()).await;
                drop(session);
                wait_gone(lab, &id, "sleep 6161").await;
            }
        }
        wait_descriptors(lab, before).await;
    });
}

/// Sends until nothing is taken any more.
async fn fill(stdin: &Outgoing) {
    let piece = Bytes::from(vec![b'x'; 32 * 1024]);
    let mut sent = 0;
    while timeout(Duration::from_secs(1), stdin.send(piece.clone())).await.is_ok_and(|sent| sent.is_ok()) {
        sent += piece.len();
        assert!(sent < 64 << 20, "a command that reads nothing is sent everything: where is it kept?");
    }
    assert!(sent > PIPE, "only {sent} bytes were taken");
}

fn a_client_that_goes_before_it_has_read_is_noticed(setup: Setup) {
    lab::test(with_abandoned(setup, 1), async |lab| {
        let id = sleeping(lab).await;
        let before = descriptors(lab);
        for transport in TRANSPORTS {
            for wanted in [OUTPUT, TERMINAL] {
                let command = ["sh", "-c", "trap '' HUP PIPE; while :; do echo 7171; done"];
                let mut session = lab.cri.exec_session(&id, &command, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "7171").await;
                drop(session);
                wait_gone(lab, &id, "echo 7171").await;
            }
        }
        wait_descriptors(lab, before).await;
    });
}

fn a_command_may_end_by_itself_when_its_client_is_gone(setup: Setup) {
    lab::test(with_abandoned(setup, 3600), async |lab| {
        let id = sleeping(lab).await;
        for transport in TRANSPORTS {
            let command = ["sh", "-c", "echo ready; cat > /tmp/read; echo done > /tmp/done"];
            let mut session = lab.cri.exec_session(&id, &command, PIPES, transport).await;
            read_until(session.stdout.as_mut().unwrap(), "ready").await;
            drop(session);
            until("the command to see the end of its input", async || {
                (lab.cri.exec(&id, &["cat", "/tmp/done"]).await.stdout == "done\n").then_some(())
            })
            .await;
            lab.cri.shell(&id, "rm /tmp/done").await;
        }
    });
}
