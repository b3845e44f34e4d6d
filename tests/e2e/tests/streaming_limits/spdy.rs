//! SPDY that is broken, hostile, or too much.

use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use corten_e2e::streaming::{OUTPUT, PIPES};
use corten_streaming::spdy::frame::{CONTROL_LIMIT, Frame, reset};
use flate2::{Compression, write::ZlibEncoder};

use crate::{
    raw::{Flood, Spdy, encoded},
    world::{Gauge, World, test},
};

/// More than any socket's buffers hold.
const MUCH: usize = 200 << 20;
/// The other end has no use for the stream any more (SPDY 3.1, 2.4.2).
const CANCEL: u32 = 5;

/// An exec that has not begun: its streams are not open.
async fn unopened(world: &World<'_>) -> Spdy {
    let url = world.cri.exec_url(&world.container, &["cat"], PIPES).await.unwrap();
    Spdy::command(&url).await
}

/// An exec of `cat` with its streams open.
async fn running(world: &World<'_>) -> Spdy {
    let mut spdy = unopened(world).await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        spdy.open(stream, kind).await;
    }
    spdy.frame(&data(3, b"begun")).await;
    spdy.hears(5, b"begun").await;
    spdy
}

async fn port_forward(world: &World<'_>) -> Spdy {
    let url = world.cri.port_forward_url(&world.pod, &[]).await.unwrap();
    Spdy::port_forward(&url).await
}

fn data(stream: u32, bytes: &'static [u8]) -> Frame {
    Frame::Data { stream, bytes: Bytes::from_static(bytes), fin: false }
}

fn refused(stream: u32) -> Frame {
    Frame::RstStream { stream, status: reset::REFUSED_STREAM }
}

fn syn_of(stream: u32, block: Vec<u8>) -> Frame {
    Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, block: block.into() }
}

#[test]
fn frames_that_break_the_protocol_close_the_connection() {
    test(async |world| {
        let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 14 << 20]).unwrap();
        bomb.flush().unwrap();
        let bomb = bomb.get_ref().clone();
        assert!(bomb.len() < CONTROL_LIMIT - 10, "{}", bomb.len());
        for (what, sent) in [
            ("a control frame of 16 MiB", Bytes::from_static(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff])),
            ("a header block that is a bomb", encoded(&syn_of(1, bomb))),
            ("a header block that is garbage", encoded(&syn_of(1, vec![0xa5; 100]))),
            ("a header block that is empty", encoded(&syn_of(1, Vec::new()))),
            ("a frame of another version", Bytes::from_static(&[0x80, 2, 0, 1, 0, 0, 0, 0])),
            ("a SYN_STREAM that is too short", Bytes::from_static(&[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1])),
            ("data for stream 0", Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1, b'x'])),
        ] {
            let memory = Gauge::new(world.cortend);
            for (when, begun) in [("before its streams", false), ("while a process runs", true)] {
                world
                    .survives(&format!("{what}, {when}"), async |world| {
                        // A running connection's blocks go on where the one before ended: another stream is garbage, too.
                        let mut spdy = if begun { running(world).await } else { unopened(world).await };
                        spdy.raw.send(&sent).await.unwrap();
                        spdy.closed_for_a_violation().await;
                    })
                    .await;
            }
            memory.assert_bounded(what);
        }
        for (what, stream) in [("a server's number", 2), ("a number from before", 5)] {
            world
                .survives(what, async |world| {
                    let mut spdy = running(world).await;
                    spdy.open(stream, "stdin").await;
                    spdy.closed_for_a_violation().await;
                })
                .await;
        }
    });
}

