//! A byte stream over binary messages: SPDY over WebSocket, as port-forwarding clients speak it.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{Close, Decoder, Frame, FrameError, Kind, Opcode, Role, append, code};

/// The most bytes that are read at once.
const READ: usize = 32 * 1024;

/// The most bytes of one message that is sent.
const MESSAGE: usize = 32 * 1024;

/// While so many bytes wait to be written, none are added to them.
const LIMIT: usize = 32 * 1024;

/// A byte stream over the binary messages of a WebSocket connection.
pub fn tunnel<T>(io: T, role: Role) -> Tunnel<T> {
    Tunnel {
        input: Input { decoder: Decoder::new(role), buffer: vec![0; READ].into(), start: 0, payload: 0, end: 0 },
        output: Output { role, bytes: BytesMut::new(), ping: None, closed: false, wakers: Arc::default() },
        ended: false,
        io,
    }
}

/// The bytes of the messages that come, and those that are sent in messages, in pieces of no meaning. A close frame that says
/// that nothing went wrong is the end of the stream. Shutting down sends one: there is no half-closed WebSocket connection.
/// The end of the connection without a close frame is an error.
///
/// Pings are answered while reading, and while writing. Both may be done by tasks of their own (`tokio::io::split`).
#[derive(Debug)]
pub struct Tunnel<T> {
    io: T,
    input: Input,
    output: Output,
    /// The other end has sent its last frame.
    ended: bool,
}

/// What has come.
#[derive(Debug)]
struct Input {
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// From here to `payload` are bytes of a message, for the reader.
    start: usize,
    /// From here to `end` nothing was looked at yet.
    payload: usize,
    end: usize,
}

/// What a reader must be told of, beside bytes.
enum Found {
    Payload,
    Nothing,
    Ping(Bytes),
    Close(Option<Close>),
    Violation(Close),
}

impl Input {
    /// Looks at what has come up to the next piece of a message.
    fn next(&mut self) -> Found {
        let mut input = self.buffer.get_mut(self.payload..self.end).unwrap_or_default();
        let frame = self.decoder.next(&mut input);
        let looked_at = self.end.saturating_sub(input.len());
        let found = match frame {
            Ok(None) => Found::Nothing,
            Ok(Some(Frame::Pong(_))) => Found::Payload,
            Ok(Some(Frame::Ping(payload))) => Found::Ping(payload),
            Ok(Some(Frame::Close(close))) => Found::Close(close),
            Ok(Some(Frame::Piece(piece))) if piece.kind == Kind::Binary => {
                self.start = looked_at.saturating_sub(piece.bytes.len());
                self.payload = looked_at;
                return Found::Payload;
            }
            Ok(Some(Frame::Piece(_))) => Found::Violation(Close::new(code::UNSUPPORTED, "text in a tunnel".to_owned())),
            Err(error) => Found::Violation(violation(error)),
        };
        self.start = looked_at;
        self.payload = looked_at;
        found
    }

    /// Hands over bytes of a message, if there are any.
    fn take(&mut self, to: &mut ReadBuf<'_>) -> bool {
        let payload = self.buffer.get(self.start..self.payload).unwrap_or_default();
        let (taken, _) = payload.split_at(payload.len().min(to.remaining()));
        to.put_slice(taken);
        self.start += taken.len();
        !taken.is_empty()
    }
}

fn violation(error: FrameError) -> Close {
    Close::new(error.code(), error.to_string())
}

/// What is to be sent: whole frames, the first of which may have been written in part.
#[derive(Debug)]
struct Output {
    role: Role,
    bytes: BytesMut,
    /// The latest ping that was not answered.
    ping: Option<Bytes>,
    /// The last frame is among the bytes, or has been sent.
    closed: bool,
    wakers: Arc<Wakers>,
}

/// Whoever reads writes too: pongs. A socket remembers only one waker that waits for it to be writable; so that is one that
/// wakes both tasks.
#[derive(Debug, Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

