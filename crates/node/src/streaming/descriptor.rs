//! The descriptors of a process's streams, without blocking a thread.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use corten_streaming::remote_command::Size;
use corten_streaming::stream::CHUNK;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;

use crate::monitor::register;

/// A pipe's end, a terminal's master, or a socket.
#[derive(Debug)]
pub struct Descriptor {
    fd: AsyncFd<OwnedFd>,
    buffer: BytesMut,
}

impl Descriptor {
    /// It becomes non-blocking. (A pipe's other end does not: it is another open file.)
    ///
    /// # Errors
    /// What fcntl(2) and epoll(7) say.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd: register(fd)?, buffer: BytesMut::new() })
    }

    /// Reads what there is, at most [`CHUNK`] bytes; none at the end. A terminal that is hung up is at its end. May be
    /// cancelled.
    ///
    /// # Errors
    /// What read(2) says.
    pub async fn read(&mut self) -> io::Result<Bytes> {
        self.take(|fd, buffer| match rustix::io::read(fd, buffer) {
            Err(Errno::IO) => Ok(0),
            other => other,
        })
        .await
    }

    /// Receives a packet of at most [`CHUNK`] bytes from a socket; none when it is closed. May be cancelled.
    ///
    /// # Errors
    /// What recv(2) says.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        self.take(|fd, buffer| recv(fd, buffer, RecvFlags::DONTWAIT).map(|(read, _)| read)).await
    }

    /// What a system call gives, when there is something.
    async fn take(&mut self, call: fn(&OwnedFd, &mut [u8]) -> Result<usize, Errno>) -> io::Result<Bytes> {
        loop {
            let mut ready = self.fd.readable().await?;
            self.buffer.resize(CHUNK, 0);
            match call(self.fd.get_ref(), &mut self.buffer[..]) {
                Ok(read) => return Ok(self.buffer.split_to(read).freeze()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes everything; waits while the other end does not read.
    ///
    /// # Errors
    /// What write(2) says: the other end is closed, say.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.fd.writable().await?;
            match rustix::io::write(self.fd.get_ref(), bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Another descriptor for the same.
    ///
    /// # Errors
    /// What dup(2) and epoll(7) say.
    pub fn duplicate(&self) -> io::Result<Self> {
        Self::new(self.fd.get_ref().try_clone()?)
    }

    /// Tells a terminal its size.
    pub fn resize(&self, size: Size) {
        let size = Winsize { ws_col: size.width, ws_row: size.height, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = tcsetwinsize(self.fd.get_ref(), size) {
            tracing::debug!(%error, "a terminal's size could not be set");
        }
    }
}