#[test]
fn streams_that_nobody_wants_are_refused() {
    test(async |world| {
        world
            .survives("a stream of an unknown type", async |world| {
                let mut spdy = unopened(world).await;
                for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdfoo"), (7, ""), (9, "stdout")] {
                    spdy.open(stream, kind).await;
                }
                let nameless = spdy.syn(11, &[("port", "80")]);
                spdy.frame(&nameless).await;
                for stream in [5, 7, 11] {
                    spdy.until(&refused(stream)).await;
                }
                spdy.open(13, "stderr").await;
                // The others are as good as ever.
                spdy.frame(&data(3, b"hello")).await;
                spdy.hears(9, b"hello").await;
            })
            .await;
        world
            .survives("a stream twice", async |world| {
                let mut spdy = running(world).await;
                spdy.open(9, "stdin").await;
                spdy.until(&refused(9)).await;
                spdy.frame(&data(9, b"nowhere")).await;
                spdy.until(&Frame::RstStream { stream: 9, status: reset::STREAM_ALREADY_CLOSED }).await;
                spdy.frame(&data(3, b"first")).await;
                spdy.hears(5, b"first").await;
            })
            .await;
        world
            .survives("a stream twice before the last one", async |world| {
                let mut spdy = unopened(world).await;
                spdy.open(1, "error").await;
                spdy.open(3, "error").await;
                spdy.until(&refused(3)).await;
            })
            .await;
        world
            .survives("stdin that was not asked for", async |world| {
                let url = world.cri.exec_url(&world.container, &["cat"], OUTPUT).await.unwrap();
                let mut spdy = Spdy::command(&url).await;
                spdy.open(1, "stdin").await;
                spdy.until(&refused(1)).await;
            })
            .await;
        world
            .survives("data for streams that are not open", async |world| {
                let mut spdy = running(world).await;
                for stream in [99, 2, 0x7fff_ffff] {
                    spdy.frame(&data(stream, b"nowhere")).await;
                    spdy.until(&Frame::RstStream { stream, status: reset::INVALID_STREAM }).await;
                }
                spdy.frame(&data(3, b"somewhere")).await;
                spdy.hears(5, b"somewhere").await;
            })
            .await;
        world
            .survives("a port-forward's streams that are none", async |world| {
                let mut spdy = port_forward(world).await;
                let of = |kind, port| [("streamtype", kind), ("port", port), ("requestid", "1")];
                let all = [("stdin", "80"), ("data", "0"), ("data", "65536"), ("data", ""), ("data", "-1")];
                for (stream, (kind, port)) in (1..).step_by(2).zip(all) {
                    let frame = spdy.syn(stream, &of(kind, port));
                    spdy.frame(&frame).await;
                    spdy.until(&refused(stream)).await;
                }
            })
            .await;
    });
}

#[test]
fn half_a_frame_is_waited_for_until_the_client_goes() {
    test(async |world| {
        let syn = |spdy: &mut Spdy| encoded(&spdy.syn(9, &[("streamtype", "stdin")]));
        for reset in [false, true] {
            world
                .survives("a frame's header, cut", async |world| {
                    let mut spdy = running(world).await;
                    let frame = syn(&mut spdy);
                    spdy.raw.send(&frame[..5]).await.unwrap();
                    if reset { spdy.raw.reset() } else { drop(spdy) }
                })
                .await;
            world
                .survives("a control frame, cut", async |world| {
                    let mut spdy = unopened(world).await;
                    let frame = syn(&mut spdy);
                    spdy.raw.send(&frame[..frame.len() - 1]).await.unwrap();
                    if reset { spdy.raw.reset() } else { drop(spdy) }
                })
                .await;
            world
                .survives("data, cut", async |world| {
                    let mut spdy = running(world).await;
                    spdy.raw.send(&[0, 0, 0, 3, 0, 0xff, 0xff, 0xff, b'x']).await.unwrap();
                    spdy.hears(5, b"x").await;
                    if reset { spdy.raw.reset() } else { drop(spdy) }
                })
                .await;
            world
                .survives("streams that are never opened", async |world| {
                    let mut spdy = unopened(world).await;
                    spdy.open(1, "error").await;
                    assert!(matches!(spdy.next().await, Some(Frame::SynReply { stream: 1, .. })));
                    if reset { spdy.raw.reset() } else { drop(spdy) }
                })
                .await;
        }
    });
}

