//! Writing once where HTTP/2 flushes twice.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is held back at most.
const MOST: usize = 64 << 10;

/// Holds back what is written until one turn of the scheduler after it is flushed. A request's headers are flushed before
/// its message is taken, which would wake the runtime for nothing.
pub(super) struct Held<T> {
    inner: T,
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
    flush: Flush,
}

/// Where a flush is.
#[derive(Clone, Copy)]
enum Flush {
    /// Not asked for.
    Idle,
    /// Asked for: this turn is let pass.
    Asked,
}

impl<T: AsyncWrite + Unpin> Held<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, bytes: Vec::new(), written: 0, flush: Flush::Idle }
    }

    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.bytes.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, to)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= MOST {
            ready!(self.drain(context))?;
        }
        let taken = bytes.len().min(MOST.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (self.bytes.is_empty(), self.flush) {
            (true, _) => {}
            (false, Flush::Idle) => {
                self.flush = Flush::Asked;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            (false, Flush::Asked) => ready!(self.drain(context))?,
        }
        self.flush = Flush::Idle;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use corten_cri::socket::Stream;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    #[tokio::test]
    async fn what_is_written_in_one_turn_comes_at_once_and_more_than_is_held_comes_too() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Held::new(Stream::new(one).unwrap()), Stream::new(other).unwrap());
        one.write_all(b"headers, ").await.unwrap();
        one.write_all(b"message").await.unwrap();
        one.flush().await.unwrap();
        let mut space = [0; 100];
        let read = other.read(&mut space).await.unwrap();
        assert_eq!(space.get(..read).unwrap(), b"headers, message");
        let much: Vec<u8> = (0..3_000_000u32).map(|at| at.to_le_bytes()[0]).collect();
        let sent = much.clone();
        tokio::spawn(async move {
            one.write_all(&sent).await.unwrap();
            one.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert!(received == much);
    }
}
