//! Frames: SPDY/3.1, 2.2 and 2.6. No I/O.
//!
//! ```text
//! control   1 | version (15 bits) | type (16)      data   0 | stream (31)
//!           flags (8) | length (24)                       flags (8) | length (24)
//!           what the type says                            bytes
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::stream::CHUNK;

mod encode;
#[cfg(test)]
pub(super) mod tests;

pub(super) use encode::data_header;

/// The length of every frame's header.
pub const HEADER: usize = 8;

/// The most bytes that a control frame may hold after its header.
pub const CONTROL_LIMIT: usize = 16 * 1024;

/// The version in every control frame. SPDY/3.1 is 3 here, too.
const VERSION: u16 = 3;

const CONTROL: u32 = 0x8000_0000;
const STREAM: u32 = 0x7fff_ffff;
const FIN: u8 = 0x01;
const UNIDIRECTIONAL: u8 = 0x02;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset: 2.6.3.
pub mod reset {
    /// There is no such stream.
    pub const INVALID_STREAM: u32 = 2;
    /// The stream is not wanted; nothing was done about it.
    pub const REFUSED_STREAM: u32 = 3;
    /// There was such a stream.
    pub const STREAM_ALREADY_CLOSED: u32 = 9;
}

/// Why a connection is closed: 2.6.6.
pub mod goaway {
    /// All is said.
    pub const OK: u32 = 0;
    /// The other end did what it must not.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// Something failed here.
    pub const INTERNAL_ERROR: u32 = 2;
}

/// What is wrong with what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A control frame of another version.
    #[error("a control frame of version {0}, not 3")]
    Version(u16),
    /// A control frame longer than [`CONTROL_LIMIT`].
    #[error("a control frame of type {kind} with {length} bytes")]
    TooLong {
        /// The frame's type.
        kind: u16,
        /// The length that its header says.
        length: usize,
    },
    /// A control frame of a length that its type cannot have.
    #[error("a {name} frame with {length} bytes")]
    Length {
        /// The frame's type.
        name: &'static str,
        /// The length that its header says.
        length: usize,
    },
    /// SETTINGS that hold fewer settings than they say.
    #[error("a SETTINGS frame that says it holds {count} settings in {length} bytes")]
    Settings {
        /// The settings it says it holds.
        count: u32,
        /// The length that its header says.
        length: usize,
    },
    /// Stream 0.
    #[error("a {0} frame for stream 0")]
    StreamZero(&'static str),
    /// A reset for no reason.
    #[error("a RST_STREAM frame for stream {0} with status 0")]
    NoStatus(u32),
}

/// A frame, or a piece of a data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A stream is opened.
    SynStream {
        /// The new stream.
        stream: u32,
        /// The stream that it belongs to, or 0.
        associated: u32,
        /// From 0, the highest, to 7.
        priority: u8,
        /// Its sender says nothing more on it.
        fin: bool,
        /// Its receiver says nothing on it.
        unidirectional: bool,
        /// The compressed headers.
        block: Bytes,
    },
    /// A stream is accepted.
    SynReply {
        /// The stream.
        stream: u32,
        /// Its sender says nothing more on it.
        fin: bool,
        /// The compressed headers.
        block: Bytes,
    },
    /// A stream is given up, both ways.
    RstStream {
        /// The stream.
        stream: u32,
        /// One of [`reset`], or another.
        status: u32,
    },
    /// Settings. What they say is dropped.
    Settings,
    /// A ping, or the answer to one, which has the same number.
    Ping(u32),
    /// The connection is about to be closed.
    GoAway {
        /// The last stream of the receiver's that the sender took.
        last: u32,
        /// One of [`goaway`], or another.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// Its sender says nothing more on it.
        fin: bool,
        /// The compressed headers.
        block: Bytes,
    },
    /// Flow control.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream: u32,
        /// How many bytes more may be sent.
        delta: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// Perhaps none of them.
        bytes: Bytes,
        /// Its sender says nothing more on it.
        fin: bool,
    },
}

/// Takes frames out of the bytes of a connection as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    data: Option<Rest>,
}

/// What is still to come of a data frame.
#[derive(Debug)]
struct Rest {
    stream: u32,
    left: usize,
    fin: bool,
}