#[test]
fn garbage_does_no_harm() {
    test(async |world| {
        let memory = Gauge::new(world.cortend);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..24 {
            let mut garbage = Vec::new();
            for _ in 0..4096 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                garbage.extend(random.to_le_bytes());
            }
            if round % 3 > 0 {
                // So that it is taken for control frames.
                garbage[..6].copy_from_slice(&[0x80, 3, 0, round % 11, 0, 0]);
            }
            let what = format!("garbage {round}");
            world
                .survives(&what, async |world| {
                    let mut spdy = if round % 2 == 0 { unopened(world).await } else { port_forward(world).await };
                    // It is closed, or waits for the rest of what it takes for a frame.
                    let _ = spdy.raw.send(&garbage).await;
                    let _ = spdy.raw.half_close().await;
                    spdy.raw.closed().await;
                })
                .await;
        }
        memory.assert_bounded("garbage");
    });
}

#[test]
fn twenty_thousand_streams_are_refused_one_by_one() {
    test(async |world| {
        let memory = Gauge::new(world.cortend);
        // One half of a pair each: so many may wait for theirs, the others are refused.
        world
            .survives("20000 streams without their other halves", async |world| {
                let mut spdy = port_forward(world).await;
                // Those that wait for longer than anybody would make room for others.
                let (mut opened, mut refused, mut given_up) = (0, 0, 0);
                for round in 0..20 {
                    let mut sent = BytesMut::new();
                    for number in round * 1000..(round + 1) * 1000 {
                        let id = number.to_string();
                        let headers = [("streamtype", "error"), ("port", "80"), ("requestid", &id)];
                        spdy.syn(number * 2 + 1, &headers).encode(&mut sent);
                    }
                    spdy.raw.send(&sent).await.unwrap();
                    while opened + refused < (round + 1) * 1000 {
                        match spdy.next().await {
                            Some(Frame::SynReply { .. }) => opened += 1,
                            Some(Frame::RstStream { status: reset::REFUSED_STREAM, .. }) => refused += 1,
                            Some(Frame::RstStream { status: CANCEL, .. }) => given_up += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                }
                assert!((64..=64 + given_up).contains(&opened), "{opened} were open, {given_up} given up");
            })
            .await;
        world
            .survives("streams without end from a client that reads nothing", async |world| {
                let mut spdy = port_forward(world).await;
                let mut sent = BytesMut::new();
                for number in 0..200_000 {
                    let id = number.to_string();
                    let kind = if number % 2 == 0 { "error" } else { "data" };
                    let headers = [("streamtype", kind), ("port", "9"), ("requestid", &id)];
                    spdy.syn(number * 2 + 1, &headers).encode(&mut sent);
                }
                let length = sent.len();
                let flood = spdy.raw.flood(&sent, length).await;
                assert!(matches!(flood, Flood::Stalled(_) | Flood::Taken), "{flood:?}");
                spdy.raw.reset();
            })
            .await;
        memory.assert_bounded("streams");
    });
}

#[test]
fn pings_are_not_answered_faster_than_the_answers_are_read() {
    test(async |world| {
        let memory = Gauge::new(world.cortend);
        let pings: Vec<u8> = (0..1000).flat_map(|number| encoded(&Frame::Ping(number * 2 + 1))).collect();
        for begun in [false, true] {
            world
                .survives("pings without end", async |world| {
                    let mut spdy = if begun { running(world).await } else { unopened(world).await };
                    let flood = spdy.raw.flood(&pings, MUCH).await;
                    assert!(matches!(flood, Flood::Stalled(_)), "{flood:?}");
                    eprintln!("{flood:?}");
                    spdy.raw.reset();
                })
                .await;
        }
        world
            .survives("200000 pings", async |world| {
                let mut spdy = running(world).await;
                let mut answered = 0;
                for _ in 0..200 {
                    spdy.raw.send(&pings).await.unwrap();
                    while answered % 1000 < 999 {
                        assert!(matches!(spdy.next().await, Some(Frame::Ping(_))));
                        answered += 1;
                    }
                    assert!(matches!(spdy.next().await, Some(Frame::Ping(_))));
                    answered += 1;
                }
                spdy.frame(&data(3, b"still here")).await;
                spdy.hears(5, b"still here").await;
            })
            .await;
        memory.assert_bounded("pings");
    });
}
