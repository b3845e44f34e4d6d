#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use bytes::BytesMut;
use proptest::prelude::*;

/// A message or a control frame, with nothing borrowed.
#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<Close>),
}

/// What is decoded from these pieces; an error, if it comes to one; and what is open at the end.
fn decode<'a>(role: Role, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Sent>, FrameError> {
    let mut decoder = Decoder::new(role);
    let (mut all, mut open) = (Vec::new(), None::<(Kind, Vec<u8>)>);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = piece.as_mut_slice();
        while let Some(frame) = decoder.next(&mut input)? {
            match frame {
                Frame::Ping(payload) => all.push(Sent::Ping(payload.to_vec())),
                Frame::Pong(payload) => all.push(Sent::Pong(payload.to_vec())),
                Frame::Close(close) => all.push(Sent::Close(close)),
                Frame::Piece(piece) => {
                    assert_eq!(open.is_none(), piece.first);
                    let (kind, mut bytes) = open.take().unwrap_or((piece.kind, Vec::new()));
                    assert_eq!(kind, piece.kind);
                    bytes.extend_from_slice(piece.bytes);
                    if piece.last {
                        all.push(Sent::Message(kind, bytes));
                    } else {
                        open = Some((kind, bytes));
                    }
                }
            }
        }
        assert!(input.is_empty());
    }
    Ok(all)
}

fn whole(role: Role, bytes: &[u8]) -> Result<Vec<Sent>, FrameError> {
    let all = decode(role, [bytes]);
    assert_eq!(decode(role, bytes.chunks(1)), all);
    all
}

#[test]
fn the_examples_of_the_rfc() {
    let hello = || Ok(vec![Sent::Message(Kind::Text, b"Hello".to_vec())]);
    assert_eq!(whole(Role::Client, b"\x81\x05Hello"), hello());
    assert_eq!(whole(Role::Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), hello());
    assert_eq!(whole(Role::Client, b"\x01\x03Hel\x80\x02lo"), hello());
    assert_eq!(whole(Role::Client, b"\x89\x05Hello"), Ok(vec![Sent::Ping(b"Hello".to_vec())]));
    assert_eq!(
        whole(Role::Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        Ok(vec![Sent::Pong(b"Hello".to_vec())])
    );
}

#[test]
fn control_frames_may_come_within_a_message_and_messages_may_be_empty() {
    let all = whole(Role::Client, b"\x02\x00\x89\x00\x00\x01a\x8a\x01b\x80\x00\x82\x00\x88\x02\x03\xe8\x02");
    let expected = vec![
        Sent::Ping(vec![]),
        Sent::Pong(b"b".to_vec()),
        Sent::Message(Kind::Binary, b"a".to_vec()),
        Sent::Message(Kind::Binary, vec![]),
        // What follows is not looked at.
        Sent::Close(Some(Close::new(code::NORMAL, String::new()))),
    ];
    assert_eq!(all, Ok(expected));
}

#[test]
fn what_the_rfc_forbids_is_an_error_with_its_code() {
    use FrameError as E;
    let cases: &[(&[u8], FrameError, u16)] = &[
        (b"\xc2\x00", E::Reserved, 1002),
        (b"\xa2\x00", E::Reserved, 1002),
        (b"\x92\x00", E::Reserved, 1002),
        (b"\x83\x00", E::Opcode(3), 1002),
        (b"\x87\x00", E::Opcode(7), 1002),
        (b"\x8b\x00", E::Opcode(11), 1002),
        (b"\x8f\x00", E::Opcode(15), 1002),
        (b"\x09\x00", E::FragmentedControl, 1002),
        (b"\x08\x00", E::FragmentedControl, 1002),
        (b"\x89\x7e\x00\x7e", E::LongControl, 1002),
        (b"\x8a\x7f\x00\x00\x00\x00\x00\x01\x00\x00", E::LongControl, 1002),
        (b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", E::Length, 1002),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", E::LongLength, 1002),
        (b"\x82\x7e\x00\x7d", E::LongLength, 1002),
        (b"\x80\x00", E::NothingToContinue, 1002),
        (b"\x82\x00\x00\x00", E::NothingToContinue, 1002),
        (b"\x02\x00\x82\x00", E::Interrupted, 1002),
        (b"\x01\x00\x02\x00", E::Interrupted, 1002),
        (b"\x82\x80\x00\x00\x00\x00", E::Masked, 1002),
        (b"\x88\x01\x03", E::CloseLength, 1002),
        (b"\x88\x02\x03\xed", E::CloseCode(1005), 1002),
        (b"\x88\x02\x03\xee", E::CloseCode(1006), 1002),
        (b"\x88\x02\x03\xf7", E::CloseCode(1015), 1002),
        (b"\x88\x02\x00\x00", E::CloseCode(0), 1002),
        (b"\x88\x02\x13\x88", E::CloseCode(5000), 1002),
        (b"\x88\x04\x03\xe8\xc3\x28", E::CloseReason, 1007),
    ];
    for (bytes, error, code) in cases {
        assert_eq!(whole(Role::Client, bytes), Err(*error), "{bytes:x?}");
        assert_eq!(error.code(), *code);
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(whole(Role::Server, b"\x82\x00"), Err(E::Unmasked));
}

#[test]
fn codes_that_may_be_sent_are_taken() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999] {
        let close = Close::new(code, "why".to_owned());
        let mut bytes = BytesMut::new();
        append(&mut bytes, Opcode::Close, None, &[&close.payload()]);
        assert_eq!(whole(Role::Client, &bytes), Ok(vec![Sent::Close(Some(close))]));
    }
    assert_eq!(whole(Role::Client, b"\x88\x00"), Ok(vec![Sent::Close(None)]));
}

