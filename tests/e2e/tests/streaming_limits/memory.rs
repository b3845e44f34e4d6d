//! Ends of commands that do not read: the other end waits, and nothing is piled up between them.

use std::time::Duration;

use bytes::Bytes;
use corten_e2e::{
    cri::PATIENCE,
    lab, pods,
    streaming::{OUTPUT, PIPES, SCREEN, TERMINAL, TRANSPORTS, to_end},
};
use corten_streaming::{
    remote_command::Outcome,
    stream::{CHUNK, Outgoing},
};
use tokio::time::timeout;

use crate::world::{Gauge, test};

/// After so long without a chunk taken, the other end does not read.
const STALLED: Duration = Duration::from_millis(500);

/// More than all buffers of the kernel's between two ends that do not read: two sockets' and two pipes'.
pub const MUCH: usize = 200 << 20;

/// A flood for a terminal, which takes everything: the kernel drops what is over a line's length.
pub const MUCH_FOR_TERMINAL: usize = 16 << 20;

/// Sends until nothing is taken any more, but no more than `most`; how much was taken.
pub async fn fill(to: &Outgoing, most: usize) -> usize {
    let piece = Bytes::from(vec![b'x'; CHUNK]);
    let mut sent = 0;
    while sent < most {
        match timeout(STALLED, to.send(piece.clone())).await {
            Ok(taken) => taken.expect("the connection is closed"),
            Err(_) => return sent,
        }
        sent += CHUNK;
    }
    sent
}

#[test]
fn a_process_waits_for_a_client_that_does_not_read() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        let of_monitor = Gauge::new(world.monitor);
        for transport in TRANSPORTS {
            for (wanted, command) in [(OUTPUT, ["yes", "pipe"]), (SCREEN, ["yes", "terminal"])] {
                world
                    .survives(&format!("{command:?} that is not read, {transport:?}"), async |world| {
                        let session = world.cri.exec_session(&world.container, &command, wanted, transport).await;
                        let written = world.find(&command.join(" ")).await.blocked_writing().await;
                        assert!(written < MUCH as u64, "{written}");
                        memory.assert_bounded("yes");
                        drop(session);
                    })
                    .await;
            }
        }
        of_monitor.assert_bounded("the monitor");
    });
}

#[test]
fn a_client_waits_for_a_process_that_does_not_read() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        for transport in TRANSPORTS {
            for wanted in [PIPES, TERMINAL] {
                world
                    .survives(&format!("stdin that is not read, {transport:?}, {wanted:?}"), async |world| {
                        let command = ["sleep", "1234"];
                        let session = world.cri.exec_session(&world.container, &command, wanted, transport).await;
                        world.find("sleep 1234").await;
                        let terminal = wanted == TERMINAL;
                        let most = if terminal { MUCH_FOR_TERMINAL } else { MUCH };
                        let sent = fill(session.stdin.as_ref().unwrap(), most).await;
                        eprintln!("{} KiB were taken", sent >> 10);
                        assert!(terminal || sent < most, "{sent} bytes were taken by nobody");
                        memory.assert_bounded("stdin");
                        drop(session);
                    })
                    .await;
            }
        }
    });
}

/// Prints 50 MB in lines of 1000 bytes; a megabyte for each line that it reads.
const PRINTER: &str = r#"awk '{ for (i = 0; i < 1000; i++) printf "%0999d\n", n++ }'"#;

/// What it prints for this many lines that it reads.
fn printed(megabytes: usize) -> Vec<u8> {
    (0..megabytes * 1000).flat_map(|number| format!("{number:0999}\n").into_bytes()).collect()
}

#[test]
fn an_attached_client_that_does_not_read_is_cut_off_and_nobody_waits_for_it() {
    const MEGABYTES: usize = 50;
    test(async |world| {
        let config = world.lab.pod("limits");
        let mut printer = pods::script("printer", &world.image, PRINTER);
        (printer.stdin, printer.stdin_once) = (true, true);
        let container = world.lab.start(&world.pod, &config, &printer).await;
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        let of_monitor = Gauge::new(world.monitor);

        let mut idle = Vec::new();
        for transport in TRANSPORTS {
            idle.push(world.cri.attach_session(&container, OUTPUT, transport).await);
        }
        let mut reader = world.cri.attach_session(&container, PIPES, TRANSPORTS[0]).await;
        let (stdin, stdout) = (reader.stdin.take().unwrap(), reader.stdout.as_mut().unwrap());
        let expected = printed(MEGABYTES);
        let mut come = Vec::new();
        for megabyte in 1..=MEGABYTES {
            stdin.send(Bytes::from_static(b"go on\n")).await.unwrap();
            while come.len() < megabyte * 1_000_000 {
                let next = timeout(PATIENCE, stdout.next()).await.expect("the container prints no more");
                come.extend_from_slice(&next.unwrap().expect("the container has ended"));
            }
        }
        stdin.finish().await.unwrap();
        assert!(come == expected, "{} bytes", come.len());
        assert_eq!(to_end(reader).await.outcome, Outcome::Exited(0));
        memory.assert_bounded("attached clients");
        of_monitor.assert_bounded("attached clients, the monitor");

        let status = world.cri.wait_exited(&container).await;
        assert_eq!(status.exit_code, 0);
        let mut logged = Vec::with_capacity(expected.len());
        for line in lab::read_log(status.log_path.as_ref()) {
            logged.extend_from_slice(line.text.as_bytes());
            logged.extend_from_slice(if line.full { b"\n" } else { b"" });
        }
        assert!(logged == expected, "{} bytes are logged", logged.len());

        for session in idle {
            let said = to_end(session).await;
            assert!(said.stdout.len() < expected.len() && expected.starts_with(&said.stdout));
            assert!(said.failure().contains("not read fast enough"), "{:?}", said.outcome);
        }
        world.cri.remove(&container).await.unwrap();
    });
}
