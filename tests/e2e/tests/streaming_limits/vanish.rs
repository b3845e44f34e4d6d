//! Clients that go without a word, in every phase.

use std::fs;

use corten_e2e::{
    cri::{PATIENCE, until},
    pods,
    streaming::{OUTPUT, PIPES, TERMINAL, uri},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    memory::{MUCH, MUCH_FOR_TERMINAL},
    raw::{Flood, Raw, Spdy, WebSocket, websocket_frame},
    world::{World, test},
};

/// How a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With a reset, as if it had been killed with something unread.
    Reset,
    /// With its socket closed.
    Close,
    /// It says that it will send no more, and stays.
    Half,
}

const WAYS: [Way; 3] = [Way::Reset, Way::Close, Way::Half];

/// A client goes; what is returned stays.
async fn go(mut raw: Raw, way: Way) -> Option<Raw> {
    match way {
        Way::Reset => {
            raw.reset();
            None
        }
        Way::Close => None,
        Way::Half => {
            raw.half_close().await;
            Some(raw)
        }
    }
}

#[test]
fn nothing_is_left_of_who_goes_before_the_session_has_begun() {
    test(async |world| {
        let mut staying = Vec::new();
        for way in WAYS {
            let url = world.cri.exec_url(&world.container, &["sleep", "4321"], PIPES).await.unwrap();
            staying.push(go(Raw::connect(&url).await, way).await);

            let mut raw = Raw::connect(&url).await;
            raw.send(b"POST /exec/").await.unwrap();
            staying.push(go(raw, way).await);

            // The answer to the upgrade is on its way, and the URL is used up.
            let mut raw = Raw::connect(&url).await;
            let path = uri(&url).path().to_owned();
            let head = "Host: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
            raw.send(format!("POST {path} HTTP/1.1\r\n{head}").as_bytes()).await.unwrap();
            staying.push(go(raw, way).await);

            let url = world.cri.exec_url(&world.container, &["sleep", "4321"], PIPES).await.unwrap();
            staying.push(go(Spdy::command(&url).await.raw, way).await);

            let url = world.cri.exec_url(&world.container, &["sleep", "4321"], PIPES).await.unwrap();
            let mut spdy = Spdy::command(&url).await;
            spdy.open(1, "error").await;
            staying.push(go(spdy.raw, way).await);

            let url = world.cri.port_forward_url(&world.pod, &[80]).await.unwrap();
            staying.push(go(Spdy::port_forward(&url).await.raw, way).await);

            let url = world.cri.port_forward_url(&world.pod, &[80]).await.unwrap();
            staying.push(go(WebSocket::upgrade(&url, "SPDY/3.1+portforward.k8s.io").await.raw, way).await);
        }
        // With those that stay half open still there.
        world.is_well("clients that went before their sessions began").await;
        drop(staying);
    });
}

/// Clients of a command, just connected: SPDY and WebSocket.
async fn clients(world: &World<'_>, command: &[&str], tty: bool) -> Vec<Raw> {
    let wanted = if tty { TERMINAL } else { PIPES };
    let kinds = if tty { ["error", "stdin", "stdout", "resize"] } else { ["error", "stdin", "stdout", "stderr"] };
    let url = world.cri.exec_url(&world.container, command, wanted).await.unwrap();
    let mut spdy = Spdy::command(&url).await;
    for (stream, kind) in [1, 3, 5, 7].into_iter().zip(kinds) {
        spdy.open(stream, kind).await;
    }
    let url = world.cri.exec_url(&world.container, command, wanted).await.unwrap();
    let websocket = WebSocket::upgrade(&url, "v5.channel.k8s.io").await;
    vec![spdy.raw, websocket.raw]
}

#[test]
fn nothing_is_left_of_who_goes_in_the_middle_of_output() {
    test(async |world| {
        let mut staying = Vec::new();
        for way in WAYS {
            for tty in [false, true] {
                for mut raw in clients(world, &["yes", "output"], tty).await {
                    while !raw.has_received(b"output") {
                        assert!(raw.receive().await);
                    }
                    staying.push(go(raw, way).await);
                }
                // And of who goes while nothing is said at all.
                for raw in clients(world, &["sh", "-c", "trap '' HUP; sleep 4321"], tty).await {
                    staying.push(go(raw, way).await);
                }
            }
        }
        world.is_well("clients that went in the middle of output").await;
        drop(staying);
    });
}

