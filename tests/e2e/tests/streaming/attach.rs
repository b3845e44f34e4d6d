//! Attach: what a container prints.

use std::path::Path;

use corten_cri::v1::{ContainerConfig, ContainerState};
use corten_e2e::{
    cri::until,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab, read_log},
    pods,
    streaming::{OUTPUT, SCREEN, Said, TRANSPORTS, everything, read_until, to_end},
};
use corten_streaming::{
    client::{RemoteCommand, Transport},
    remote_command::{Outcome, Wanted},
};

use super::running;

for_each_launcher!(
    output_is_attached_and_logged,
    only_what_is_wanted_comes,
    output_before_the_exit_is_complete,
    several_clients_all_get_everything,
    a_detached_client_leaves_the_container_alone,
    a_session_ends_with_its_pod,
    after_a_restart_of_the_daemon_it_can_be_attached_again,
);

/// A container that ticks until it is let [`go`], so that a client can see that it is attached, and then does what `then`
/// says.
fn ticking(image: &str, then: &str) -> ContainerConfig {
    named("c", image, then)
}

/// The same with a name, and so a log, of its own.
fn named(name: &str, image: &str, then: &str) -> ContainerConfig {
    pods::script(name, image, &format!("until [ -e /tmp/go ]; do echo tick; echo tock >&2; sleep 0.02; done; {then}"))
}

/// Lets a [`ticking`] container go.
async fn go(lab: &Lab, container: &str) {
    lab.cri.let_go(container).await;
}

/// Attaches, and waits until something comes, whole lines of it: what is read of a terminal may end anywhere.
async fn attached(lab: &Lab, container: &str, wanted: Wanted, transport: Transport) -> RemoteCommand {
    let mut session = lab.cri.attach_session(container, wanted, transport).await;
    for (stream, text) in [(&mut session.stdout, "tick"), (&mut session.stderr, "tock")] {
        if let Some(stream) = stream {
            let mut come = read_until(stream, text).await;
            while !come.ends_with('\n') {
                come = read_until(stream, "\n").await;
            }
        }
    }
    session
}

/// What was said beside the ticking.
fn said(stream: &[u8]) -> String {
    let text = String::from_utf8_lossy(stream).replace('\r', "");
    text.replace("tick\n", "").replace("tock\n", "")
}

fn output_is_attached_and_logged(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("attach");
        let pod = lab.run_pod(&config).await;
        for transport in TRANSPORTS {
            for tty in [false, true] {
                let name = format!("{transport:?}-{tty}").to_lowercase();
                let container = ContainerConfig { tty, ..named(&name, &image, "echo out; echo err >&2; exit 5") };
                let id = lab.start(&pod, &config, &container).await;
                let wanted = if tty { SCREEN } else { OUTPUT };
                let session = attached(lab, &id, wanted, transport).await;
                go(lab, &id).await;
                let Said { stdout, stderr, outcome } = to_end(session).await;
                let expected = if tty { ("out\nerr\n", "") } else { ("out\n", "err\n") };
                assert_eq!((said(&stdout).as_str(), said(&stderr).as_str()), expected, "{transport:?} {tty}");
                assert_eq!(outcome, Outcome::Exited(0), "the container's end is the session's, not its failure");
                let status = lab.cri.wait_exited(&id).await;
                assert_eq!(status.exit_code, 5);
                let log = read_log(Path::new(&status.log_path));
                let logged = |text: &str| log.iter().filter(|line| line.text.trim_end() == text).count();
                assert_eq!((logged("out"), logged("err")), (1, 1));
                lab.cri.remove(&id).await.unwrap();
            }
        }
    });
}

fn only_what_is_wanted_comes(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = running(lab, |image| ticking(image, "echo out; echo err >&2")).await.container;
        let mut sessions = Vec::new();
        for transport in TRANSPORTS {
            for (stdout, stderr) in [(true, false), (false, true)] {
                let wanted = Wanted { stdout, stderr, stdin: false, tty: false };
                sessions.push((wanted, attached(lab, &id, wanted, transport).await));
            }
        }
        go(lab, &id).await;
        for (wanted, session) in sessions {
            let Said { stdout, stderr, outcome } = to_end(session).await;
            assert_eq!(outcome, Outcome::Exited(0));
            assert_eq!(said(&stdout), if wanted.stdout { "out\n" } else { "" });
            assert_eq!(said(&stderr), if wanted.stderr { "err\n" } else { "" });
        }
    });
}

