//! The half of a connection's driver that writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::pongs::Pongs;
use super::{CLOSE_SIGNAL, Encoding, Protocol, base64};
use crate::stream::{Closing, Command};
use crate::websocket::frame::{Close, Header, Opcode, Role, append, code};

/// A batch with so many bytes is sent before more commands are taken.
const BATCH: usize = 64 * 1024;

/// A payload of so many bytes is not copied, if it need not be masked.
const LARGE: usize = 1024;

/// The most slices that one call writes.
const SLICES: usize = 32;

pub(super) struct Writer<W> {
    io: W,
    role: Role,
    protocol: Protocol,
    pongs: Arc<Pongs>,
    /// What is being sent, beginning where the last write ended.
    parts: VecDeque<Bytes>,
    /// What is to be sent behind the parts.
    tail: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(io: W, role: Role, protocol: Protocol, pongs: Arc<Pongs>) -> Self {
        Self { io, role, protocol, pongs, parts: VecDeque::new(), tail: BytesMut::new() }
    }

    /// Writes what it is told to, up to a close frame. Can be cancelled: what was not written yet is written with what comes
    /// next.
    pub(super) async fn run(&mut self, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
        loop {
            let mut command = tokio::select! {
                // Whoever holds the connection has dropped it, if there is nobody who could command.
                command = commands.recv() => Some(command.unwrap_or(Command::Close(Closing::Normal))),
                () = self.pongs.asked() => None,
            };
            if let Some(payload) = self.pongs.take() {
                self.frame(Opcode::Pong, &[], payload)?;
            }
            while let Some(now) = command {
                if self.put(now)?.is_break() {
                    return self.flush().await;
                }
                command = if self.is_full() { None } else { commands.try_recv().ok() };
            }
            self.flush().await?;
        }
    }

    /// Sends what is being sent, then a close frame, and then nothing more.
    pub(super) async fn close(&mut self, close: Option<&Close>) -> io::Result<()> {
        self.frame(Opcode::Close, &[], close.map(Close::payload).unwrap_or_default().into())?;
        self.flush().await?;
        self.shutdown().await
    }

    /// Closes the socket for writing, as TLS wants it.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    fn put(&mut self, command: Command) -> io::Result<ControlFlow<()>> {
        match command {
            Command::Data { stream, bytes } => self.data(stream, bytes)?,
            Command::Finish { stream } => self.finish(stream)?,
            Command::Pong(payload) => self.frame(Opcode::Pong, &[], payload)?,
            // Of SPDY. Whoever wants a channel opened hears that there is none.
            Command::Reset { .. } | Command::Accept { .. } | Command::Open { .. } => {}
            Command::Close(why) => {
                let close = match why {
                    Closing::Normal => Close::new(code::NORMAL, String::new()),
                    Closing::Protocol(reason) => Close::new(code::PROTOCOL, reason),
                    Closing::Internal(reason) => Close::new(code::INTERNAL, reason),
                };
                self.frame(Opcode::Close, &[], close.payload().into())?;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn data(&mut self, stream: u32, bytes: Bytes) -> io::Result<()> {
        let Ok(channel) = u8::try_from(stream) else { return Ok(()) };
        match self.protocol.encoding {
            Encoding::Binary => self.frame(Opcode::Binary, &[channel], bytes),
            Encoding::Base64 => {
                let mut utf8 = [0; 4];
                let channel = char::from(channel.wrapping_add(b'0')).encode_utf8(&mut utf8);
                self.frame(Opcode::Text, channel.as_bytes(), base64::encode(&bytes).into())
            }
        }
    }

    /// A server never says that a channel has ended, as none of Kubernetes' does: client-go logs an error if one does.
    fn finish(&mut self, stream: u32) -> io::Result<()> {
        match (self.role, u8::try_from(stream)) {
            (Role::Client, Ok(channel)) if self.protocol.close_signal => {
                self.frame(Opcode::Binary, &[CLOSE_SIGNAL, channel], Bytes::new())
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, opcode: Opcode, start: &[u8], payload: Bytes) -> io::Result<()> {
        let key = self.role.key()?;
        if key.is_some() || payload.len() < LARGE {
            append(&mut self.tail, opcode, key, &[start, &payload]);
            return Ok(());
        }
        self.tail.extend_from_slice(&Header::new(opcode, start.len() + payload.len(), None));
        self.tail.extend_from_slice(start);
        self.parts.push_back(self.tail.split().freeze());
        self.parts.push_back(payload);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.parts.iter().map(Bytes::len).sum::<usize>() + self.tail.len() >= BATCH
    }

    /// Can be cancelled, and goes on where it was.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
        while !self.parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, part) in slices.iter_mut().zip(&self.parts) {
                *slice = IoSlice::new(part);
            }
            let used = self.parts.len().min(SLICES);
            let written = self.io.write_vectored(slices.get(..used).unwrap_or_default()).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written(written);
        }
        self.io.flush().await
    }

    fn written(&mut self, mut length: usize) {
        while let Some(part) = self.parts.front_mut() {
            let of_part = length.min(part.len());
            part.advance(of_part);
            length -= of_part;
            if !part.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
    }
}
