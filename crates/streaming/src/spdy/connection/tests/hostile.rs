//! Ends that do what they must not, and ends that do too much.

use super::*;
use crate::peer::Peer;

/// What a connection answers to these bytes, up to its end.
async fn answer(sent: &[u8]) -> Vec<Frame> {
    let (mut raw, mut connection, _offers) = raw_client();
    raw.io.write_all(sent).await.unwrap();
    let mut answered = Vec::new();
    while let Some(frame) = raw.receive().await {
        answered.push(frame);
    }
    drop(raw);
    connection.ended().await;
    answered
}

fn frames(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frames.into_iter().for_each(|frame| frame.encode(&mut bytes));
    bytes.to_vec()
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let syn_stream = |stream| {
        let block = Compressor::new().unwrap().write(&Headers::default()).unwrap().into();
        Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, block }
    };
    let block = Bytes::from_static(b"no zlib stream");
    let too_long = Frame::Headers { stream: 1, fin: false, block: vec![0; CONTROL_LIMIT].into() };
    for (sent, last) in [
        (vec![0; 8], 0),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], 0),
        (frames([syn_stream(2)]), 0),
        (frames([syn_stream(1), Frame::Headers { stream: 1, fin: false, block: block.clone() }]), 1),
        (frames([Frame::SynReply { stream: 1, fin: false, block }]), 0),
        (frames([too_long]), 0),
    ] {
        assert_eq!(answer(&sent).await.last(), Some(&Frame::GoAway { last, status: 1 }), "{sent:?}");
    }
}

#[tokio::test]
async fn a_streams_number_comes_once_and_in_order() {
    for again in [3, 1] {
        let (mut raw, _connection, mut offers) = raw_client();
        let (mut incoming, _outgoing) = accepted(&mut raw, &mut offers, 3, "data").await;
        raw.open(again, "data").await;
        assert_eq!(raw.receive().await, Some(Frame::GoAway { last: 3, status: 1 }));
        assert_eq!(raw.receive().await, None);
        assert_eq!(incoming.next().await, Err(Gone));
        assert!(offers.recv().await.is_none());
    }
}

#[tokio::test]
async fn what_comes_for_no_stream_is_dropped_and_said_once() {
    let (mut raw, _connection, mut offers) = raw_client();
    let (_incoming, outgoing) = accepted(&mut raw, &mut offers, 1, "data").await;
    raw.data(9, b"x", false).await;
    raw.data(9, b"x", false).await;
    assert_eq!(raw.receive().await, reset_of(9, reset::INVALID_STREAM));
    raw.nothing_else().await;
    raw.data(1, b"", true).await;
    raw.data(1, b"after the last word", false).await;
    assert_eq!(raw.receive().await, reset_of(1, reset::STREAM_ALREADY_CLOSED));
    raw.data(1, b"after the end", true).await;
    raw.nothing_else().await;
    assert_eq!(outgoing.send(Bytes::from_static(b"dropped")).await, Ok(()));
    raw.nothing_else().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_their_headers_are_still_read() {
    let (mut raw, _connection, mut offers) = raw_client();
    let limit = u32::try_from(STREAMS_LIMIT).unwrap();
    let mut open = Vec::new();
    for number in 0..limit {
        open.push(accepted(&mut raw, &mut offers, 2 * number + 1, &number.to_string()).await);
    }
    for number in limit..limit + 10 {
        raw.open(2 * number + 1, &format!("too many: {number}")).await;
        assert_eq!(raw.receive().await, reset_of(2 * number + 1, reset::REFUSED_STREAM));
    }
    raw.send(Frame::RstStream { stream: 1, status: 5 }).await;
    open.push(accepted(&mut raw, &mut offers, 2 * limit + 101, "one of too many: 5").await);
}

#[tokio::test]
async fn streams_that_have_ended_take_no_place() {
    let (theirs, ours) = duplex(64 * 1024);
    let (_server, mut offers) = serve(ours, None);
    let (_client, opener) = connect(theirs);
    let serving = tokio::spawn(async move {
        while let Some(offer) = offers.recv().await {
            match offer.id % 8 {
                1 => offer.refuse().await,
                3 => offer.accept().await.unwrap().1.reset().await,
                _ => {
                    let (mut incoming, outgoing) = offer.accept().await.unwrap();
                    outgoing.finish().await.unwrap();
                    assert!(incoming.collect(10).await.is_empty());
                }
            }
        }
    });
    // Were one kind of eight left over, the limit would be reached.
    for number in 0..10 * STREAMS_LIMIT {
        let (mut incoming, outgoing) = opener.open(Headers::default()).await.unwrap();
        if number % 3 == 0 {
            outgoing.reset().await;
        } else {
            outgoing.finish().await.unwrap();
            assert!(incoming.collect(10).await.is_empty());
        }
    }
    drop((_client, opener));
    serving.await.unwrap();
}

/// How many bytes of these, over and over, a connection takes on a stream that nobody reads: so many certainly.
async fn taken(frame: &[u8], certainly: usize) -> usize {
    let (mut raw, _connection, mut offers) = raw_client();
    let _unread = accepted(&mut raw, &mut offers, 1, "stdin").await;
    let (sent, mut taken) = (frame.repeat(4 * BUDGET / frame.len()), certainly);
    raw.io.write_all(&sent[..certainly]).await.unwrap();
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(100), raw.io.write(&sent[taken..])).await {
        taken += written.unwrap();
        assert!(taken < sent.len());
    }
    taken
}

