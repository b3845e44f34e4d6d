//! Frames (RFC 6455, 5), read and written without I/O. Extensions are not negotiated, so the reserved bits are zero.

mod decoder;
mod encoder;

use bytes::Bytes;

pub use decoder::Decoder;
pub use encoder::{Header, append};

/// The most bytes that a control frame carries.
pub const CONTROL: usize = 125;

/// Which end of the connection this is. A client masks what it sends, a server does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What comes must be masked.
    Server,
    /// What comes must not be masked.
    Client,
}

/// What a message says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Binary,
    /// UTF-8, which is not looked at here.
    Text,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation,
    /// A text message, or the beginning of one.
    Text,
    /// A binary message, or the beginning of one.
    Binary,
    /// The sender's last frame.
    Close,
    /// Wants a pong with the same bytes.
    Ping,
    /// Answers a ping, or says unasked that the sender is alive.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Result<Self, FrameError> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(FrameError::Opcode(bits)),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What a [`Decoder`] finds: a piece of a message, or a whole control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of a message.
    Piece(Piece<'a>),
    /// Wants a pong with the same bytes.
    Ping(Bytes),
    /// An answer to a ping, or none.
    Pong(Bytes),
    /// The other end's last frame.
    Close(Option<Close>),
}

/// As much of a message as has come, however it was fragmented.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Of the message.
    pub kind: Kind,
    /// The message begins with these bytes.
    pub first: bool,
    /// The message ends with these bytes.
    pub last: bool,
    /// Unmasked; none, if a fragment is empty.
    pub bytes: &'a [u8],
}

/// Why a connection is closed, as its last frame says (RFC 6455, 7.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// See [`code`].
    pub code: u16,
    /// For people.
    pub reason: String,
}

/// Close codes.
pub mod code {
    /// All is said.
    pub const NORMAL: u16 = 1000;
    /// The server shuts down, or the browser leaves the page.
    pub const GOING_AWAY: u16 = 1001;
    /// The protocol was violated.
    pub const PROTOCOL: u16 = 1002;
    /// A kind of message that is not accepted.
    pub const UNSUPPORTED: u16 = 1003;
    /// A message is not of the form it says it has.
    pub const INVALID: u16 = 1007;
    /// A message is not acceptable.
    pub const POLICY: u16 = 1008;
    /// Something failed.
    pub const INTERNAL: u16 = 1011;
}

impl Close {
    /// A reason that is too long for a control frame is cut.
    #[must_use]
    pub fn new(code: u16, mut reason: String) -> Self {
        let cut = (0..=CONTROL - 2).rev().find(|cut| reason.is_char_boundary(*cut));
        if reason.len() > CONTROL - 2 {
            reason.truncate(cut.unwrap_or(0));
        }
        Self { code, reason }
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self.code, code::NORMAL | code::GOING_AWAY)
    }

    /// What the frame carries.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        [&self.code.to_be_bytes(), self.reason.as_bytes()].concat()
    }

    fn parse(payload: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return if payload.is_empty() { Ok(None) } else { Err(FrameError::CloseLength) };
        };
        let code = u16::from_be_bytes(*code);
        // Those of RFC 6455 and IANA's registry that may be sent, and those free for use.
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(FrameError::CloseCode(code));
        }
        let reason = str::from_utf8(reason).map_err(|_| FrameError::CloseReason)?;
        Ok(Some(Self { code, reason: reason.to_owned() }))
    }
}

/// What the other end did that RFC 6455 forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// 5.2: no extension was agreed on.
    #[error("a reserved bit is set")]
    Reserved,
    /// 5.2.
    #[error("opcode {0} is unknown")]
    Opcode(u8),
    /// 5.5.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// 5.5.
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// 5.2: the most significant bit must be zero.
    #[error("a frame's length has more than 63 bits")]
    Length,
    /// 5.2.
    #[error("a frame's length is not in its shortest form")]
    LongLength,
    /// 5.4.
    #[error("there is no message to be continued")]
    NothingToContinue,
    /// 5.4.
    #[error("a message begins within another")]
    Interrupted,
    /// 5.1.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// 5.1.
    #[error("a server's frame is masked")]
    Masked,
    /// 5.5.1.
    #[error("a close frame has half a code")]
    CloseLength,
    /// 7.4.
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// 5.5.1.
    #[error("a close frame's reason is not UTF-8")]
    CloseReason,
}

impl FrameError {
    /// The code that the connection is closed with.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::CloseReason => code::INVALID,
            _ => code::PROTOCOL,
        }
    }
}

/// Masks or unmasks bytes (RFC 6455, 5.3), the first of them with the key's first byte. Returns the key for those after them.
#[must_use]
pub fn mask(mut key: [u8; 4], bytes: &mut [u8]) -> [u8; 4] {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
    key.rotate_left(rest.len() % 4);
    key
}

#[cfg(test)]
mod tests;
