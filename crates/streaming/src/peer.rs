//! Whether the client at the other end of a socket is still there, found out without reading.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(500);

/// The other end of a socket. A connection that is not being read, because what came has not been taken yet, would not
/// notice otherwise that it is closed.
#[derive(Debug)]
pub struct Peer(OwnedFd);

impl Peer {
    /// The other end of this socket, which gets one descriptor more for the lifetime of this value.
    ///
    /// # Errors
    /// What dup(2) says.
    pub fn of(socket: impl AsFd) -> std::io::Result<Self> {
        socket.as_fd().try_clone_to_owned().map(Self)
    }

    /// Whether it has closed its end.
    pub fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut polled, Some(&now)), Ok(1..))
    }

    /// Resolves when it has, but not at once: while what it sent before is being taken, there is no hurry.
    pub async fn gone(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if self.is_gone() {
                return;
            }
        }
    }
}

/// Resolves when the other end, if it can be watched, is gone.
pub(crate) async fn gone(peer: Option<&Peer>) {
    match peer {
        Some(peer) => peer.gone().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn a_client_that_closes_is_noticed_behind_what_it_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let peer = Peer::of(&server).unwrap();
        client.write_all(b"unread").await.unwrap();
        assert!(!peer.is_gone());
        drop(client);
        peer.gone().await;
    }
}
