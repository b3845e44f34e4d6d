use super::*;
use crate::peer::Peer;
use crate::stream::{BUDGET, Closing, Gone};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

#[tokio::test]
async fn a_clean_close_is_answered_and_ends_every_channel() {
    for payload in [&b"\x03\xe8"[..], b"\x03\xe9bye", b""] {
        for (mut wire, mut connection, mut halves) in [Wire::to_server(V4, 2), Wire::to_client(V5, 2)] {
            wire.send(Opcode::Binary, b"\x01last").await;
            wire.send(Opcode::Close, payload).await;
            let answer = match wire.hear().await {
                Some(Heard::Close(close)) => close.as_ref().map(Close::payload).unwrap_or_default(),
                other => panic!("{other:?}"),
            };
            assert_eq!(answer, payload);
            assert_eq!(wire.hear().await, None);
            connection.ended().await;
            assert_eq!(halves[0].0.next().await, Ok(None));
            assert_eq!(next(&mut halves[1].0).await, b"last");
            assert_eq!(halves[1].0.next().await, Ok(None));
            assert_eq!(halves[1].1.send(Bytes::from_static(b"x")).await, Err(Gone));
        }
    }
}

#[tokio::test]
async fn a_close_that_names_an_error_is_no_last_word() {
    let (mut wire, mut connection, mut halves) = Wire::to_client(V4, 1);
    wire.send(Opcode::Close, &Close::new(1011, "broken".to_owned()).payload()).await;
    wire.hears_close(1011, "broken").await;
    connection.ended().await;
    assert_eq!(halves[0].0.next().await, Err(Gone));
}

#[tokio::test]
async fn neither_is_an_end_without_a_close() {
    let (mut wire, mut connection, mut halves) = Wire::to_server(V4, 1);
    wire.send(Opcode::Binary, b"\x00some").await;
    drop(wire);
    connection.ended().await;
    assert_eq!(next(&mut halves[0].0).await, b"some");
    assert_eq!(halves[0].0.next().await, Err(Gone));
}

#[tokio::test]
async fn closing_sends_what_is_queued_and_why_and_waits_for_the_answer() {
    let long = "ä".repeat(100);
    for (why, code, reason) in [
        (Closing::Normal, 1000, String::new()),
        (Closing::Protocol("no such port".to_owned()), 1002, "no such port".to_owned()),
        (Closing::Internal(long), 1011, "ä".repeat(61)),
    ] {
        let (mut wire, connection, mut halves) = Wire::to_server(V4, 1);
        for _ in 0..8 {
            halves[0].1.send(Bytes::from_static(b"x")).await.unwrap();
        }
        let closing = tokio::spawn(connection.close(why));
        for _ in 0..8 {
            assert_eq!(wire.hear().await, Some(Heard::Message(Kind::Binary, b"\x00x".to_vec())));
        }
        wire.hears_close(code, &reason).await;
        // What still comes is nobody's.
        let mut message = vec![1; 4096];
        message[0] = 0;
        for _ in 0..100 {
            wire.send(Opcode::Binary, &message).await;
        }
        assert!(!closing.is_finished());
        assert_eq!(halves[0].0.next().await, Err(Gone));
        assert_eq!(halves[0].1.send(Bytes::from_static(b"x")).await, Err(Gone));
        wire.send(Opcode::Close, b"\x03\xe8").await;
        closing.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_a_close_is_not_waited_for_without_end() {
    let (_wire, connection, _halves) = Wire::to_server(V4, 1);
    connection.close(Closing::Normal).await;
}

#[tokio::test(start_paused = true)]
async fn nor_is_one_that_does_not_read_why_it_is_closed() {
    let (mut wire, mut connection, halves) = Wire::to_server(V4, 1);
    let sending = tokio::spawn(async move { halves[0].1.send(vec![0; 1_000_000].into()).await });
    wire.send(Opcode::Binary, b"\x07x").await;
    connection.ended().await;
    assert_eq!(sending.await.unwrap(), Err(Gone));
}

#[tokio::test]
async fn a_close_does_not_tear_the_message_that_is_being_sent() {
    let (mut wire, mut connection, halves) = Wire::to_server(V4, 1);
    let sending = tokio::spawn(async move { halves[0].1.send(vec![9; 1_000_000].into()).await });
    wire.send(Opcode::Binary, b"\x07x").await;
    let mut messages = 0;
    while let Some(heard) = wire.hear().await {
        match heard {
            Heard::Message(_, bytes) => {
                assert!(bytes[1..].iter().all(|byte| *byte == 9));
                messages += 1;
            }
            heard => {
                assert_eq!(heard, Heard::Close(Some(Close::new(1002, "there is no channel 7".to_owned()))));
                break;
            }
        }
    }
    assert!(messages < 20, "{messages}");
    drop(wire);
    connection.ended().await;
    assert_eq!(sending.await.unwrap(), Err(Gone));
}

#[tokio::test]
async fn what_the_other_end_said_before_it_stopped_reading_is_read() {
    let (theirs, ours) = duplex(2 * BUDGET);
    let (_connection, mut halves) = channels(ours, None, Role::Client, V4, 2);
    let mut wire = Wire::of(theirs, Role::Server);
    let mut message = vec![7; BUDGET + 1];
    message[0] = 1;
    wire.send(Opcode::Binary, &message).await;
    wire.send(Opcode::Close, b"\x03\xe8").await;
    drop(wire);
    while halves[0].1.send(vec![0; 1000].into()).await.is_ok() {}
    let mut all = 0;
    while let Some(bytes) = halves[1].0.next().await.unwrap() {
        all += bytes.len();
    }
    assert_eq!(all, BUDGET);
}

#[tokio::test]
async fn a_client_that_vanishes_behind_unread_bytes_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let peer = Peer::of(&server).unwrap();
    let (mut connection, _halves) = channels(server, Some(peer), Role::Server, V4, 1);
    let mut message = BytesMut::new();
    append(&mut message, Opcode::Binary, Some([0; 4]), &[&vec![0; 512 * 1024]]);
    client.write_all(&message).await.unwrap();
    drop(client);
    connection.ended().await;
}

#[tokio::test]
async fn a_client_that_sends_on_hears_why_it_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (mut connection, _halves) = channels(server, None, Role::Server, V4, 1);
    let mut messages = BytesMut::new();
    append(&mut messages, Opcode::Binary, Some([0; 4]), &[b"\x01x"]);
    append(&mut messages, Opcode::Binary, Some([0; 4]), &[&vec![0; 8 << 20]]);
    client.write_all(&messages).await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert!(all.ends_with(b"\x03\xeathere is no channel 1"));
    drop(client);
    connection.ended().await;
}

#[tokio::test]
async fn nobody_can_open_a_channel() {
    let (commands, queued) = queue();
    let (_theirs, ours) = duplex(100);
    let mut writer = Writer::new(ours, Role::Server, V4, Arc::default());
    let (opened, answer) = oneshot::channel();
    commands.send(Command::Open { headers: Vec::new(), opened }).await.unwrap();
    commands.send(Command::Close(Closing::Normal)).await.unwrap();
    writer.run(queued).await.unwrap();
    assert!(answer.await.is_err());
}
