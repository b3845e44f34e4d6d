use super::*;
use crate::stream::{CHUNK, Gone};

#[tokio::test]
async fn both_ends_speak_every_protocol() {
    for protocol in [V4, V5, BASE64] {
        let (a, b) = duplex(1000);
        let (_server, mut servers) = channels(a, None, Role::Server, protocol, 5);
        let (_client, mut clients) = channels(b, None, Role::Client, protocol, 5);
        let sent = Bytes::from_iter((0..3 * CHUNK + 7).map(|n| n as u8));
        for at in 0..5 {
            let ((of_server, to_client), (of_client, to_server)) = (&mut servers[at], &mut clients[at]);
            for (from, to) in [(to_client, of_client), (to_server, of_server)] {
                let receiving = async {
                    let mut all = Vec::new();
                    while all.len() < sent.len() {
                        all.extend(next(to).await);
                    }
                    all
                };
                let (received, result) = tokio::join!(receiving, from.send(sent.clone()));
                assert_eq!((received, result), (sent.to_vec(), Ok(())));
            }
        }
    }
}

#[tokio::test]
async fn a_message_begins_with_its_channel() {
    let (mut wire, _connection, halves) = Wire::to_server(V4, 3);
    halves[2].1.send(Bytes::from_static(b"error")).await.unwrap();
    halves[0].1.send(Bytes::new()).await.unwrap();
    let large = vec![b'x'; 5000];
    halves[1].1.send(large.clone().into()).await.unwrap();
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, b"\x02error".to_vec())));
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, b"\x00".to_vec())));
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, [b"\x01".to_vec(), large].concat())));
}

#[tokio::test]
async fn or_with_a_character_and_then_base64() {
    let (mut wire, _connection, mut halves) = Wire::to_server(BASE64, 12);
    halves[1].1.send(Bytes::from_static(b"foo\n")).await.unwrap();
    halves[11].1.send(Bytes::new()).await.unwrap();
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Text, b"1Zm9vCg==".to_vec())));
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Text, b";".to_vec())));
    wire.send(Opcode::Text, b";Zm9vCg==").await;
    assert_eq!(next(&mut halves[11].0).await, b"foo\n");
}

#[tokio::test]
async fn messages_of_the_other_kind_without_a_channel_or_bytes_do_no_harm() {
    let (mut wire, _connection, mut halves) = Wire::to_server(V4, 1);
    wire.send(Opcode::Binary, b"").await;
    wire.send(Opcode::Binary, b"\x00").await;
    // As the Kubernetes client for Python sends what is a str.
    wire.send(Opcode::Text, b"\x00text").await;
    assert_eq!(next(&mut halves[0].0).await, b"text");
}

#[tokio::test]
async fn in_v5_a_client_ends_a_channel_and_goes_on_with_others() {
    let (mut wire, _connection, mut halves) = Wire::to_server(V5, 2);
    wire.send(Opcode::Binary, b"\x00last").await;
    wire.send(Opcode::Binary, b"\xff\x00").await;
    assert_eq!(next(&mut halves[0].0).await, b"last");
    assert_eq!(halves[0].0.next().await, Ok(None));
    // What comes on the channel after that holds nothing up, however much.
    let mut message = vec![1; 4096];
    message[0] = 0;
    for _ in 0..100 {
        wire.send(Opcode::Binary, &message).await;
    }
    wire.send(Opcode::Binary, b"\xff\x00").await;
    wire.send(Opcode::Binary, b"\x01other").await;
    assert_eq!(next(&mut halves[1].0).await, b"other");
    assert_eq!(halves[0].0.next().await, Ok(None));
}

#[tokio::test]
async fn only_a_client_of_v5_says_that_a_channel_has_ended() {
    let (mut wire, connection, halves) = Wire::to_client(V5, 2);
    halves[1].1.finish().await.unwrap();
    assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, b"\xff\x01".to_vec())));
    drop(connection);
    for (mut wire, connection, halves) in [Wire::to_client(V4, 2), Wire::to_server(V4, 2), Wire::to_server(V5, 2)] {
        halves[1].1.finish().await.unwrap();
        halves[1].1.reset().await;
        halves[1].1.send(Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, b"\x01x".to_vec())));
        drop(connection);
    }
}

#[tokio::test]
async fn what_is_forbidden_closes_the_connection_and_says_why() {
    let cases: &[(Protocol, Opcode, &[u8], u16, &str)] = &[
        (V4, Opcode::Binary, b"\x02x", 1002, "there is no channel 2"),
        (V4, Opcode::Binary, b"\xff\x00", 1002, "there is no channel 255"),
        (V5, Opcode::Binary, b"\xff\x02", 1002, "there is no channel 2"),
        (V5, Opcode::Binary, b"\xff", 1002, "a close signal names no channel, or more than one"),
        (V5, Opcode::Binary, b"\xff\x00\x01", 1002, "a close signal names no channel, or more than one"),
        (BASE64, Opcode::Text, b"2", 1002, "there is no channel 2"),
        (BASE64, Opcode::Text, b"/", 1002, "there is no channel 255"),
        (BASE64, Opcode::Text, b"0Zm9vCg=", 1007, "a message is not base64"),
        (BASE64, Opcode::Text, b"0Zm9v!g==", 1007, "a message is not base64"),
        (BASE64, Opcode::Text, b"0Zg==Zg==", 1007, "a message is not base64"),
        (V4, Opcode::Continuation, b"x", 1002, "there is no message to be continued"),
        (V4, Opcode::Close, b"\x03", 1002, "a close frame has half a code"),
        (V4, Opcode::Close, b"\x03\xe8\xff", 1007, "a close frame's reason is not UTF-8"),
    ];
    for (protocol, opcode, payload, code, reason) in cases {
        let (mut wire, mut connection, mut halves) = Wire::to_server(*protocol, 2);
        wire.send(*opcode, payload).await;
        wire.hears_close(*code, reason).await;
        assert_eq!(halves[0].0.next().await, Err(Gone));
        drop(wire);
        connection.ended().await;
        assert_eq!(halves[0].1.send(Bytes::from_static(b"x")).await, Err(Gone));
    }
}

#[tokio::test]
async fn whoever_must_mask_must() {
    let (mut wire, _connection, _halves) = Wire::to_server(V4, 1);
    wire.key = None;
    wire.send(Opcode::Binary, b"\x00x").await;
    wire.hears_close(1002, "a client's frame is not masked").await;
    let (mut wire, _connection, _halves) = Wire::to_client(V4, 1);
    wire.key = Some([0; 4]);
    wire.send(Opcode::Binary, b"\x00x").await;
    wire.hears_close(1002, "a server's frame is masked").await;
}
