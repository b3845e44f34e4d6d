//! A connection of the daemon's.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::packet;

/// The most packets and bytes that wait for a client which does not read; beyond them it is dropped.
const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// One connection: what is sent to it never makes the monitor wait.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The other end is closed, or the socket fails.
    #[error("connection: {0}")]
    Socket(#[from] Errno),
    /// It does not read what it is told.
    #[error("the client does not read: {0} packets wait")]
    Slow(usize),
}

impl Connection {
    /// Over this socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Its socket, to watch.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether packets wait for the socket to be writable.
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a packet, now or when there is room.
    ///
    /// # Errors
    /// The connection is to be dropped.
    pub fn send(&mut self, bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Result<(), Lost> {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(Waiting { bytes, fds });
        self.flush()?;
        if self.waiting.len() > MAX_WAITING || self.waiting_bytes > MAX_WAITING_BYTES {
            return Err(Lost::Slow(self.waiting.len()));
        }
        Ok(())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// The connection is to be dropped.
    pub fn flush(&mut self) -> Result<(), Lost> {
        while let Some(next) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = next.fds.iter().map(AsFd::as_fd).collect();
            match packet::send(self.socket.as_fd(), &next.bytes, &fds, false) {
                Ok(()) => {
                    self.waiting_bytes -= next.bytes.len();
                    self.waiting.pop_front();
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.waiting = VecDeque::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (Connection, OwnedFd) {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Connection::new(a), b)
    }

    #[test]
    fn a_client_that_does_not_read_is_dropped() {
        let (mut connection, _other) = pair();
        let sent = (0..100_000).take_while(|_| connection.send(vec![1; 2000], Vec::new()).is_ok()).count();
        assert!(sent < 2000, "{sent} packets were kept");
    }

    #[test]
    fn a_client_that_reads_late_gets_everything_in_order() {
        let (mut connection, other) = pair();
        let mut sent = 0u32;
        while !connection.is_behind() || !sent.is_multiple_of(50) {
            connection.send(sent.to_le_bytes().to_vec(), Vec::new()).unwrap();
            sent += 1;
        }
        for expected in 0..sent {
            connection.flush().unwrap();
            let packet = packet::receive(other.as_fd(), 10).unwrap().unwrap();
            assert_eq!(packet.bytes, expected.to_le_bytes());
        }
        assert!(!connection.is_behind());
    }
}
