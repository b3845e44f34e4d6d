use super::*;
use crate::stream::{BUDGET, CHUNK};
use crate::websocket::frame::Header;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What duplex() holds one way, and what a driver has read and not handed over.
const UNDERWAY: usize = 4096 + CHUNK;

#[tokio::test]
async fn a_ping_is_answered_while_nobody_takes_what_came_before_it() {
    let (mut wire, _connection, _halves) = Wire::to_server(V4, 1);
    wire.send(Opcode::Binary, b"\x00untaken").await;
    wire.send(Opcode::Ping, b"you there?").await;
    assert_eq!(wire.hear().await, Some(Heard::Pong(Bytes::from_static(b"you there?"))));
}

#[tokio::test]
async fn the_latest_ping_is_answered_by_one_who_was_held_up() {
    let (mut wire, _connection, mut halves) = Wire::to_server(V4, 2);
    let outgoing = halves[0].1.clone();
    let sending = tokio::spawn(async move { outgoing.send(vec![0; 1_000_000].into()).await });
    // The server cannot write, but it reads on.
    for round in 0..10_000_u32 {
        wire.send(Opcode::Ping, &round.to_be_bytes()).await;
    }
    wire.send(Opcode::Binary, b"\x01here").await;
    assert_eq!(next(&mut halves[1].0).await, b"here");
    let mut pongs = Vec::new();
    let mut bytes = 0;
    while bytes < 1_000_000 {
        match wire.hear().await.unwrap() {
            Heard::Message(_, message) => bytes += message.len() - 1,
            Heard::Pong(payload) => pongs.push(payload),
            other => panic!("{other:?}"),
        }
    }
    sending.await.unwrap().unwrap();
    assert!(pongs.len() < 10, "{}", pongs.len());
    assert_eq!(pongs.last().unwrap()[..], 9_999_u32.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_nobody_reads_stops_the_client_who_hears_that_the_server_lives() {
    for message in [1, 100, 4096, 1 << 20] {
        let (mut wire, _connection, mut halves) = Wire::to_server(V4, 2);
        let mut frame = BytesMut::new();
        append(&mut frame, Opcode::Binary, wire.key, &[&[0; 1], &vec![0; message]]);
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_millis(1), wire.io.write(&frame[sent % frame.len()..])).await {
            sent += written.unwrap();
        }
        assert!(sent < BUDGET + UNDERWAY + message.min(CHUNK) + 100, "{sent}");
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(wire.hear().await, Some(Heard::Pong(Bytes::new())));
        }
        assert!(begun.elapsed() <= Duration::from_secs(16));
        // And it goes on when somebody does.
        assert!(!next(&mut halves[0].0).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_that_a_server_lives_whose_waits_are_short_but_many() {
    let (wire, _connection, mut halves) = Wire::to_server(V4, 1);
    let Wire { io, mut decoder, .. } = wire;
    let (mut read, mut write) = tokio::io::split(io);
    tokio::spawn(async move {
        let mut frame = BytesMut::new();
        append(&mut frame, Opcode::Binary, Some([0; 4]), &[&[0; CHUNK]]);
        while write.write_all(&frame).await.is_ok() {}
    });
    let taking = tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(4)).await;
            next(&mut halves[0].0).await;
        }
    });
    let mut pong = [0; 2];
    let begun = Instant::now();
    read.read_exact(&mut pong).await.unwrap();
    assert_eq!(decoder.next(&mut &mut pong[..]), Ok(Some(Frame::Pong(Bytes::new()))));
    assert!(begun.elapsed() < Duration::from_secs(10));
    taking.abort();
}

#[tokio::test]
async fn one_message_of_any_length_is_passed_on_as_it_comes() {
    const LENGTH: usize = 64 * 1024 * 1024;
    for protocol in [V4, BASE64] {
        let (mut wire, _connection, mut halves) = Wire::to_server(protocol, 1);
        let underway = Arc::new(AtomicUsize::new(0));
        let sent = underway.clone();
        let sending = tokio::spawn(async move {
            // The mask is zeroes: masking is not what is tested.
            let header = Header::new(Opcode::Binary, 1 + LENGTH, Some([0; 4]));
            wire.io.write_all(&header).await.unwrap();
            wire.io.write_all(if protocol == V4 { b"\x00" } else { b"0" }).await.unwrap();
            for _ in 0..LENGTH / CHUNK {
                wire.io.write_all(&[b'A'; CHUNK]).await.unwrap();
                sent.fetch_add(CHUNK, Ordering::SeqCst);
            }
            wire
        });
        let expected = if protocol == V4 { LENGTH } else { LENGTH / 4 * 3 };
        let (mut all, mut most) = (0, 0);
        while all < expected {
            let bytes = next(&mut halves[0].0).await;
            all += bytes.len();
            let taken = if protocol == V4 { bytes.len() } else { bytes.len() / 3 * 4 };
            most = most.max(underway.load(Ordering::SeqCst));
            let _ = underway.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_sub(taken)));
        }
        assert_eq!(all, expected);
        assert!(most < 2 * BUDGET, "{most}");
        drop(sending.await.unwrap());
    }
}
