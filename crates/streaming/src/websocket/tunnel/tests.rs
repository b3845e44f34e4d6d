#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::websocket::frame::CONTROL;
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;

/// Frames of a client, whose mask is zeroes.
fn frames(all: &[(Opcode, &[u8])]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (opcode, payload) in all {
        append(&mut bytes, *opcode, Some([0; 4]), &[payload]);
    }
    bytes
}

/// The next frame of a server, whose payload has at most 125 bytes.
async fn hear(wire: &mut DuplexStream) -> (u8, Vec<u8>) {
    let [first, length] = [wire.read_u8().await.unwrap(), wire.read_u8().await.unwrap()];
    assert!(usize::from(length) <= CONTROL);
    let mut payload = vec![0; length.into()];
    wire.read_exact(&mut payload).await.unwrap();
    (first, payload)
}

const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
const BINARY: u8 = 0x82;

#[tokio::test]
async fn what_is_written_comes_both_ways_at_once_through_narrow_pipes() {
    for width in [1, 7, 1000, 1 << 20] {
        let sent: Vec<u8> = (0..width.clamp(100, 1000) * 1000).map(|n| (n * 7 / 3) as u8).collect();
        let (a, b) = duplex(width);
        let mut tasks = Vec::new();
        for end in [tunnel(a, Role::Server), tunnel(b, Role::Client)] {
            let (mut reader, mut writer) = split(end);
            let sent = sent.clone();
            let expected = sent.clone();
            tasks.push(tokio::spawn(async move {
                writer.write_all(&sent).await.unwrap();
                writer.flush().await.unwrap();
            }));
            tasks.push(tokio::spawn(async move {
                let mut all = vec![0; expected.len()];
                reader.read_exact(&mut all).await.unwrap();
                assert!(all == expected);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn shutting_down_is_the_other_ends_end() {
    let (a, b) = duplex(100);
    let (mut server, mut client) = (tunnel(a, Role::Server), tunnel(b, Role::Client));
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    server.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last words");
    assert_eq!(server.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    // The answer to the close.
    assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn after_shutting_down_the_end_of_the_socket_will_do() {
    let (mut wire, io) = duplex(100);
    let mut server = tunnel(io, Role::Server);
    server.shutdown().await.unwrap();
    assert_eq!(hear(&mut wire).await, (CLOSE, vec![0x03, 0xe8]));
    drop(wire);
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn messages_are_of_no_meaning() {
    let (mut wire, io) = duplex(1000);
    let mut sent =
        frames(&[(Opcode::Binary, b"ab"), (Opcode::Binary, b""), (Opcode::Pong, b"x"), (Opcode::Binary, b"c")]);
    let mut fragmented = frames(&[(Opcode::Binary, b"d"), (Opcode::Ping, b""), (Opcode::Continuation, b"ef")]);
    fragmented[0] &= 0x7f;
    sent.extend_from_slice(&fragmented);
    sent.extend_from_slice(&frames(&[(Opcode::Close, b"")]));
    wire.write_all(&sent).await.unwrap();
    let mut all = String::new();
    tunnel(io, Role::Server).read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "abcdef");
    assert_eq!(hear(&mut wire).await, (PONG, vec![]));
    assert_eq!(hear(&mut wire).await, (CLOSE, vec![]));
}

#[tokio::test]
async fn what_is_forbidden_is_an_error_and_the_other_end_hears_of_it() {
    let cases: &[(Opcode, &[u8], u16, &str, ErrorKind)] = &[
        (Opcode::Text, b"x", 1003, "text in a tunnel", ErrorKind::InvalidData),
        (Opcode::Continuation, b"x", 1002, "there is no message to be continued", ErrorKind::InvalidData),
        (Opcode::Close, b"\x03\xe8\xff", 1007, "a close frame's reason is not UTF-8", ErrorKind::InvalidData),
        (Opcode::Close, b"\x03\xf3no", 1011, "no", ErrorKind::ConnectionAborted),
    ];
    for (opcode, payload, code, reason, kind) in cases {
        let (mut wire, io) = duplex(1000);
        let mut server = tunnel(io, Role::Server);
        wire.write_all(&frames(&[(*opcode, payload)])).await.unwrap();
        assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), *kind);
        assert_eq!(hear(&mut wire).await, (CLOSE, Close::new(*code, (*reason).to_owned()).payload()));
        assert_eq!(server.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn an_end_without_a_close_is_an_error() {
    let (mut wire, io) = duplex(1000);
    wire.write_all(&frames(&[(Opcode::Binary, b"some")])).await.unwrap();
    drop(wire);
    let mut server = tunnel(io, Role::Server);
    let mut all = Vec::new();
    assert_eq!(server.read_to_end(&mut all).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(all, b"some");
}

#[tokio::test]
async fn a_ping_is_answered_by_one_who_only_reads() {
    let (mut wire, io) = duplex(3);
    let (mut reader, _writer) = split(tunnel(io, Role::Server));
    let reading = tokio::spawn(async move { reader.read(&mut [0; 10]).await });
    for payload in [&b"one"[..], b"two", &[7; CONTROL]] {
        wire.write_all(&frames(&[(Opcode::Ping, payload)])).await.unwrap();
        assert_eq!(hear(&mut wire).await, (PONG, payload.to_vec()));
    }
    assert!(!reading.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_held_up_stops_and_goes_on_with_a_pong_behind_it() {
    let (mut wire, io) = duplex(50);
    let (mut reader, mut writer) = split(tunnel(io, Role::Server));
    let mut written = 0;
    while let Ok(length) = timeout(Duration::from_millis(1), writer.write(&[5; 100])).await {
        written += length.unwrap();
    }
    assert!(written <= 2 * LIMIT, "{written}");
    let writing = tokio::spawn(async move {
        writer.write_all(&[5; 100]).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    let reading = tokio::spawn(async move {
        let mut two = [0; 2];
        reader.read_exact(&mut two).await.unwrap();
        assert_eq!(two, *b"ab");
        reader.read_exact(&mut two).await.unwrap();
    });
    wire.write_all(&frames(&[(Opcode::Binary, b"a")])).await.unwrap();
    for round in 0..1000_u32 {
        wire.write_all(&frames(&[(Opcode::Ping, &round.to_be_bytes())])).await.unwrap();
    }
    wire.write_all(&frames(&[(Opcode::Binary, b"b")])).await.unwrap();
    let (mut all, mut pongs) = (0, Vec::new());
    while all < written + 100 || pongs.last() != Some(&999_u32.to_be_bytes().to_vec()) {
        match hear(&mut wire).await {
            (BINARY, payload) => all += payload.len(),
            (PONG, payload) => pongs.push(payload),
            other => panic!("{other:?}"),
        }
    }
    assert!(pongs.len() < 10, "{}", pongs.len());
    writing.await.unwrap();
    assert!(!reading.is_finished());
    wire.write_all(&frames(&[(Opcode::Binary, b"cd")])).await.unwrap();
    reading.await.unwrap();
}

#[tokio::test]
async fn a_writer_that_is_held_up_hears_that_the_other_end_closes() {
    let (mut wire, io) = duplex(50);
    let (mut reader, mut writer) = split(tunnel(io, Role::Server));
    let writing = tokio::spawn(async move { writer.write_all(&vec![0; 1_000_000]).await });
    let reading = tokio::spawn(async move { reader.read(&mut [0; 10]).await });
    wire.write_all(&frames(&[(Opcode::Close, b"\x03\xe8")])).await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), 0);
    // It reads no more.
    assert_eq!(writing.await.unwrap().unwrap_err().kind(), ErrorKind::BrokenPipe);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_are_too_bad(bytes: Vec<u8>, server: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut wire, io) = duplex(1 << 16);
            wire.write_all(&bytes).await.unwrap();
            wire.shutdown().await.unwrap();
            let mut all = Vec::new();
            let _ = tunnel(io, if server { Role::Server } else { Role::Client }).read_to_end(&mut all).await;
            assert!(all.len() <= bytes.len());
        });
    }
}