#[test]
fn a_reason_is_cut_between_characters() {
    let close = Close::new(code::INTERNAL, "ä".repeat(100));
    assert_eq!(close.reason, "ä".repeat(61));
    assert!(close.payload().len() <= CONTROL);
    assert_eq!(Close::new(code::INTERNAL, "a".repeat(123)).reason.len(), 123);
}

#[test]
fn lengths_have_their_shortest_form() {
    for (length, header) in [(0, 2), (125, 2), (126, 4), (0xffff, 4), (0x1_0000, 10), (usize::MAX >> 1, 10)] {
        assert_eq!(Header::new(Opcode::Binary, length, None).len(), header);
        assert_eq!(Header::new(Opcode::Binary, length, Some([1; 4])).len(), header + 4);
    }
    for length in [0, 125, 126, 0xffff, 0x1_0000] {
        for role in [Role::Server, Role::Client] {
            let mut bytes = BytesMut::new();
            let key = (role == Role::Server).then_some([1, 2, 3, 4]);
            append(&mut bytes, Opcode::Text, key, &[&vec![7; length]]);
            assert_eq!(decode(role, [&bytes[..]]), Ok(vec![Sent::Message(Kind::Text, vec![7; length])]));
        }
    }
}

#[test]
fn a_message_of_any_length_is_handed_over_as_it_comes() {
    let mut decoder = Decoder::new(Role::Client);
    let mut header = Header::new(Opcode::Binary, usize::MAX >> 1, None).to_vec();
    let mut input = header.as_mut_slice();
    assert_eq!(decoder.next(&mut input), Ok(None));
    for round in 0..100 {
        let mut buffer = [1; 1000];
        let mut input = buffer.as_mut_slice();
        let piece = Piece { kind: Kind::Binary, first: round == 0, last: false, bytes: &[1; 1000] };
        assert_eq!(decoder.next(&mut input), Ok(Some(Frame::Piece(piece))));
        assert_eq!(decoder.next(&mut input), Ok(None));
    }
}

proptest! {
    #[test]
    fn masking_is_byte_by_byte_however_it_is_cut(bytes: Vec<u8>, key: [u8; 4], cut: prop::sample::Index) {
        let expected: Vec<_> = bytes.iter().zip(key.into_iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let mut masked = bytes.clone();
        let (front, back) = masked.split_at_mut(cut.index(bytes.len() + 1));
        let _ = mask(mask(key, front), back);
        prop_assert_eq!(masked, expected);
    }

    #[test]
    fn what_is_sent_comes_however_it_is_fragmented_and_cut(
        sent in prop::collection::vec(anything(), 0..8),
        fragment in 1..200_usize,
        cut in 1..300_usize,
        masked: bool,
    ) {
        let role = if masked { Role::Server } else { Role::Client };
        let mut bytes = Vec::new();
        for one in &sent {
            encode(one, fragment, masked, &mut bytes);
        }
        let last = sent.iter().position(|one| matches!(one, Sent::Close(_))).map_or(sent.len(), |at| at + 1);
        prop_assert_eq!(decode(role, bytes.chunks(cut)), Ok(sent[..last].to_vec()));
    }

    #[test]
    fn no_bytes_are_too_bad(bytes: Vec<u8>, server: bool, cut in 1..9_usize) {
        let role = if server { Role::Server } else { Role::Client };
        prop_assert_eq!(decode(role, bytes.chunks(cut)), decode(role, [&bytes[..]]));
    }
}

fn anything() -> impl Strategy<Value = Sent> {
    let short = || prop::collection::vec(any::<u8>(), 0..=CONTROL);
    prop_oneof![
        4 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..1000))
            .prop_map(|(text, bytes)| Sent::Message(if text { Kind::Text } else { Kind::Binary }, bytes)),
        1 => short().prop_map(Sent::Ping),
        1 => short().prop_map(Sent::Pong),
        1 => (3000..5000_u16, ".*").prop_map(|(code, reason)| Sent::Close(Some(Close::new(code, reason)))),
    ]
}

/// Written with fragments, and with a ping's answer between them.
fn encode(sent: &Sent, fragment: usize, masked: bool, to: &mut Vec<u8>) {
    let key = masked.then_some([0xa5, 0, 0x5a, 0xff]);
    let mut frame = BytesMut::new();
    match sent {
        Sent::Ping(payload) => append(&mut frame, Opcode::Ping, key, &[payload]),
        Sent::Pong(payload) => append(&mut frame, Opcode::Pong, key, &[payload]),
        Sent::Close(close) => {
            append(&mut frame, Opcode::Close, key, &[&close.as_ref().map(Close::payload).unwrap_or_default()]);
        }
        Sent::Message(kind, bytes) => {
            let mut opcode = if *kind == Kind::Text { Opcode::Text } else { Opcode::Binary };
            let mut chunks = bytes.chunks(fragment).peekable();
            while let Some(chunk) = chunks.next() {
                let at = frame.len();
                let (half, rest) = chunk.split_at(chunk.len() / 2);
                append(&mut frame, opcode, key, &[half, rest]);
                if chunks.peek().is_some() {
                    frame[at] &= 0x7f;
                    opcode = Opcode::Continuation;
                }
            }
            if bytes.is_empty() {
                append(&mut frame, opcode, key, &[]);
            }
        }
    }
    to.extend_from_slice(&frame);
}