impl Output {
    fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        append(&mut self.bytes, opcode, self.role.key()?, &[payload]);
        Ok(())
    }

    fn close(&mut self, close: Option<&Close>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.ping = None;
        self.frame(Opcode::Close, &close.map(Close::payload).unwrap_or_default())
    }

    /// Writes what there is to be written, and flushes it. Both tasks are woken if it was not ready.
    fn poll_drain<T: AsyncWrite + Unpin>(&mut self, io: &mut T) -> Poll<io::Result<()>> {
        let waker = Waker::from(self.wakers.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if self.bytes.len() < LIMIT
                && let Some(ping) = self.ping.take()
            {
                self.frame(Opcode::Pong, &ping)?;
            }
            if self.bytes.is_empty() {
                return Pin::new(&mut *io).poll_flush(&mut context);
            }
            let written = ready!(Pin::new(&mut *io).poll_write(&mut context, &self.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.bytes.advance(written);
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Tunnel<T> {
    /// What a reader can do about what is to be written. That it cannot be written is for the writer to say: there may be
    /// something to be read nevertheless.
    fn answer(&mut self) {
        if matches!(self.output.poll_drain(&mut self.io), Poll::Ready(Ok(()))) {
            self.output.wakers.writer.wake();
        }
    }

    /// The connection has ended, or is given up.
    fn end(&mut self, close: Option<&Close>) -> io::Result<()> {
        self.ended = true;
        self.output.close(close)?;
        self.answer();
        // A writer that waits must hear that it waits in vain.
        self.output.wakers.writer.wake();
        Ok(())
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.input.buffer);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
        let filled = buffer.filled().len();
        (self.input.start, self.input.payload, self.input.end) = (0, 0, filled);
        if filled > 0 {
            return Poll::Ready(Ok(()));
        }
        // Many do not answer a close frame, but close the socket.
        self.ended = self.output.closed;
        Poll::Ready(if self.ended { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) })
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tunnel = self.get_mut();
        tunnel.output.wakers.reader.register(context.waker());
        if tunnel.output.ping.is_some() || !tunnel.output.bytes.is_empty() {
            tunnel.answer();
        }
        loop {
            if tunnel.input.take(to) || to.remaining() == 0 || tunnel.ended {
                return Poll::Ready(Ok(()));
            }
            match tunnel.input.next() {
                Found::Payload => {}
                Found::Nothing => ready!(tunnel.poll_fill(context))?,
                Found::Ping(payload) => {
                    tunnel.output.ping = (!tunnel.output.closed).then_some(payload);
                    tunnel.answer();
                }
                Found::Close(close) => {
                    tunnel.end(close.as_ref())?;
                    if let Some(close) = close.filter(|close| !close.is_clean()) {
                        let Close { code, reason } = close;
                        let error =
                            io::Error::new(ErrorKind::ConnectionAborted, format!("closed with {code}: {reason}"));
                        return Poll::Ready(Err(error));
                    }
                }
                Found::Violation(close) => {
                    tunnel.end(Some(&close))?;
                    return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, close.reason)));
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tunnel = self.get_mut();
        let output = &mut tunnel.output;
        output.wakers.writer.register(context.waker());
        if output.bytes.len() >= LIMIT
            && let Poll::Ready(Err(error)) = output.poll_drain(&mut tunnel.io)
        {
            return Poll::Ready(Err(error));
        }
        if output.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if output.bytes.len() >= LIMIT {
            return Poll::Pending;
        }
        let (message, _) = bytes.split_at(bytes.len().min(MESSAGE));
        if message.is_empty() {
            return Poll::Ready(Ok(0));
        }
        output.frame(Opcode::Binary, message)?;
        // Nobody may call again before the other end answers.
        match output.poll_drain(&mut tunnel.io) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(message.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tunnel = self.get_mut();
        tunnel.output.wakers.writer.register(context.waker());
        tunnel.output.poll_drain(&mut tunnel.io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tunnel = self.get_mut();
        let output = &mut tunnel.output;
        output.wakers.writer.register(context.waker());
        output.close(Some(&Close::new(code::NORMAL, String::new())))?;
        ready!(output.poll_drain(&mut tunnel.io))?;
        let waker = Waker::from(output.wakers.clone());
        Pin::new(&mut tunnel.io).poll_shutdown(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests;
