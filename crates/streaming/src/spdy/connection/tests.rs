#![allow(clippy::unwrap_used, clippy::panic)]
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::spdy::frame::{CONTROL_LIMIT, Decoder, Frame, HEADER, reset};
use crate::spdy::header_block::Decompressor;
use crate::stream::{BUDGET, CHUNK};

mod hostile;
mod peers;

/// The other end of a connection, frame by frame.
struct Raw<T> {
    io: T,
    input: BytesMut,
    frames: Decoder,
    compressor: Compressor,
    decompressor: Decompressor,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Raw<T> {
    fn new(io: T) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            frames: Decoder::default(),
            compressor: Compressor::new().unwrap(),
            decompressor: Decompressor::default(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn data(&mut self, stream: u32, bytes: &'static [u8], fin: bool) {
        self.send(Frame::Data { stream, bytes: Bytes::from_static(bytes), fin }).await;
    }

    async fn open(&mut self, stream: u32, kind: &str) {
        let syn_stream = self.syn_stream(stream, kind);
        self.send(syn_stream).await;
    }

    fn syn_stream(&mut self, stream: u32, kind: &str) -> Frame {
        let block = self.compressor.write(&Headers::from_iter([("streamtype", kind)])).unwrap().into();
        Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, block }
    }

    /// The next frame; none when the other end has closed.
    async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.decode(&mut self.input).unwrap() {
                if let Frame::SynStream { block, .. } | Frame::SynReply { block, .. } = &frame {
                    self.decompressor.read(block).unwrap();
                }
                return Some(frame);
            }
            if self.io.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// Everything that was sent before is dealt with once this returns, and nothing was answered to it.
    async fn nothing_else(&mut self) {
        self.send(Frame::Ping(77)).await;
        assert_eq!(self.receive().await, Some(Frame::Ping(77)));
    }
}

fn raw_client() -> (Raw<DuplexStream>, Connection, mpsc::Receiver<Offer>) {
    let (theirs, ours) = duplex(64 * 1024);
    let (connection, offers) = serve(ours, None);
    (Raw::new(theirs), connection, offers)
}

fn reset_of(stream: u32, status: u32) -> Option<Frame> {
    Some(Frame::RstStream { stream, status })
}

/// A server with this stream accepted.
async fn accepted(
    raw: &mut Raw<DuplexStream>,
    offers: &mut mpsc::Receiver<Offer>,
    stream: u32,
    kind: &str,
) -> (Incoming, Outgoing) {
    raw.open(stream, kind).await;
    let offer = offers.recv().await.unwrap();
    assert_eq!((offer.id, offer.headers.get("streamType")), (stream, Some(kind)));
    let halves = offer.accept().await.unwrap();
    assert!(
        matches!(raw.receive().await, Some(Frame::SynReply { stream: replied, fin: false, .. }) if replied == stream)
    );
    halves
}

#[tokio::test]
async fn an_offer_is_accepted_or_refused_and_refused_if_it_is_dropped() {
    let (mut raw, _connection, mut offers) = raw_client();
    let _first = accepted(&mut raw, &mut offers, 1, "error").await;
    raw.open(3, "stdin").await;
    offers.recv().await.unwrap().refuse().await;
    assert_eq!(raw.receive().await, reset_of(3, reset::REFUSED_STREAM));
    raw.open(5, "stdout").await;
    drop(offers.recv().await.unwrap());
    assert_eq!(raw.receive().await, reset_of(5, reset::REFUSED_STREAM));
    let _fourth = accepted(&mut raw, &mut offers, 7, "resize").await;
    drop(offers);
    raw.open(9, "late").await;
    assert_eq!(raw.receive().await, reset_of(9, reset::REFUSED_STREAM));
}

#[tokio::test]
async fn what_came_before_the_stream_was_accepted_is_not_lost() {
    let (mut raw, _connection, mut offers) = raw_client();
    raw.open(1, "stdin").await;
    raw.data(1, b"early", true).await;
    raw.nothing_else().await;
    let (mut incoming, _outgoing) = offers.recv().await.unwrap().accept().await.unwrap();
    assert_eq!(incoming.collect(100).await, b"early");
}

#[tokio::test]
async fn a_stream_may_be_open_in_one_direction_only() {
    let (mut raw, _connection, mut offers) = raw_client();
    let Frame::SynStream { stream, block, .. } = raw.syn_stream(1, "out") else { panic!() };
    raw.send(Frame::SynStream { stream, block, associated: 0, priority: 7, fin: true, unidirectional: false }).await;
    let (mut incoming, outgoing) = offers.recv().await.unwrap().accept().await.unwrap();
    assert!(matches!(raw.receive().await, Some(Frame::SynReply { stream: 1, .. })));
    assert_eq!(incoming.next().await, Ok(None));
    outgoing.send(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(raw.receive().await, Some(Frame::Data { stream: 1, bytes: Bytes::from_static(b"x"), fin: false }));

    let Frame::SynStream { stream, block, .. } = raw.syn_stream(3, "in") else { panic!() };
    raw.send(Frame::SynStream { stream, block, associated: 1, priority: 0, fin: false, unidirectional: true }).await;
    let (mut incoming, outgoing) = offers.recv().await.unwrap().accept().await.unwrap();
    outgoing.send(Bytes::from_static(b"dropped")).await.unwrap();
    raw.data(3, b"y", true).await;
    assert_eq!(incoming.collect(100).await, b"y");
    raw.nothing_else().await;
}

#[tokio::test]
async fn after_its_last_word_nothing_more_is_sent_on_a_stream() {
    let (mut raw, _connection, mut offers) = raw_client();
    let (_incoming, outgoing) = accepted(&mut raw, &mut offers, 1, "stdin").await;
    for _ in 0..2 {
        outgoing.finish().await.unwrap();
        outgoing.send(Bytes::from_static(b"more")).await.unwrap();
    }
    assert_eq!(raw.receive().await, Some(Frame::Data { stream: 1, bytes: Bytes::new(), fin: true }));
    raw.nothing_else().await;
}

#[tokio::test]
async fn pings_of_the_other_end_are_answered_and_what_has_no_meaning_here_is_not() {
    let (mut raw, _connection, mut offers) = raw_client();
    let _halves = accepted(&mut raw, &mut offers, 1, "stdin").await;
    for frame in [
        Frame::Ping(2),
        Frame::Settings,
        Frame::WindowUpdate { stream: 1, delta: 9 },
        Frame::GoAway { last: 0, status: 0 },
        Frame::RstStream { stream: 99, status: 5 },
    ] {
        raw.send(frame).await;
    }
    raw.nothing_else().await;
}

#[tokio::test]
async fn a_reset_from_the_other_end_is_gone_behind_what_came() {
    let (mut raw, _connection, mut offers) = raw_client();
    let (mut incoming, outgoing) = accepted(&mut raw, &mut offers, 1, "stdin").await;
    raw.data(1, b"before", false).await;
    raw.send(Frame::RstStream { stream: 1, status: 5 }).await;
    assert_eq!(incoming.next().await, Ok(Some(Bytes::from_static(b"before"))));
    assert_eq!(incoming.next().await, Err(Gone));
    let _ = outgoing.send(Bytes::from_static(b"nobody hears this")).await;
    let _ = outgoing.finish().await;
    raw.nothing_else().await;
}

#[tokio::test]
async fn a_reset_from_here_lets_the_other_streams_go_on() {
    let (mut raw, _connection, mut offers) = raw_client();
    let (mut unread, outgoing) = accepted(&mut raw, &mut offers, 1, "data").await;
    let (mut read, _keep) = accepted(&mut raw, &mut offers, 3, "data").await;
    let flood = async {
        raw.send(Frame::Data { stream: 1, bytes: vec![0; 2 * BUDGET].into(), fin: false }).await;
        raw.data(3, b"after", true).await;
        raw.receive().await
    };
    let give_up = async {
        assert!(matches!(unread.next().await, Ok(Some(_))));
        outgoing.reset().await;
        read.collect(100).await
    };
    let (reset, after) = tokio::join!(flood, give_up);
    assert_eq!(reset, reset_of(1, 5));
    assert_eq!(after, b"after");
}

#[tokio::test]
async fn closing_says_what_is_queued_and_why_and_waits_for_the_other_end() {
    for (why, status) in [(Closing::Normal, 0), (Closing::Protocol("p".into()), 1), (Closing::Internal("i".into()), 2)]
    {
        let (mut raw, connection, mut offers) = raw_client();
        let (mut incoming, outgoing) = accepted(&mut raw, &mut offers, 1, "stdout").await;
        outgoing.send(Bytes::from_static(b"last")).await.unwrap();
        let closing = tokio::spawn(connection.close(why));
        assert_eq!(
            raw.receive().await,
            Some(Frame::Data { stream: 1, bytes: Bytes::from_static(b"last"), fin: false })
        );
        assert_eq!(raw.receive().await, Some(Frame::GoAway { last: 1, status }));
        assert_eq!(raw.receive().await, None);
        // What still comes is discarded, however much.
        raw.io.write_all(&vec![0xff; 2 * BUDGET]).await.unwrap();
        assert_eq!(incoming.next().await, Err(Gone));
        assert_eq!(outgoing.send(Bytes::new()).await, Err(Gone));
        assert!(!closing.is_finished());
        drop(raw);
        closing.await.unwrap();
    }
}

#[tokio::test]
async fn a_client_opens_streams_until_the_other_end_goes_away() {
    let (theirs, ours) = duplex(64 * 1024);
    let (_connection, opener) = connect(ours);
    let mut raw = Raw::new(theirs);
    let (mut refused, _) = opener.open(Headers::from_iter([("streamType", "error")])).await.unwrap();
    assert!(matches!(raw.receive().await, Some(Frame::SynStream { stream: 1, .. })));
    raw.send(Frame::RstStream { stream: 1, status: reset::REFUSED_STREAM }).await;
    assert_eq!(refused.next().await, Err(Gone));

    // Headers that cannot be sent open nothing and break nothing.
    assert_eq!(opener.open(Headers::from_iter([("a", "b".repeat(100_000))])).await.map(drop), Err(Gone));
    let (mut incoming, _outgoing) = opener.open(Headers::from_iter([("port", "1")])).await.unwrap();
    let Some(Frame::SynStream { stream, .. }) = raw.receive().await else { panic!() };
    raw.data(stream, b"reply", false).await;
    raw.send(Frame::GoAway { last: stream, status: 0 }).await;
    raw.data(stream, b"!", true).await;
    assert_eq!(incoming.collect(100).await, b"reply!");
    assert_eq!(opener.open(Headers::default()).await.map(drop), Err(Gone));

    // A server has no streams to open here.
    raw.open(2, "pushed").await;
    assert_eq!(raw.receive().await, reset_of(2, reset::REFUSED_STREAM));
}
