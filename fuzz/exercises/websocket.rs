//! WebSocket's frames and the channels of `channel.k8s.io`, from bytes as hostile as can be.
//!
//! The first byte of the input says which end reads, and what was agreed on; the second says how many bytes of pieces'
//! lengths follow; the rest is what the other end sends, in pieces of these lengths, over and over.

use bytes::BytesMut;
use corten_streaming::websocket::channels::{Demultiplexer, Encoding, Event, Protocol, Violation};
use corten_streaming::websocket::frame::{Close, Decoder, Frame, Kind, Opcode, Role, append};

/// Reads an input, and panics where something does not hold.
pub fn exercise(input: &[u8]) {
    let [agreed, count, rest @ ..] = input else { return };
    let role = if agreed & 1 == 0 { Role::Server } else { Role::Client };
    let encoding = if agreed & 2 == 0 { Encoding::Binary } else { Encoding::Base64 };
    let protocol = Protocol { encoding, close_signal: agreed & 4 != 0 };
    let (lengths, sent) = rest.split_at(usize::from(*count % 8).min(rest.len()));
    let pieces = || lengths.iter().map(|length| usize::from(*length) + 1).chain([1]).cycle();

    let whole = frames(role, sent, std::iter::once(sent.len()));
    assert_eq!(whole, frames(role, sent, pieces()), "how it is cut makes no difference");
    again(role, &whole.0);

    let whole = events(role, protocol, agreed >> 3, sent, std::iter::once(sent.len()));
    let cut = events(role, protocol, agreed >> 3, sent, pieces());
    assert_eq!(whole.1, cut.1);
    if whole.1 == Some(Violation::Base64) {
        assert!(is_prefix(&whole.0, &cut.0), "{whole:?} {cut:?}");
    } else {
        assert_eq!(whole.0, cut.0, "how it is cut makes no difference");
    }
}

/// A message as far as it has come, or a control frame.
#[derive(Debug, PartialEq)]
enum Found {
    Message { kind: Kind, bytes: Vec<u8>, complete: bool },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<Close>),
}

/// What is decoded up to an error, and the error.
fn frames(role: Role, sent: &[u8], lengths: impl Iterator<Item = usize>) -> (Vec<Found>, Option<String>) {
    let (mut decoder, mut found, mut bytes) = (Decoder::new(role), Vec::new(), 0);
    for mut piece in pieces(sent, lengths) {
        let mut input = piece.as_mut_slice();
        loop {
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(frame)) => bytes += join(&mut found, frame),
                Err(error) => {
                    assert!(matches!(error.code(), 1002 | 1007));
                    return (found, Some(error.to_string()));
                }
            }
        }
        assert!(input.is_empty(), "the decoder leaves nothing");
    }
    assert!(bytes <= sent.len() && found.len() <= sent.len());
    (found, None)
}

fn join(found: &mut Vec<Found>, frame: Frame<'_>) -> usize {
    let (next, length) = match frame {
        Frame::Ping(payload) => (Found::Ping(payload.to_vec()), payload.len()),
        Frame::Pong(payload) => (Found::Pong(payload.to_vec()), payload.len()),
        Frame::Close(close) => (Found::Close(close), 0),
        Frame::Piece(piece) if piece.first => {
            (Found::Message { kind: piece.kind, bytes: piece.bytes.to_vec(), complete: piece.last }, piece.bytes.len())
        }
        Frame::Piece(piece) => {
            let open = found.iter_mut().rev().find_map(|found| match found {
                Found::Message { kind, bytes, complete } => Some((kind, bytes, complete)),
                _ => None,
            });
            let (kind, bytes, complete) = open.expect("a piece that is not the first has one before it");
            assert!(!*complete && *kind == piece.kind);
            bytes.extend_from_slice(piece.bytes);
            *complete = piece.last;
            return piece.bytes.len();
        }
    };
    found.push(next);
    length
}

/// What was decoded can be written, and is decoded to the same.
fn again(role: Role, found: &[Found]) {
    let key = (role == Role::Server).then_some([0x12, 0x00, 0xff, 0x34]);
    let mut written = BytesMut::new();
    let mut expected = Vec::new();
    for found in found {
        let (opcode, payload, again) = match found {
            Found::Message { kind, bytes, complete: true } => {
                let opcode = if *kind == Kind::Text { Opcode::Text } else { Opcode::Binary };
                (opcode, bytes.clone(), Found::Message { kind: *kind, bytes: bytes.clone(), complete: true })
            }
            Found::Message { .. } => continue,
            Found::Ping(payload) => (Opcode::Ping, payload.clone(), Found::Ping(payload.clone())),
            Found::Pong(payload) => (Opcode::Pong, payload.clone(), Found::Pong(payload.clone())),
            Found::Close(close) => {
                let payload = close.as_ref().map(Close::payload).unwrap_or_default();
                (Opcode::Close, payload, Found::Close(close.clone()))
            }
        };
        append(&mut written, opcode, key, &[&payload]);
        expected.push(again);
    }
    assert_eq!(frames(role, &written, std::iter::once(written.len())), (expected, None));
}

/// What comes for the channels, with the bytes of one joined.
#[derive(Debug, PartialEq)]
enum Come {
    Data(u8, Vec<u8>),
    End(u8),
    Ping(Vec<u8>),
    Close(Option<Close>),
}

fn events(
    role: Role,
    protocol: Protocol,
    count: u8,
    sent: &[u8],
    lengths: impl Iterator<Item = usize>,
) -> (Vec<Come>, Option<Violation>) {
    let (mut channels, mut come, mut bytes) = (Demultiplexer::new(role, protocol, count), Vec::new(), 0);
    for mut piece in pieces(sent, lengths) {
        let mut input = piece.as_mut_slice();
        loop {
            match channels.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => bytes += push(&mut come, count, event),
                Err(violation) => return (come, Some(violation)),
            }
        }
        assert!(input.is_empty(), "the demultiplexer leaves nothing");
    }
    assert!(bytes <= sent.len() && come.len() <= sent.len());
    (come, None)
}

fn push(come: &mut Vec<Come>, count: u8, event: Event<'_>) -> usize {
    match event {
        Event::Data { channel, bytes } => {
            assert!(channel < count && !bytes.is_empty());
            match come.last_mut() {
                Some(Come::Data(before, joined)) if *before == channel => joined.extend_from_slice(&bytes),
                _ => come.push(Come::Data(channel, bytes.to_vec())),
            }
            return bytes.len();
        }
        Event::End { channel } => {
            assert!(channel < count);
            come.push(Come::End(channel));
        }
        Event::Ping(payload) => come.push(Come::Ping(payload.to_vec())),
        Event::Pong => {}
        Event::Close(close) => come.push(Come::Close(close)),
    }
    0
}

/// Bytes before those that are not base64 may have been handed over or not.
fn is_prefix(short: &[Come], long: &[Come]) -> bool {
    let Some((last, before)) = short.split_last() else { return true };
    if !long.starts_with(before) {
        return false;
    }
    match (last, long.get(before.len())) {
        (Come::Data(a, short), Some(Come::Data(b, long))) => a == b && long.starts_with(short),
        (last, other) => Some(last) == other,
    }
}

fn pieces(mut sent: &[u8], mut lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let length = lengths.next()?.min(sent.len());
        let (piece, rest) = sent.split_at(length);
        sent = rest;
        (length > 0).then(|| piece.to_vec())
    })
}
