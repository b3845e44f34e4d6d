//! Frames, read.

use std::mem;

use bytes::Bytes;

use super::{CONTROL, Close, Frame, FrameError, Kind, Opcode, Piece, Role, mask};

/// The most bytes of a frame's header: two, the length, the mask.
const HEADER: usize = 2 + 8 + 4;

/// Finds frames in what has come. Holds a header or a control frame that has not come wholly, nothing of messages.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    state: State,
    /// The message that is not complete.
    message: Option<Kind>,
}

#[derive(Debug)]
enum State {
    /// The header has not come wholly.
    Header { bytes: [u8; HEADER], have: usize },
    /// So much of a frame of a message has not come.
    Data { rest: u64, key: [u8; 4], kind: Kind, first: bool, fin: bool },
    /// A control frame has not come wholly.
    Control { opcode: Opcode, payload: [u8; CONTROL], have: usize, length: usize, key: [u8; 4] },
    /// The other end has sent its last frame.
    Closed,
}

impl State {
    const NEXT: Self = Self::Header { bytes: [0; HEADER], have: 0 };
}

/// The first two bytes of a header, taken apart.
struct Start {
    fin: bool,
    opcode: Opcode,
    masked: bool,
    /// 126 and 127 announce longer forms.
    length: u8,
}

impl Decoder {
    /// Of what comes from the other end.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, state: State::NEXT, message: None }
    }

    /// The next frame, or piece of one, taken from the front of the input; `None` when the input is used up. What comes
    /// behind a close frame is not looked at. After an error nothing further can be found.
    ///
    /// # Errors
    /// [`FrameError`], whatever the other end did.
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            match &mut self.state {
                State::Header { bytes, have } => match header(self.role, bytes, have, input)? {
                    None => return Ok(None),
                    Some((start, length, key)) => self.begin(&start, length, key)?,
                },
                State::Data { rest, key, kind, first, fin } => {
                    if input.is_empty() && *rest > 0 {
                        return Ok(None);
                    }
                    let length = usize::try_from(*rest).map_or(input.len(), |rest| rest.min(input.len()));
                    let bytes = take(input, length);
                    *key = mask(*key, bytes);
                    *rest = rest.saturating_sub(length as u64);
                    let last = *fin && *rest == 0;
                    let piece = Piece { kind: *kind, first: mem::take(first), last, bytes };
                    if *rest == 0 {
                        self.state = State::NEXT;
                    }
                    return Ok(Some(Frame::Piece(piece)));
                }
                State::Control { opcode, payload, have, length, key } => {
                    let all = payload.get_mut(..*length).unwrap_or_default();
                    *have = fill(all, *have, input);
                    if *have < *length {
                        return Ok(None);
                    }
                    let _ = mask(*key, all);
                    let (frame, next) = match opcode {
                        Opcode::Ping => (Frame::Ping(Bytes::copy_from_slice(all)), State::NEXT),
                        Opcode::Close => (Frame::Close(Close::parse(all)?), State::Closed),
                        _ => (Frame::Pong(Bytes::copy_from_slice(all)), State::NEXT),
                    };
                    self.state = next;
                    return Ok(Some(frame));
                }
                State::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
            }
        }
    }

    /// A header is complete.
    fn begin(&mut self, start: &Start, length: u64, key: [u8; 4]) -> Result<(), FrameError> {
        if start.opcode.is_control() {
            let length = usize::try_from(length).map_err(|_| FrameError::LongControl)?;
            self.state = State::Control { opcode: start.opcode, payload: [0; CONTROL], have: 0, length, key };
            return Ok(());
        }
        let (kind, first) = match (start.opcode, self.message) {
            (Opcode::Continuation, Some(kind)) => (kind, false),
            (Opcode::Continuation, None) => return Err(FrameError::NothingToContinue),
            (_, Some(_)) => return Err(FrameError::Interrupted),
            (Opcode::Text, None) => (Kind::Text, true),
            (_, None) => (Kind::Binary, true),
        };
        self.message = (!start.fin).then_some(kind);
        self.state = State::Data { rest: length, key, kind, first, fin: start.fin };
        Ok(())
    }
}

/// The header, if it has come wholly: its first bytes, the payload's length, the mask (zeroes, if there is none).
fn header(
    role: Role,
    bytes: &mut [u8; HEADER],
    have: &mut usize,
    input: &mut &mut [u8],
) -> Result<Option<(Start, u64, [u8; 4])>, FrameError> {
    let [first, second, rest @ ..] = bytes;
    if *have < 2 {
        let mut two = [*first, *second];
        *have = fill(&mut two, *have, input);
        [*first, *second] = two;
    }
    if *have < 2 {
        return Ok(None);
    }
    let start = Start::parse(role, *first, *second)?;
    let length_bytes = match start.length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let key_bytes = if start.masked { 4 } else { 0 };
    let rest = rest.get_mut(..length_bytes + key_bytes).unwrap_or_default();
    *have = 2 + fill(rest, *have - 2, input);
    if *have < 2 + rest.len() {
        return Ok(None);
    }
    let (length, key) = rest.split_at_checked(length_bytes).unwrap_or_default();
    let length = start.length(length)?;
    Ok(Some((start, length, key.try_into().unwrap_or_default())))
}

impl Start {
    fn parse(role: Role, first: u8, second: u8) -> Result<Self, FrameError> {
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::of(first & 0x0f)?;
        let start = Self { fin: first & 0x80 != 0, opcode, masked: second & 0x80 != 0, length: second & 0x7f };
        match role {
            Role::Server if !start.masked => return Err(FrameError::Unmasked),
            Role::Client if start.masked => return Err(FrameError::Masked),
            _ => {}
        }
        if opcode.is_control() && !start.fin {
            return Err(FrameError::FragmentedControl);
        }
        if opcode.is_control() && usize::from(start.length) > CONTROL {
            return Err(FrameError::LongControl);
        }
        Ok(start)
    }

    /// The payload's length; `long` is what comes behind the first two bytes.
    fn length(&self, long: &[u8]) -> Result<u64, FrameError> {
        let (length, shortest) = match (<[u8; 2]>::try_from(long), <[u8; 8]>::try_from(long)) {
            (Ok(two), _) => (u64::from(u16::from_be_bytes(two)), 126),
            (_, Ok(eight)) => (u64::from_be_bytes(eight), 0x1_0000),
            _ => (u64::from(self.length), 0),
        };
        if length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        if length < shortest {
            return Err(FrameError::LongLength);
        }
        Ok(length)
    }
}

/// Takes bytes from the front of the input: as many as wanted, or all.
fn take<'a>(input: &mut &'a mut [u8], length: usize) -> &'a mut [u8] {
    let all = mem::take(input);
    let (taken, rest) = all.split_at_mut(length.min(all.len()));
    *input = rest;
    taken
}

/// Fills up a part that has come so far; returns how far it has then.
fn fill(part: &mut [u8], have: usize, input: &mut &mut [u8]) -> usize {
    let missing = part.get_mut(have..).unwrap_or_default();
    let taken = take(input, missing.len());
    for (to, from) in missing.iter_mut().zip(&*taken) {
        *to = *from;
    }
    have + taken.len()
}
