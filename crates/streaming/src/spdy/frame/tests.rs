#![allow(clippy::unwrap_used, clippy::panic)]
use bytes::BufMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::spdy::header_block::{Decompressor, Headers};

/// What Go's spdystream (moby/spdystream as vendored by cri-tools) sends as a client: a ping, three streams with the
/// headers that Kubernetes gives them, the end of the first, bytes and the end of the second, HEADERS and a reset of
/// the third, GOAWAY.
pub(in crate::spdy) const GO_CLIENT: &str = concat!(
    "800300060000000400000001",
    "800300010000002a0000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a5a54945f04000000ffff",
    "800300010000001700000003000000000000c22e555c92929907000000ffff",
    "800300010000004000000005000000000000626060608194da452520dac2c0c280818181b30812cb992920bd2011d60add92f27c06060",
    "6e64486240cc35852124b1201000000ffff",
    "0000000101000000",
    "000000030000000568656c6c6f",
    "0000000301000000",
    "800300080000001100000005c26a0d4b6e7e512a000000ffff",
    "80030003000000080000000500000005",
    "80030007000000080000000000000000",
);

pub(in crate::spdy) fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// All that can be decoded, the pieces of a data frame joined.
fn decode(sent: &[u8], cuts: impl IntoIterator<Item = usize>) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut input, mut frames, mut sent) = (Decoder::default(), BytesMut::new(), Vec::new(), sent);
    for cut in cuts.into_iter().chain([usize::MAX]) {
        let (now, later) = sent.split_at(cut.min(sent.len()));
        sent = later;
        input.extend_from_slice(now);
        while let Some(frame) = decoder.decode(&mut input)? {
            join(&mut frames, frame);
        }
        assert!(input.len() < HEADER + CONTROL_LIMIT);
    }
    Ok(frames)
}

fn join(frames: &mut Vec<Frame>, frame: Frame) {
    match (frames.last_mut(), frame) {
        (Some(Frame::Data { stream: known, bytes: joined, fin: last @ false }), Frame::Data { stream, bytes, fin })
            if *known == stream =>
        {
            *joined = [joined.as_ref(), &bytes].concat().into();
            *last = fin;
        }
        (_, frame) => frames.push(frame),
    }
}

fn control_frame(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u16(0x8003);
    frame.put_u16(kind);
    frame.put_u32(u32::try_from(body.len()).unwrap());
    frame.put_slice(body);
    frame.to_vec()
}

#[test]
fn what_go_sends_is_understood() {
    let frames = decode(&bytes(GO_CLIENT), []).unwrap();
    let mut headers = Decompressor::default();
    let mut said = Vec::new();
    for frame in &frames {
        said.push(match frame {
            Frame::SynStream { stream, associated: 0, fin: false, unidirectional: false, block, .. } => {
                (*stream, headers.read(block).unwrap())
            }
            Frame::Headers { stream, fin: false, block } => (*stream, headers.read(block).unwrap()),
            _ => continue,
        });
    }
    let third = said.get(2).unwrap().1.clone();
    assert_eq!(
        said,
        [
            (1, Headers::from_iter([("streamtype", "error")])),
            (3, Headers::from_iter([("streamtype", "stdin")])),
            (5, third.clone()),
            (5, Headers::from_iter([("streamtype", "more")])),
        ]
    );
    for (name, value) in [("StreamType", "data"), ("port", "8080"), ("requestID", "0"), ("X-Two", "a")] {
        assert_eq!(third.get(name), Some(value));
    }
    assert_eq!(
        third.iter().filter(|(name, _)| *name == "x-two").map(|(_, value)| value).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(frames[0], Frame::Ping(1));
    assert_eq!(
        frames[4..6],
        [
            Frame::Data { stream: 1, bytes: Bytes::new(), fin: true },
            Frame::Data { stream: 3, bytes: Bytes::from_static(b"hello"), fin: true },
        ]
    );
    assert_eq!(frames[7..], [Frame::RstStream { stream: 5, status: 5 }, Frame::GoAway { last: 0, status: 0 }]);
}

#[test]
fn what_cannot_be_is_an_error() {
    let long = CONTROL_LIMIT + 1;
    for (sent, error) in [
        (vec![0x80, 2, 0, 6, 0, 0, 0, 4], FrameError::Version(2)),
        (vec![0xff, 0xff, 0, 6, 0, 0, 0, 4], FrameError::Version(0x7fff)),
        (vec![0x80, 3, 0, 1, 0, 0, 0x40, 1], FrameError::TooLong { kind: 1, length: long }),
        (vec![0x80, 3, 0, 99, 0, 0, 0x40, 1], FrameError::TooLong { kind: 99, length: long }),
        (vec![0; 8], FrameError::StreamZero("data")),
        (control_frame(SYN_STREAM, &[0; 10]), FrameError::StreamZero("SYN_STREAM")),
        (control_frame(SYN_STREAM, &[0; 9]), FrameError::Length { name: "SYN_STREAM", length: 9 }),
        (control_frame(SYN_REPLY, &[0; 4]), FrameError::StreamZero("SYN_REPLY")),
        (control_frame(SYN_REPLY, &[1; 3]), FrameError::Length { name: "SYN_REPLY", length: 3 }),
        (control_frame(RST_STREAM, &[0, 0, 0, 7, 0, 0, 0, 0]), FrameError::NoStatus(7)),
        (control_frame(RST_STREAM, &[0x80, 0, 0, 0, 0, 0, 0, 1]), FrameError::StreamZero("RST_STREAM")),
        (control_frame(RST_STREAM, &[1; 9]), FrameError::Length { name: "RST_STREAM", length: 9 }),
        (control_frame(SETTINGS, &[1; 3]), FrameError::Length { name: "SETTINGS", length: 3 }),
        (control_frame(SETTINGS, &[0, 0, 0, 1]), FrameError::Settings { count: 1, length: 4 }),
        (control_frame(SETTINGS, &[0x20, 0, 0, 0]), FrameError::Settings { count: 0x2000_0000, length: 4 }),
        (control_frame(PING, &[]), FrameError::Length { name: "PING", length: 0 }),
        (control_frame(GOAWAY, &[1; 4]), FrameError::Length { name: "GOAWAY", length: 4 }),
        (control_frame(HEADERS, &[0; 8]), FrameError::StreamZero("HEADERS")),
        (control_frame(WINDOW_UPDATE, &[1; 4]), FrameError::Length { name: "WINDOW_UPDATE", length: 4 }),
    ] {
        assert_eq!(decode(&sent, []), Err(error), "{sent:?}");
    }
}

#[test]
fn what_is_unknown_or_without_meaning_here_is_passed_over() {
    let mut sent = control_frame(5, b"NOOP, once");
    sent.extend(control_frame(SETTINGS, &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 100]));
    sent.extend(control_frame(PING, &[0, 0, 0, 3]));
    assert_eq!(decode(&sent, [1; 3]), Ok(vec![Frame::Settings, Frame::Ping(3)]));
}

