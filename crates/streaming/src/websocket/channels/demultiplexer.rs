//! From what comes to the channels it is for, without I/O.

use std::borrow::Cow;

use bytes::Bytes;

use super::base64::{Decoder as Base64, Invalid};
use super::{CLOSE_SIGNAL, Encoding, Protocol};
use crate::websocket::frame::{Close, Decoder, Frame, FrameError, Piece, Role, code};

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes for a channel, at least one.
    Data {
        /// Less than the number of channels.
        channel: u8,
        /// Decoded.
        bytes: Cow<'a, [u8]>,
    },
    /// The other end has said its last word on a channel.
    End {
        /// Less than the number of channels.
        channel: u8,
    },
    /// Wants a pong with the same bytes.
    Ping(Bytes),
    /// Any.
    Pong,
    /// The other end's last frame.
    Close(Option<Close>),
}

/// What the other end did that WebSocket or `channel.k8s.io` forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Of RFC 6455.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Only so many channels were agreed on.
    #[error("there is no channel {0}")]
    Channel(u8),
    /// It is two bytes.
    #[error("a close signal names no channel, or more than one")]
    Signal,
    /// Of the base64 variant.
    #[error("a message is not base64")]
    Base64,
}

impl Violation {
    /// The code that the connection is closed with.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Frame(error) => error.code(),
            Self::Channel(_) | Self::Signal => code::PROTOCOL,
            Self::Base64 => code::INVALID,
        }
    }
}

/// Finds out for which channel the messages are that come. Holds no more of them than three characters of base64.
#[derive(Debug)]
pub struct Demultiplexer {
    protocol: Protocol,
    channels: u8,
    frames: Decoder,
    message: Message,
}

/// The message that has not come wholly, as far as it has come.
#[derive(Debug)]
enum Message {
    /// Not even the channel.
    Start,
    Binary {
        channel: u8,
    },
    Text {
        channel: u8,
        base64: Base64,
    },
    /// A close signal, and whose.
    Signal {
        channel: Option<u8>,
    },
}

impl Demultiplexer {
    /// Of what comes from the other end, for this number of channels.
    #[must_use]
    pub fn new(role: Role, protocol: Protocol, channels: u8) -> Self {
        Self { protocol, channels, frames: Decoder::new(role), message: Message::Start }
    }

    /// What comes next, taken from the front of the input; `None` when the input is used up. After an error nothing
    /// further can be found.
    ///
    /// # Errors
    /// [`Violation`], whatever the other end did.
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Event<'a>>, Violation> {
        while let Some(frame) = self.frames.next(input)? {
            return Ok(Some(match frame {
                Frame::Ping(payload) => Event::Ping(payload),
                Frame::Pong(_) => Event::Pong,
                Frame::Close(close) => Event::Close(close),
                Frame::Piece(piece) => match self.piece(&piece)? {
                    Some(event) => event,
                    None => continue,
                },
            }));
        }
        Ok(None)
    }

    /// Whether a message says that it is text is of no importance: the Kubernetes client for Python says so of binary ones.
    fn piece<'a>(&mut self, piece: &Piece<'a>) -> Result<Option<Event<'a>>, Violation> {
        let mut bytes = piece.bytes;
        if piece.first {
            self.message = Message::Start;
        }
        if let Message::Start = self.message {
            // A message without a channel is none, as in Kubernetes.
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.message = self.start(*first)?;
            bytes = rest;
        }
        match &mut self.message {
            Message::Start => Ok(None),
            Message::Binary { channel } => Ok(data(*channel, Cow::Borrowed(bytes))),
            Message::Text { channel, base64 } => {
                let bytes = base64.decode(bytes)?;
                if piece.last {
                    base64.finish()?;
                }
                Ok(data(*channel, Cow::Owned(bytes)))
            }
            Message::Signal { channel } => {
                for byte in bytes {
                    if channel.replace(*byte).is_some() {
                        return Err(Violation::Signal);
                    }
                }
                if !piece.last {
                    return Ok(None);
                }
                let channel = channel.ok_or(Violation::Signal)?;
                self.known(channel).map(|channel| Some(Event::End { channel }))
            }
        }
    }

    fn start(&self, first: u8) -> Result<Message, Violation> {
        if self.protocol.close_signal && first == CLOSE_SIGNAL {
            return Ok(Message::Signal { channel: None });
        }
        match self.protocol.encoding {
            Encoding::Binary => Ok(Message::Binary { channel: self.known(first)? }),
            Encoding::Base64 => {
                let channel = self.known(first.wrapping_sub(b'0'))?;
                Ok(Message::Text { channel, base64: Base64::default() })
            }
        }
    }

    fn known(&self, channel: u8) -> Result<u8, Violation> {
        if channel < self.channels { Ok(channel) } else { Err(Violation::Channel(channel)) }
    }
}

impl From<Invalid> for Violation {
    fn from(_: Invalid) -> Self {
        Self::Base64
    }
}

fn data(channel: u8, bytes: Cow<'_, [u8]>) -> Option<Event<'_>> {
    (!bytes.is_empty()).then_some(Event::Data { channel, bytes })
}