impl Decoder {
    /// The next frame of what has come, which is taken out of `input`; none if more must come first. That is never the
    /// case when `input` holds more than [`HEADER`] + [`CONTROL_LIMIT`] bytes. A data frame comes in pieces of at most
    /// [`CHUNK`] bytes, as they come; the last one has `fin` if the frame has. Control frames of unknown types are dropped.
    ///
    /// # Errors
    /// [`FrameError`]; there is nothing more to be decoded then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(rest) = self.data.take() {
                return Ok(self.piece(rest, input));
            }
            let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
            let mut header = &header[..];
            let (word, flags) = (header.get_u32(), header.get_u8());
            let length = usize::try_from(header.get_uint(3)).unwrap_or(usize::MAX);
            if word & CONTROL == 0 {
                input.advance(HEADER);
                if word == 0 {
                    return Err(FrameError::StreamZero("data"));
                }
                self.data = Some(Rest { stream: word, left: length, fin: flags & FIN != 0 });
                continue;
            }
            let Some((kind, body)) = control_body(word, length, input)? else { return Ok(None) };
            if let Some(frame) = control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn piece(&mut self, mut rest: Rest, input: &mut BytesMut) -> Option<Frame> {
        if input.is_empty() && rest.left > 0 {
            self.data = Some(rest);
            return None;
        }
        let bytes = input.split_to(rest.left.min(input.len()).min(CHUNK)).freeze();
        let stream = rest.stream;
        rest.left = rest.left.saturating_sub(bytes.len());
        let fin = rest.fin && rest.left == 0;
        if rest.left > 0 {
            self.data = Some(rest);
        }
        Some(Frame::Data { stream, bytes, fin })
    }
}

/// The type of a control frame and what comes after its header, if all of it is there.
fn control_body(word: u32, length: usize, input: &mut BytesMut) -> Result<Option<(u16, Bytes)>, FrameError> {
    let [_, _, kind @ ..] = word.to_be_bytes();
    let (kind, version) = (u16::from_be_bytes(kind), u16::try_from((word & !CONTROL) >> 16).unwrap_or(u16::MAX));
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    if length > CONTROL_LIMIT {
        return Err(FrameError::TooLong { kind, length });
    }
    if input.len() < HEADER + length {
        return Ok(None);
    }
    input.advance(HEADER);
    Ok(Some((kind, input.split_to(length).freeze())))
}

/// A control frame; none if its type is unknown.
fn control(kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, FrameError> {
    let fin = flags & FIN != 0;
    Ok(Some(match kind {
        SYN_STREAM => {
            at_least(10, "SYN_STREAM", &body)?;
            let (stream, associated) = (stream("SYN_STREAM", &mut body)?, body.get_u32() & STREAM);
            let priority = body.get_u8() >> 5;
            body.advance(1);
            let unidirectional = flags & UNIDIRECTIONAL != 0;
            Frame::SynStream { stream, associated, priority, fin, unidirectional, block: body }
        }
        SYN_REPLY => {
            at_least(4, "SYN_REPLY", &body)?;
            Frame::SynReply { stream: stream("SYN_REPLY", &mut body)?, fin, block: body }
        }
        RST_STREAM => {
            exactly(8, "RST_STREAM", &body)?;
            let (stream, status) = (stream("RST_STREAM", &mut body)?, body.get_u32());
            if status == 0 {
                return Err(FrameError::NoStatus(stream));
            }
            Frame::RstStream { stream, status }
        }
        SETTINGS => settings(body)?,
        PING => {
            exactly(4, "PING", &body)?;
            Frame::Ping(body.get_u32())
        }
        GOAWAY => {
            exactly(8, "GOAWAY", &body)?;
            Frame::GoAway { last: body.get_u32() & STREAM, status: body.get_u32() }
        }
        HEADERS => {
            at_least(4, "HEADERS", &body)?;
            Frame::Headers { stream: stream("HEADERS", &mut body)?, fin, block: body }
        }
        WINDOW_UPDATE => {
            exactly(8, "WINDOW_UPDATE", &body)?;
            Frame::WindowUpdate { stream: body.get_u32() & STREAM, delta: body.get_u32() & STREAM }
        }
        _ => return Ok(None),
    }))
}

fn settings(mut body: Bytes) -> Result<Frame, FrameError> {
    at_least(4, "SETTINGS", &body)?;
    let (length, count) = (body.len(), body.get_u32());
    match u32::try_from(body.len()) {
        Ok(rest) if count.checked_mul(8) == Some(rest) => Ok(Frame::Settings),
        _ => Err(FrameError::Settings { count, length }),
    }
}

fn stream(name: &'static str, body: &mut Bytes) -> Result<u32, FrameError> {
    match body.get_u32() & STREAM {
        0 => Err(FrameError::StreamZero(name)),
        stream => Ok(stream),
    }
}

fn at_least(length: usize, name: &'static str, body: &Bytes) -> Result<(), FrameError> {
    if body.len() < length { Err(FrameError::Length { name, length: body.len() }) } else { Ok(()) }
}

fn exactly(length: usize, name: &'static str, body: &Bytes) -> Result<(), FrameError> {
    if body.len() == length { Ok(()) } else { Err(FrameError::Length { name, length: body.len() }) }
}