#[test]
fn a_data_frame_of_any_length_comes_in_pieces() {
    let mut input = BytesMut::from(&[0, 0, 0, 9, 1, 0xff, 0xff, 0xff][..]);
    let (mut decoder, mut left) = (Decoder::default(), 0x00ff_ffff);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    while left > 0 {
        input.resize(CHUNK.min(left) / 2 + 1, 7);
        let Frame::Data { stream: 9, bytes, fin } = decoder.decode(&mut input).unwrap().unwrap() else { panic!() };
        assert!(!bytes.is_empty() && bytes.len() <= CHUNK);
        left -= bytes.len();
        assert_eq!(fin, left == 0);
    }
}

#[test]
fn data_that_do_not_fit_in_a_frame_become_several() {
    let frame = Frame::Data { stream: 3, bytes: vec![5; 0x00ff_ffff + 10].into(), fin: true };
    let mut sent = BytesMut::new();
    frame.encode(&mut sent);
    assert_eq!(sent.len(), 0x00ff_ffff + 10 + 2 * HEADER);
    assert!(decode(&sent, []).unwrap() == [frame]);
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1..=STREAM;
    let block = || vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    prop_oneof![
        (stream.clone(), 0..=STREAM, 0..8_u8, any::<bool>(), any::<bool>(), block()).prop_map(
            |(stream, associated, priority, fin, unidirectional, block)| Frame::SynStream {
                stream,
                associated,
                priority,
                fin,
                unidirectional,
                block
            }
        ),
        (stream.clone(), any::<bool>(), block()).prop_map(|(stream, fin, block)| Frame::SynReply {
            stream,
            fin,
            block
        }),
        (stream.clone(), any::<bool>(), block()).prop_map(|(stream, fin, block)| Frame::Headers { stream, fin, block }),
        (stream.clone(), 1..=u32::MAX).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
        Just(Frame::Settings),
        any::<u32>().prop_map(Frame::Ping),
        (0..=STREAM, any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        (0..=STREAM, 0..=STREAM).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        // With FIN, so that no two of them are taken for pieces of one.
        (stream, block()).prop_map(|(stream, bytes)| Frame::Data { stream, bytes, fin: true }),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        frames in vec(frame(), 0..20),
        cuts in vec(0..400_usize, 0..40),
    ) {
        let mut sent = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut sent));
        prop_assert_eq!(decode(&sent, cuts), Ok(frames));
    }

    #[test]
    fn no_bytes_break_it(
        start in prop_oneof![Just(vec![]), (0..12_u8).prop_map(|kind| vec![0x80, 3, 0, kind, 0, 0, 0])],
        rest in vec(any::<u8>(), 0..2000),
        cuts in vec(0..400_usize, 0..40),
    ) {
        let sent = [start, rest].concat();
        prop_assert_eq!(decode(&sent, []), decode(&sent, cuts));
    }
}
