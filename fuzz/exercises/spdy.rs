//! SPDY's frames and header blocks, from bytes as hostile as can be.
//!
//! The first byte of the input says how many bytes of pieces' lengths follow; the rest is what the other end sends, in
//! pieces of these lengths, over and over.

use bytes::{Bytes, BytesMut};
use corten_streaming::spdy::Headers;
use corten_streaming::spdy::frame::{CONTROL_LIMIT, Decoder, Frame, HEADER};
use corten_streaming::spdy::header_block::{BLOCK_LIMIT, Compressor, Decompressor, HEADERS_LIMIT, NAME_LIMIT};
use corten_streaming::stream::CHUNK;

/// The most bytes of headers that [`Compressor::write`] takes.
const SENT: usize = 8 * 1024;

/// Reads an input, and panics where something does not hold.
pub fn exercise(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else { return };
    let (lengths, sent) = rest.split_at(usize::from(*count % 8).min(rest.len()));
    let all_at_once = frames(sent, std::iter::once(sent.len()));
    let in_pieces = frames(sent, lengths.iter().map(|length| usize::from(*length) + 1).chain([1]).cycle());
    assert_eq!(all_at_once, in_pieces, "how it is cut makes no difference");
    again(&all_at_once);
    blocks(&all_at_once);
    block(sent);
}

/// What is decoded, with the pieces of data frames joined, up to an error; and whether there was one.
fn frames(mut sent: &[u8], mut lengths: impl Iterator<Item = usize>) -> (Vec<Frame>, bool) {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    while !sent.is_empty() {
        let (piece, rest) = sent.split_at(lengths.next().unwrap_or(usize::MAX).min(sent.len()));
        input.extend_from_slice(piece);
        sent = rest;
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => join(&mut frames, frame),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (frames, true);
                }
            }
        }
        assert!(input.len() < HEADER + CONTROL_LIMIT, "{} bytes wait", input.len());
    }
    (frames, false)
}

/// Pieces of one frame cannot be told from frames: all without FIN are joined with what comes next on their stream.
fn join(frames: &mut Vec<Frame>, frame: Frame) {
    if let Frame::Data { bytes, .. } = &frame {
        assert!(bytes.len() <= CHUNK);
    }
    match (frames.last_mut(), frame) {
        (
            Some(Frame::Data { stream: before, bytes: joined, fin: joined_fin @ false }),
            Frame::Data { stream, bytes, fin },
        ) if *before == stream => {
            *joined = Bytes::from([joined.as_ref(), bytes.as_ref()].concat());
            *joined_fin = fin;
        }
        (_, frame) => frames.push(frame),
    }
}

/// What was decoded is the same when it is encoded and decoded once more.
fn again((decoded, _): &(Vec<Frame>, bool)) {
    let mut encoded = BytesMut::new();
    decoded.iter().for_each(|frame| frame.encode(&mut encoded));
    assert_eq!((decoded.clone(), false), frames(&encoded, std::iter::repeat(usize::MAX)));
}

/// The header blocks of a connection.
fn blocks((frames, _): &(Vec<Frame>, bool)) {
    let mut decompressor = Decompressor::default();
    let mut ends = Ends::new();
    for frame in frames {
        let (Frame::SynStream { block, .. } | Frame::SynReply { block, .. } | Frame::Headers { block, .. }) = frame
        else {
            continue;
        };
        let Ok(headers) = decompressor.read(block) else { return };
        ends.round_trip(&headers);
    }
}

/// Headers straight from the input: what comes behind frame headers is hard to find.
fn block(sent: &[u8]) {
    if let Ok(headers) = Decompressor::default().read(sent) {
        Ends::new().round_trip(&headers);
    }
}

/// Both ends of a direction.
struct Ends(Compressor, Decompressor);

impl Ends {
    fn new() -> Self {
        Self(Compressor::new().unwrap(), Decompressor::default())
    }

    fn round_trip(&mut self, headers: &Headers) {
        let (names, values) = headers.iter().fold((0, 0), |(n, v), (name, value)| (n + name.len(), v + value.len()));
        let count = headers.iter().count();
        assert!(count <= HEADERS_LIMIT && names <= count * NAME_LIMIT && values <= BLOCK_LIMIT);
        match self.0.write(headers) {
            Ok(block) => assert_eq!(self.1.read(&block).as_ref(), Ok(headers)),
            Err(_) => assert!(names + values + count * 9 + 4 > SENT, "{headers:?}"),
        }
    }
}
