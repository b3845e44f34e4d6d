#![allow(clippy::unwrap_used, clippy::panic)]
mod bounds;
mod closing;
mod protocol;

use super::*;
use crate::websocket::frame::{Decoder, Frame, Kind, Opcode, append};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const V4: Protocol = Protocol { encoding: Encoding::Binary, close_signal: false };
const V5: Protocol = Protocol { encoding: Encoding::Binary, close_signal: true };
const BASE64: Protocol = Protocol { encoding: Encoding::Base64, close_signal: false };

/// The other end of a connection, played by hand.
struct Wire {
    io: DuplexStream,
    key: Option<[u8; 4]>,
    decoder: Decoder,
    /// The message that has not come wholly.
    message: Option<(Kind, Vec<u8>)>,
    come: Vec<Heard>,
}

/// A frame, or the piece of one that has come.
#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Message(Kind, Vec<u8>),
    Ping(Bytes),
    Pong(Bytes),
    Close(Option<Close>),
}

impl Wire {
    /// A server with so many channels, and the wire that a client has.
    fn to_server(protocol: Protocol, count: u8) -> (Self, Connection, Vec<(Incoming, Outgoing)>) {
        let (theirs, ours) = duplex(4096);
        let (connection, halves) = channels(ours, None, Role::Server, protocol, count);
        (Self::of(theirs, Role::Client), connection, halves)
    }

    fn to_client(protocol: Protocol, count: u8) -> (Self, Connection, Vec<(Incoming, Outgoing)>) {
        let (theirs, ours) = duplex(4096);
        let (connection, halves) = channels(ours, None, Role::Client, protocol, count);
        (Self::of(theirs, Role::Server), connection, halves)
    }

    fn of(io: DuplexStream, role: Role) -> Self {
        let key = (role == Role::Client).then_some([1, 2, 3, 4]);
        Self { io, key, decoder: Decoder::new(role), message: None, come: Vec::new() }
    }

    async fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = BytesMut::new();
        append(&mut frame, opcode, self.key, &[payload]);
        self.io.write_all(&frame).await.unwrap();
    }

    /// The next frame; `None` at the end.
    async fn hear(&mut self) -> Option<Heard> {
        loop {
            if !self.come.is_empty() {
                return Some(self.come.remove(0));
            }
            let mut buffer = [0; 1000];
            let length = self.io.read(&mut buffer).await.unwrap();
            let mut input = &mut buffer[..length];
            if length == 0 {
                return None;
            }
            while let Some(frame) = self.decoder.next(&mut input).unwrap() {
                match frame {
                    Frame::Ping(payload) => self.come.push(Heard::Ping(payload)),
                    Frame::Pong(payload) => self.come.push(Heard::Pong(payload)),
                    Frame::Close(close) => self.come.push(Heard::Close(close)),
                    Frame::Piece(piece) => {
                        let (kind, bytes) = self.message.get_or_insert((piece.kind, Vec::new()));
                        bytes.extend_from_slice(piece.bytes);
                        if piece.last {
                            self.come.push(Heard::Message(*kind, bytes.clone()));
                            self.message = None;
                        }
                    }
                }
            }
        }
    }

    async fn hears_close(&mut self, code: u16, reason: &str) {
        assert_eq!(self.hear().await, Some(Heard::Close(Some(Close { code, reason: reason.to_owned() }))));
    }
}

async fn next(incoming: &mut Incoming) -> Vec<u8> {
    incoming.next().await.unwrap().unwrap().to_vec()
}