#[tokio::test]
async fn what_nobody_reads_is_bounded() {
    let pipe = 64 * 1024;
    let data = |length| frames([Frame::Data { stream: 1, bytes: vec![b'x'; length].into(), fin: false }]);
    // The pipe, the buffer, the budget.
    let bound = pipe + 64 * 1024 + BUDGET;
    let large = taken(&data(4096 - HEADER), BUDGET).await;
    assert!(large <= bound + 4096, "{large}");
    // Bytes one by one cost more than themselves.
    let small = taken(&data(1), pipe).await;
    assert!(small <= pipe + 64 * 1024 + BUDGET / 10, "{small}");
}

#[tokio::test]
async fn offers_that_nobody_takes_hold_up_what_comes() {
    let (mut raw, _connection, mut offers) = raw_client();
    let mut opened = 0;
    loop {
        let frame = raw.syn_stream(2 * opened + 1, "data");
        let sent = tokio::time::timeout(Duration::from_millis(100), raw.send(frame)).await;
        if sent.is_err() {
            break;
        }
        opened += 1;
    }
    // A frame has about 24 bytes: what fits into the pipe and the buffer.
    assert!(opened < 128 * 1024 / 20, "{opened}");
    for number in 0..opened {
        let offer = offers.recv().await.unwrap();
        assert_eq!((offer.id, offer.headers.get("streamtype")), (2 * number + 1, Some("data")));
        drop(offer);
        assert_eq!(raw.receive().await, reset_of(2 * number + 1, reset::REFUSED_STREAM));
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_bytes_are_not_taken_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut raw = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    let (server, _) = listener.accept().await.unwrap();
    let peer = Peer::of(&server).unwrap();
    let (mut connection, mut offers) = serve(server, Some(peer));
    raw.open(1, "stdin").await;
    let (mut incoming, _outgoing) = offers.recv().await.unwrap().accept().await.unwrap();
    assert!(matches!(raw.receive().await, Some(Frame::SynReply { .. })));
    raw.send(Frame::Data { stream: 1, bytes: vec![0; BUDGET + CHUNK].into(), fin: false }).await;
    drop(raw);
    connection.ended().await;
    let mut left = 0;
    while let Ok(Some(bytes)) = incoming.next().await {
        left += bytes.len();
    }
    assert!(left > BUDGET / 2 && left <= BUDGET, "{left}");
    assert_eq!(incoming.next().await, Err(Gone));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_kernel_has_bytes_that_nobody_takes_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut raw = Raw::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    let (server, _) = listener.accept().await.unwrap();
    let peer = Peer::of(&server).unwrap();
    let (mut connection, mut offers) = serve(server, Some(peer));
    raw.open(1, "stdin").await;
    let (_unread, _outgoing) = offers.recv().await.unwrap().accept().await.unwrap();
    assert!(matches!(raw.receive().await, Some(Frame::SynReply { .. })));
    let data = frames([Frame::Data { stream: 1, bytes: vec![0; CHUNK].into(), fin: false }]);
    while tokio::time::timeout(Duration::from_millis(200), raw.io.write_all(&data)).await.is_ok() {}
    // Its end comes behind all that.
    drop(raw);
    connection.ended().await;
}
