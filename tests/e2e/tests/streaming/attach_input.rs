//! Attach: a container's standard input and its terminal.

use corten_cri::v1::{ContainerConfig, ContainerState};
use corten_e2e::{
    cri::until,
    daemon::Setup,
    for_each_launcher, image, lab, pods,
    streaming::{OUTPUT, PIPES, TERMINAL, TRANSPORTS, put, read_until, to_end},
};
use corten_streaming::remote_command::{Outcome, Size};

use super::{noise, running};

for_each_launcher!(
    input_stays_open_for_the_next_client,
    input_for_one_client_ends_with_it,
    input_for_one_client_ends_when_it_vanishes,
    after_input_for_one_client_there_is_output_for_others,
    much_input_arrives,
    two_clients_share_the_input,
    a_container_without_input_ignores_it,
    a_terminal_is_spoken_to,
    a_terminal_has_the_size_that_the_client_says,
);

/// A container with standard input.
fn with_input(image: &str, script: &str) -> ContainerConfig {
    ContainerConfig { stdin: true, ..pods::script("c", image, script) }
}

/// A container whose standard input is for the first client only.
fn with_input_once(image: &str, script: &str) -> ContainerConfig {
    ContainerConfig { stdin_once: true, ..with_input(image, script) }
}

/// A container with a terminal.
fn with_terminal(image: &str, script: &str) -> ContainerConfig {
    ContainerConfig { tty: true, ..with_input(image, script) }
}

fn input_stays_open_for_the_next_client(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = running(lab, |image| with_input(image, "cat; echo ended")).await.container;
        for transport in TRANSPORTS {
            for vanishes in [false, true] {
                let mut session = lab.cri.attach_session(&id, PIPES, transport).await;
                session.stdin.as_ref().unwrap().send("line\n".into()).await.unwrap();
                read_until(session.stdout.as_mut().unwrap(), "line\n").await;
                if !vanishes {
                    session.stdin.take().unwrap().finish().await.unwrap();
                }
                drop(session);
            }
        }
        let mut last = lab.cri.attach_session(&id, PIPES, TRANSPORTS[0]).await;
        last.stdin.as_ref().unwrap().send("last\n".into()).await.unwrap();
        let come = read_until(last.stdout.as_mut().unwrap(), "last\n").await;
        assert!(!come.contains("ended"), "{come}");
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        // Who is attached may hear of a line before it is in the log.
        until("the last line to be logged", async || lab.log(&status).ends_with("last\n").then_some(())).await;
        assert_eq!(lab.log(&status), "line\nline\nline\nline\nlast\n");
    });
}

fn input_for_one_client_ends_with_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("once");
        let pod = lab.run_pod(&config).await;
        for transport in TRANSPORTS {
            let id = lab.start(&pod, &config, &with_input_once(&image, "cat; echo ended; exit 3")).await;
            let mut session = lab.cri.attach_session(&id, PIPES, transport).await;
            let stdin = session.stdin.take();
            let ((), said) = tokio::join!(put(stdin, b"line\n"), to_end(session));
            assert_eq!((said.text().as_str(), said.outcome), ("line\nended\n", Outcome::Exited(0)), "{transport:?}");
            assert_eq!(lab.cri.wait_exited(&id).await.exit_code, 3);
            lab.cri.remove(&id).await.unwrap();
        }
    });
}

fn input_for_one_client_ends_when_it_vanishes(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("once");
        let pod = lab.run_pod(&config).await;
        for transport in TRANSPORTS {
            let name = format!("{transport:?}").to_lowercase();
            let container = with_input_once(&image, "cat; echo ended; exit 3");
            let container = ContainerConfig { log_path: format!("{name}.log"), ..container };
            let id = lab.start(&pod, &config, &container).await;
            let mut session = lab.cri.attach_session(&id, PIPES, transport).await;
            session.stdin.as_ref().unwrap().send("line\n".into()).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "line\n").await;
            drop(session);
            let status = lab.cri.wait_exited(&id).await;
            assert_eq!((status.exit_code, lab.log(&status).as_str()), (3, "line\nended\n"));
            lab.cri.remove(&id).await.unwrap();
        }
    });
}

fn after_input_for_one_client_there_is_output_for_others(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "cat; until [ -e /tmp/go ]; do echo tick; sleep 0.02; done; echo out";
        let id = running(lab, |image| with_input_once(image, script)).await.container;
        let mut first = lab.cri.attach_session(&id, PIPES, TRANSPORTS[0]).await;
        put(first.stdin.take(), b"").await;
        read_until(first.stdout.as_mut().unwrap(), "tick").await;
        drop(first);
        let mut others = Vec::new();
        for transport in TRANSPORTS {
            for wanted in [PIPES, OUTPUT] {
                let mut session = lab.cri.attach_session(&id, wanted, transport).await;
                read_until(session.stdout.as_mut().unwrap(), "tick").await;
                put(session.stdin.take(), b"nobody reads this").await;
                others.push(session);
            }
        }
        lab.cri.let_go(&id).await;
        for session in others {
            let said = to_end(session).await;
            assert!(said.text().ends_with("out\n") && said.outcome == Outcome::Exited(0), "{said:?}");
        }
    });
}

