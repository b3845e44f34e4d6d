//! WebSocket that is broken, hostile, or too much.

use bytes::Bytes;
use corten_e2e::streaming::{PIPES, TERMINAL};

use crate::{
    memory::MUCH_FOR_TERMINAL,
    raw::{Flood, WebSocket, websocket_frame, websocket_header},
    world::{Gauge, World, test},
};

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

/// An exec of `cat`.
async fn cat(world: &World<'_>, protocol: &str) -> WebSocket {
    let url = world.cri.exec_url(&world.container, &["cat"], PIPES).await.unwrap();
    WebSocket::upgrade(&url, protocol).await
}

#[test]
fn frames_that_break_the_protocol_close_the_connection() {
    test(async |world| {
        let long = [0; 126];
        let (v5, base64) = ("v5.channel.k8s.io", "v4.base64.channel.k8s.io");
        let tunnel = "SPDY/3.1+portforward.k8s.io";
        for (what, protocol, sent, code) in [
            ("a frame without a mask", v5, Bytes::from_static(&[BINARY, 2, 0, b'x']), 1002),
            ("a reserved bit", v5, websocket_frame(BINARY | 0x40, b"\0x"), 1002),
            ("another reserved bit", v5, websocket_frame(BINARY | 0x10, b"\0x"), 1002),
            ("a ping that is too long", v5, websocket_frame(PING, &long), 1002),
            ("a close frame that is too long", v5, websocket_frame(0x88, &long), 1002),
            ("a ping in fragments", v5, websocket_frame(PING & 0x7f, b"x"), 1002),
            ("a continuation without a start", v5, websocket_frame(0x80, b"\0x"), 1002),
            ("an unknown opcode", v5, websocket_frame(0x83, b"\0x"), 1002),
            ("another unknown opcode", v5, websocket_frame(0x8b, b""), 1002),
            ("a length of 64 bits", v5, websocket_header(BINARY, 1 << 63), 1002),
            ("a close frame with half a code", v5, websocket_frame(0x88, &[3]), 1002),
            ("a channel that is not there", v5, websocket_frame(BINARY, b"\x05x"), 1002),
            ("a last channel that is not there", v5, websocket_frame(BINARY, b"\xfex"), 1002),
            ("the end of a channel that is not there", v5, websocket_frame(BINARY, b"\xff\x05"), 1002),
            ("the end of no channel", v5, websocket_frame(BINARY, b"\xff"), 1002),
            ("what is not base64", base64, websocket_frame(TEXT, b"0!!!!"), 1007),
            ("half a character of base64", base64, websocket_frame(TEXT, b"0Q"), 1007),
            ("text in a tunnel", tunnel, websocket_frame(TEXT, b"x"), 1003),
            ("a frame without a mask in a tunnel", tunnel, Bytes::from_static(&[BINARY, 1, b'x']), 1002),
        ] {
            world
                .survives(what, async |world| {
                    let mut websocket = if protocol == tunnel {
                        let url = world.cri.port_forward_url(&world.pod, &[]).await.unwrap();
                        WebSocket::upgrade(&url, protocol).await
                    } else {
                        cat(world, protocol).await
                    };
                    websocket.raw.send(&sent).await.unwrap();
                    assert_eq!(websocket.close_code().await, code, "{what}");
                    drop(websocket);
                })
                .await;
        }
        world
            .survives("a message within another", async |world| {
                let mut websocket = cat(world, v5).await;
                websocket.raw.send(&websocket_frame(BINARY & 0x7f, b"\0x")).await.unwrap();
                websocket.raw.send(&websocket_frame(BINARY, b"\0x")).await.unwrap();
                assert_eq!(websocket.close_code().await, 1002);
            })
            .await;
    });
}

#[test]
fn what_is_announced_is_not_allocated() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        for reset in [false, true] {
            for protocol in ["v5.channel.k8s.io", "channel.k8s.io", "v4.base64.channel.k8s.io"] {
                world
                    .survives("a frame of 1 GiB of which ten bytes come", async |world| {
                        let mut websocket = cat(world, protocol).await;
                        let (kind, start) = if protocol.contains("base64") {
                            (TEXT, &b"0MTIzNDU2"[..])
                        } else {
                            (BINARY, &b"\x00123456"[..])
                        };
                        websocket.raw.send(&websocket_header(kind, 1 << 30)).await.unwrap();
                        websocket.raw.send(start).await.unwrap();
                        while !websocket.raw.has_received(start.strip_prefix(b"\0").unwrap_or(b"MTIzNDU2")) {
                            assert!(websocket.raw.receive().await);
                        }
                        if reset { websocket.raw.reset() } else { drop(websocket) }
                    })
                    .await;
            }
        }
        memory.assert_bounded("frames of 1 GiB");
    });
}

#[test]
fn a_message_that_is_not_read_is_not_held() {
    test(async |world| {
        world.warm_up().await;
        let memory = Gauge::new(world.cortend);
        let piece = vec![b'x'; 1 << 20];
        for (wanted, protocol) in [(PIPES, "v5.channel.k8s.io"), (TERMINAL, "v4.channel.k8s.io")] {
            world
                .survives("a message of 1 GiB that is not read", async |world| {
                    let url = world.cri.exec_url(&world.container, &["sleep", "1234"], wanted).await.unwrap();
                    let mut websocket = WebSocket::upgrade(&url, protocol).await;
                    world.find("sleep 1234").await;
                    websocket.raw.send(&websocket_header(BINARY, 1 << 30)).await.unwrap();
                    websocket.raw.send(b"\0").await.unwrap();
                    let terminal = wanted == TERMINAL;
                    let flood = websocket.raw.flood(&piece, if terminal { MUCH_FOR_TERMINAL } else { 1 << 30 }).await;
                    assert!(terminal || matches!(flood, Flood::Stalled(_)), "{flood:?}");
                    memory.assert_bounded("a message of 1 GiB");
                    websocket.raw.reset();
                })
                .await;
        }
    });
}

#[test]
fn pings_and_empty_messages_without_end_do_no_harm() {
    test(async |world| {
        let memory = Gauge::new(world.cortend);
        let (ping, empty) = (websocket_frame(PING, b"0123456789"), websocket_frame(BINARY, b""));
        for (what, frame) in [("200000 pings", ping), ("200000 empty messages", empty)] {
            world
                .survives(what, async |world| {
                    let mut websocket = cat(world, "v5.channel.k8s.io").await;
                    let many = frame.repeat(1000);
                    // Pongs are left out rather than held: it goes on reading.
                    for _ in 0..200 {
                        websocket.raw.send(&many).await.unwrap();
                    }
                    websocket.raw.send(&websocket_frame(BINARY, b"\0still here")).await.unwrap();
                    while !websocket.raw.has_received(b"still here") {
                        assert!(websocket.raw.receive().await);
                    }
                    websocket.raw.reset();
                })
                .await;
        }
        memory.assert_bounded("200000 frames");
    });
}
