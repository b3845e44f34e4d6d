//! With tokio-tungstenite at the other end.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role as Theirs};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use super::handshake::accept_key;
use super::{Encoding, Protocol, Role, channels, new_key, tunnel};
use crate::stream::{Closing, Connection, Incoming, Outgoing};

const V5: Protocol = Protocol { encoding: Encoding::Binary, close_signal: true };
const BASE64: Protocol = Protocol { encoding: Encoding::Base64, close_signal: false };

type Pair = (WebSocketStream<DuplexStream>, Connection, Vec<(Incoming, Outgoing)>);

/// Theirs, and ours with two channels.
async fn pair(ours: Role, protocol: Protocol) -> Pair {
    let (a, b) = duplex(1000);
    let (connection, halves) = channels(b, None, ours, protocol, 2);
    (WebSocketStream::from_raw_socket(a, opposite(ours), None).await, connection, halves)
}

fn opposite(ours: Role) -> Theirs {
    if ours == Role::Server { Theirs::Client } else { Theirs::Server }
}

async fn next(incoming: &mut Incoming, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend_from_slice(&incoming.next().await.unwrap().unwrap());
    }
    all
}

fn fragment(opcode: Data, last: bool, bytes: &'static [u8]) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(opcode), last))
}

#[test]
fn keys_are_answered_alike() {
    let key = new_key().unwrap();
    assert_eq!(accept_key(&key), derive_accept_key(key.as_bytes()));
}

#[tokio::test]
async fn messages_of_every_size_go_both_ways() {
    for ours in [Role::Server, Role::Client] {
        let (mut theirs, _connection, mut halves) = pair(ours, V5).await;
        for length in [1, 124, 125, 126, 1000, 32 * 1024, 70_000, 300_000] {
            let mut message = vec![0xa5; length + 1];
            message[0] = 1;
            let (incoming, outgoing) = &mut halves[1];
            let (sent, come) = tokio::join!(theirs.send(Message::binary(message.clone())), next(incoming, length));
            sent.unwrap();
            assert!(come == message[1..]);
            let hearing = async {
                let mut all = Vec::new();
                while all.len() < length {
                    let Some(Ok(Message::Binary(bytes))) = theirs.next().await else { panic!("no message") };
                    assert_eq!(bytes[0], 1);
                    all.extend_from_slice(&bytes[1..]);
                }
                all
            };
            let (sent, heard) = tokio::join!(outgoing.send(Bytes::from(message).slice(1..)), hearing);
            sent.unwrap();
            assert!(heard.len() == length && heard.iter().all(|byte| *byte == 0xa5));
        }
    }
}

#[tokio::test]
async fn fragments_pings_and_the_close_signal() {
    let (mut theirs, _connection, mut halves) = pair(Role::Server, V5).await;
    theirs.send(fragment(Data::Binary, false, b"")).await.unwrap();
    theirs.send(fragment(Data::Continue, false, b"\x00he")).await.unwrap();
    theirs.send(Message::Ping(Bytes::from_static(b"ping"))).await.unwrap();
    theirs.send(fragment(Data::Continue, true, b"llo")).await.unwrap();
    theirs.send(fragment(Data::Binary, false, b"\xff")).await.unwrap();
    theirs.send(fragment(Data::Continue, true, b"\x00")).await.unwrap();
    assert_eq!(next(&mut halves[0].0, 5).await, b"hello");
    assert_eq!(halves[0].0.next().await, Ok(None));
    assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"ping")));
}

#[tokio::test]
async fn base64_is_text_for_them() {
    let (mut theirs, _connection, mut halves) = pair(Role::Server, BASE64).await;
    theirs.send(fragment(Data::Text, false, b"1Zm")).await.unwrap();
    theirs.send(fragment(Data::Continue, true, b"9vCg==")).await.unwrap();
    assert_eq!(next(&mut halves[1].0, 4).await, b"foo\n");
    halves[0].1.send(Bytes::from_static(b"foo\n")).await.unwrap();
    assert_eq!(theirs.next().await.unwrap().unwrap(), Message::text("0Zm9vCg=="));
}

#[tokio::test]
async fn either_end_closes() {
    for ours in [Role::Server, Role::Client] {
        let (mut theirs, connection, _halves) = pair(ours, V5).await;
        let closing = tokio::spawn(connection.close(Closing::Internal("broken".to_owned())));
        let expected = CloseFrame { code: CloseCode::Error, reason: "broken".into() };
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Close(Some(expected)));
        // It answers while it is asked for more.
        let _ = theirs.next().await;
        closing.await.unwrap();

        let (mut theirs, mut connection, mut halves) = pair(ours, V5).await;
        let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
        theirs.close(Some(frame.clone())).await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Close(Some(frame)));
        connection.ended().await;
        assert_eq!(halves[0].0.next().await, Ok(None));
        assert!(theirs.next().await.is_none());
    }
}

#[tokio::test]
async fn they_understand_what_they_did_wrong() {
    let (mut theirs, _connection, _halves) = pair(Role::Server, V5).await;
    theirs.send(Message::binary(&b"\x05x"[..])).await.unwrap();
    let expected = CloseFrame { code: CloseCode::Protocol, reason: "there is no channel 5".into() };
    assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Close(Some(expected)));
    let (mut theirs, _connection, _halves) = pair(Role::Server, BASE64).await;
    theirs.send(Message::text("0x")).await.unwrap();
    let expected = CloseFrame { code: CloseCode::Invalid, reason: "a message is not base64".into() };
    assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Close(Some(expected)));
}

#[tokio::test]
async fn a_tunnel_is_binary_messages_for_them() {
    for ours in [Role::Server, Role::Client] {
        let (a, b) = duplex(1000);
        let mut theirs = WebSocketStream::from_raw_socket(a, opposite(ours), None).await;
        let mut tunnel = tunnel(b, ours);
        for piece in [&b"SY"[..], b"N_", b"", b"STREAM"] {
            theirs.send(Message::binary(piece)).await.unwrap();
        }
        theirs.send(Message::Ping(Bytes::from_static(b"alive?"))).await.unwrap();
        let mut all = [0; 10];
        tunnel.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"SYN_STREAM");
        tunnel.write_all(b"SYN_REPLY").await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::binary(&b"SYN_REPLY"[..]));
        let reading = tokio::spawn(async move {
            let end = tunnel.read(&mut [0; 10]).await;
            (tunnel, end)
        });
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"alive?")));
        theirs.close(None).await.unwrap();
        let (mut tunnel, end) = reading.await.unwrap();
        assert_eq!(end.unwrap(), 0);
        tunnel.shutdown().await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::Close(None));
        drop(tunnel);
        assert!(matches!(
            theirs.next().await,
            None | Some(Err(Error::ConnectionClosed | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))
        ));
    }
}