fn output_before_the_exit_is_complete(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("attach");
        let pod = lab.run_pod(&config).await;
        for round in 0..5 {
            for transport in TRANSPORTS {
                for tty in [false, true] {
                    let script = "head -c 300000 /dev/zero | tr '\\0' x; exit 1";
                    let name = format!("{transport:?}-{tty}-{round}").to_lowercase();
                    let container = ContainerConfig { tty, ..named(&name, &image, script) };
                    let id = lab.start(&pod, &config, &container).await;
                    let wanted = if tty { SCREEN } else { OUTPUT };
                    let session = attached(lab, &id, wanted, transport).await;
                    go(lab, &id).await;
                    let stdout = to_end(session).await.stdout;
                    let come = said(&stdout).bytes().filter(|byte| *byte == b'x').count();
                    assert_eq!(come, 300_000, "round {round}, {transport:?}, tty {tty}");
                    let log = lab.log(&lab.cri.wait_exited(&id).await);
                    assert_eq!(log.bytes().filter(|byte| *byte == b'x').count(), 300_000);
                    lab.cri.remove(&id).await.unwrap();
                }
            }
        }
    });
}

fn several_clients_all_get_everything(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; echo -$i >&2; done";
        let id = running(lab, |image| ticking(image, script)).await.container;
        let mut sessions = Vec::new();
        for _ in 0..4 {
            for transport in TRANSPORTS {
                sessions.push(attached(lab, &id, OUTPUT, transport).await);
            }
        }
        go(lab, &id).await;
        let listening: Vec<_> = sessions.into_iter().map(|session| tokio::spawn(to_end(session))).collect();
        let numbers: String = (1..=3000).map(|number| format!("{number}\n")).collect();
        let negative: String = (1..=3000).map(|number| format!("-{number}\n")).collect();
        for client in listening {
            let Said { stdout, stderr, outcome } = client.await.unwrap();
            assert_eq!(outcome, Outcome::Exited(0));
            assert!(said(&stdout) == numbers && said(&stderr) == negative);
        }
        assert_eq!(said(lab.log(&lab.cri.wait_exited(&id).await).as_bytes()).lines().count(), 6000);
    });
}

fn a_detached_client_leaves_the_container_alone(setup: Setup) {
    lab::test(setup, async |lab| {
        let script =
            "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; until [ -e /tmp/end ]; do sleep 0.02; done";
        let id = running(lab, |image| ticking(image, script)).await.container;
        for transport in TRANSPORTS {
            drop(attached(lab, &id, OUTPUT, transport).await);
        }
        let unread = lab.cri.attach_session(&id, OUTPUT, Transport::Spdy).await;
        go(lab, &id).await;
        drop(unread);
        let numbers: String = (1..=500).map(|number| format!("{number}\n")).collect();
        let path = lab.cri.status(&id).await.unwrap().log_path;
        until("all of the log", async || {
            let lines = read_log(Path::new(&path)).into_iter().map(|line| line.text + "\n");
            (said(lines.collect::<String>().as_bytes()) == numbers).then_some(())
        })
        .await;
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
        lab.cri.shell(&id, "touch /tmp/end").await;
        assert_eq!(lab.cri.wait_exited(&id).await.exit_code, 0);
    });
}

fn a_session_ends_with_its_pod(setup: Setup) {
    lab::test(setup, async |lab| {
        let demo = running(lab, |image| ticking(image, "true")).await;
        let mut sessions = Vec::new();
        for transport in TRANSPORTS {
            sessions.push(attached(lab, &demo.container, OUTPUT, transport).await);
        }
        lab.cri.stop_pod(&demo.pod).await.unwrap();
        for session in sessions {
            assert_eq!(to_end(session).await.outcome, Outcome::Exited(0));
        }
    });
}

fn after_a_restart_of_the_daemon_it_can_be_attached_again(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = running(lab, |image| ticking(image, "echo out")).await.container;
        for transport in TRANSPORTS {
            let mut before = attached(lab, &id, OUTPUT, transport).await;
            lab.crash_and_restart().await;
            assert!(everything(before.stdout.as_mut().unwrap()).await.is_err(), "a lost connection is no end");
            assert!(before.outcome.wait().await.is_err());
        }
        let session = attached(lab, &id, OUTPUT, Transport::WebSocket).await;
        go(lab, &id).await;
        assert_eq!(said(&to_end(session).await.stdout), "out\n");
    });
}