#[test]
fn nothing_is_left_of_who_goes_with_its_input_unread() {
    test(async |world| {
        let mut staying = Vec::new();
        // Who stays half open has not gone: its end is behind what its process does not read.
        for way in [Way::Reset, Way::Close] {
            for tty in [false, true] {
                for (number, mut raw) in clients(world, &["sleep", "4321"], tty).await.into_iter().enumerate() {
                    let piece = match number {
                        0 => [&[0, 0, 0, 3, 0, 1, 0, 0][..], &[b'x'; 1 << 16]].concat(),
                        _ => websocket_frame(0x82, &[0; 1 << 16]).to_vec(),
                    };
                    let flood = raw.flood(&piece, if tty { MUCH_FOR_TERMINAL } else { MUCH }).await;
                    assert!(tty || matches!(flood, Flood::Stalled(_)), "{flood:?}");
                    staying.push(go(raw, way).await);
                }
            }
        }
        world.is_well("clients that went with their input unread").await;
    });
}

#[test]
fn nothing_is_left_of_attached_clients_that_go_and_the_container_goes_on() {
    test(async |world| {
        let config = world.lab.pod("limits");
        let script = "while :; do echo tick; sleep 0.05; done";
        let container = world.lab.start(&world.pod, &config, &pods::script("ticks", &world.image, script)).await;
        let mut staying = Vec::new();
        let before = (world.cortend.descriptors().len(), world.monitor.descriptors().len());
        for way in WAYS {
            let url = world.cri.attach_url(&container, OUTPUT).await.unwrap();
            let mut spdy = Spdy::command(&url).await;
            for (stream, kind) in [(1, "error"), (3, "stdout"), (5, "stderr")] {
                spdy.open(stream, kind).await;
            }
            let url = world.cri.attach_url(&container, OUTPUT).await.unwrap();
            let websocket = WebSocket::upgrade(&url, "v4.channel.k8s.io").await;
            for mut raw in [spdy.raw, websocket.raw] {
                while !raw.has_received(b"tick") {
                    assert!(raw.receive().await);
                }
                staying.push(go(raw, way).await);
            }
        }
        until("the attached clients to be forgotten", async || {
            let now = (world.cortend.descriptors().len(), world.monitor.descriptors().len());
            (now.0 <= before.0 && now.1 <= before.1).then_some(())
        })
        .await;
        let log = world.cri.status(&container).await.unwrap().log_path;
        let length = fs::metadata(&log).unwrap().len();
        until("the container to go on", async || (fs::metadata(&log).unwrap().len() > length).then_some(())).await;
        world.cri.remove(&container).await.unwrap();
    });
}

#[test]
fn a_port_learns_that_its_client_has_gone() {
    test(async |world| {
        let (listener, port) = world.listen_in_pod();
        let port = port.to_string();
        let mut staying = Vec::new();
        for way in WAYS {
            let url = world.cri.port_forward_url(&world.pod, &[]).await.unwrap();
            let mut spdy = Spdy::port_forward(&url).await;
            for (stream, kind) in [(1, "error"), (3, "data")] {
                let frame = spdy.syn(stream, &[("streamtype", kind), ("port", &port), ("requestid", "0")]);
                spdy.frame(&frame).await;
            }
            let (mut connected, _) = listener.accept().await.unwrap();
            connected.write_all(b"hello").await.unwrap();
            spdy.hears(3, b"hello").await;
            staying.push(go(spdy.raw, way).await);
            // An end or an error, but not nothing.
            let read = timeout(PATIENCE, connected.read(&mut [0; 10])).await;
            assert!(matches!(read, Ok(Ok(0) | Err(_))), "{way:?}: {read:?}");
        }
        drop(listener);
        world.is_well("clients of a port that went").await;
    });
}