fn much_input_arrives(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("once");
        let pod = lab.run_pod(&config).await;
        let input = noise(5_000_000);
        for transport in TRANSPORTS {
            let id = lab.start(&pod, &config, &with_input_once(&image, "sha256sum")).await;
            let mut session = lab.cri.attach_session(&id, PIPES, transport).await;
            let stdin = session.stdin.take();
            let ((), said) = tokio::join!(put(stdin, &input), to_end(session));
            assert_eq!(format!("sha256:{}", &said.text()[..64]), image::digest(&input));
            lab.cri.remove(&id).await.unwrap();
        }
    });
}

fn two_clients_share_the_input(setup: Setup) {
    lab::test(setup, async |lab| {
        let id = running(lab, |image| with_input(image, "while read line; do echo got $line; done")).await.container;
        let mut spdy = lab.cri.attach_session(&id, PIPES, TRANSPORTS[0]).await;
        let mut websocket = lab.cri.attach_session(&id, PIPES, TRANSPORTS[1]).await;
        spdy.stdin.as_ref().unwrap().send("of spdy\n".into()).await.unwrap();
        read_until(spdy.stdout.as_mut().unwrap(), "got of spdy\n").await;
        websocket.stdin.as_ref().unwrap().send("of websocket\n".into()).await.unwrap();
        read_until(websocket.stdout.as_mut().unwrap(), "got of websocket\n").await;
        read_until(spdy.stdout.as_mut().unwrap(), "got of websocket\n").await;
        // Both are attached: each sees what the other says.
        spdy.stdin.as_ref().unwrap().send("again\n".into()).await.unwrap();
        read_until(websocket.stdout.as_mut().unwrap(), "got again\n").await;
        // One that ends does not end the other.
        spdy.stdin.take().unwrap().finish().await.unwrap();
        drop(spdy);
        websocket.stdin.as_ref().unwrap().send("alone\n".into()).await.unwrap();
        read_until(websocket.stdout.as_mut().unwrap(), "got alone\n").await;
    });
}

fn a_container_without_input_ignores_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "cat; until [ -e /tmp/go ]; do echo tick; sleep 0.02; done; echo out";
        let id = running(lab, |image| pods::script("c", image, script)).await.container;
        let mut sessions = Vec::new();
        for transport in TRANSPORTS {
            let mut session = lab.cri.attach_session(&id, PIPES, transport).await;
            put(session.stdin.take(), b"nobody reads this\n").await;
            read_until(session.stdout.as_mut().unwrap(), "tick").await;
            sessions.push(session);
        }
        lab.cri.let_go(&id).await;
        for session in sessions {
            let said = to_end(session).await;
            assert!(said.text().ends_with("out\n") && !said.text().contains("nobody"), "{said:?}");
        }
    });
}

fn a_terminal_is_spoken_to(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "trap 'echo interrupted' INT; while :; do read line && echo \"got $line\"; done";
        let id = running(lab, |image| with_terminal(image, script)).await.container;
        for transport in TRANSPORTS {
            let mut session = lab.cri.attach_session(&id, TERMINAL, transport).await;
            let stdin = session.stdin.take().unwrap();
            stdin.send("a line\n".into()).await.unwrap();
            // The terminal's echo, and the answer.
            read_until(session.stdout.as_mut().unwrap(), "a line\r\ngot a line\r\n").await;
            stdin.send("\x03".into()).await.unwrap();
            read_until(session.stdout.as_mut().unwrap(), "interrupted").await;
            stdin.finish().await.unwrap();
            drop(session);
        }
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
    });
}

fn a_terminal_has_the_size_that_the_client_says(setup: Setup) {
    lab::test(setup, async |lab| {
        let script = "trap 'stty size' WINCH; while :; do sleep 0.02; done";
        let id = running(lab, |image| with_terminal(image, script)).await.container;
        let sizes = [(132, 50), (80, 24), (70, 20), (90, 30)];
        for (transport, sizes) in TRANSPORTS.into_iter().zip(sizes.chunks(2)) {
            let mut session = lab.cri.attach_session(&id, TERMINAL, transport).await;
            for &(width, height) in sizes {
                session.resize.as_ref().unwrap().send(Size { width, height }).await.unwrap();
                read_until(session.stdout.as_mut().unwrap(), &format!("{height} {width}\r\n")).await;
            }
        }
    });
}
