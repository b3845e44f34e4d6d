//! A connection.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A connected unix socket.
///
/// Nothing tells it that the other side has read what was written, unless it waits for room: tokio's own is woken by
/// each read of its peer, and a call takes little but the kernel's switching between processes.
#[derive(Debug)]
pub struct Stream {
    socket: AsyncFd<UnixStream>,
    /// Waited on while there is no room.
    room: Option<AsyncFd<UnixStream>>,
}

impl Stream {
    /// Connects.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(tokio::net::UnixStream::connect(path).await?)
    }

    /// Takes over a connection. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel's: it is out of memory for epoll.
    pub fn new(socket: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { socket: register(socket.into_std()?, Interest::READABLE)?, room: None })
    }

    /// Writes at once, or waits for room.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        send: impl Fn(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match send(&mut self.socket.get_ref()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let room = match self.room.take() {
                        Some(room) => room,
                        None => register(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?,
                    };
                    ready!(self.room.insert(room).poll_write_ready(context))?.clear_ready();
                }
                sent => {
                    self.room = None;
                    return Poll::Ready(sent);
                }
            }
        }
    }
}

/// For the reactor. The constructor is deprecated because a descriptor's owner might close it early or give out another;
/// a [`UnixStream`] does neither, so it is sound here, and the one that replaces it is `unsafe`, which this crate is not.
#[expect(deprecated)]
fn register(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let space = to.initialize_unfilled();
            let whole = space.len();
            match ready.try_io(|socket| socket.get_ref().read(space)) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(read) => {
                    let read = read?;
                    // There is no more: to be told so by the kernel costs a system call.
                    if 0 < read && read < whole {
                        ready.clear_ready();
                    }
                    to.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(_nothing_to_read) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(context, |socket| socket.write(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, |socket| socket.write_vectored(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Stream, Stream) {
        let (one, other) = tokio::net::UnixStream::pair().unwrap();
        (Stream::new(one).unwrap(), Stream::new(other).unwrap())
    }

    #[tokio::test]
    async fn an_end_is_read_after_all_that_came_before_it() {
        let (mut one, mut other) = pair();
        one.write_all(b"last words").await.unwrap();
        one.shutdown().await.unwrap();
        let mut read = String::new();
        other.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last words");
        drop(other);
        assert_eq!(one.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_of_an_end_too() {
        let (mut one, other) = pair();
        let writing = tokio::spawn(async move { one.write_all(&vec![0; 16 << 20]).await });
        tokio::task::yield_now().await;
        drop(other);
        assert!(writing.await.unwrap().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// Far more than the socket holds, in pieces of any sizes, written and read in turns of the scheduler's choice.
        #[test]
        fn what_is_written_is_read(pieces in prop::collection::vec(1usize..400_000, 1..12), buffer in 1usize..300_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sent: Vec<u8> = (0..pieces.iter().sum()).map(|at: usize| (at % 251) as u8).collect();
            let whole = sent.clone();
            let received = runtime.block_on(async move {
                let (mut one, mut other) = pair();
                tokio::spawn(async move {
                    let mut at = 0;
                    for piece in pieces {
                        one.write_all(&whole[at..at + piece]).await.unwrap();
                        at += piece;
                    }
                });
                let (mut received, mut space) = (Vec::new(), vec![0; buffer]);
                loop {
                    match other.read(&mut space).await.unwrap() {
                        0 => break received,
                        read => received.extend_from_slice(&space[..read]),
                    }
                }
            });
            prop_assert!(received == sent);
        }
    }
}
