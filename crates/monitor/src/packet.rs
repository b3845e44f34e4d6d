//! Packets with file descriptors over a `SOCK_SEQPACKET` socket (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that come with one packet.
pub const MAX_FDS: usize = 8;

/// A packet received.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes; only the first `max` if it was larger.
    pub bytes: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Whether bytes or descriptors were cut off because there were too many.
    pub truncated: bool,
}

/// Receives one packet of at most `max` bytes; `None` when the other end is closed. An empty packet cannot be told from
/// that, so nobody sends one.
///
/// # Errors
/// `EAGAIN` when the socket is non-blocking and nothing is there; whatever recvmsg(2) says otherwise.
pub fn receive(socket: BorrowedFd<'_>, max: usize) -> Result<Option<Packet>, Errno> {
    let mut bytes = vec![0; max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let message = rustix::io::retry_on_intr(|| recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let fds = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        })
        .collect();
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    bytes.shrink_to_fit();
    let truncated = message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    Ok(Some(Packet { bytes, fds, truncated }))
}

/// Sends one packet. On a seqpacket socket it goes whole or not at all.
///
/// # Errors
/// `EAGAIN` when the socket (or `wait` false) does not let it wait for room, `EPIPE` when the other end is closed.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], wait: bool) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOMANYREFS);
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn descriptors_arrive_with_their_packet() {
        let (a, b) = pair();
        send(a.as_fd(), b"one", &[a.as_fd(), b.as_fd()], true).unwrap();
        send(a.as_fd(), b"two", &[], true).unwrap();
        let one = receive(b.as_fd(), 100).unwrap().unwrap();
        assert_eq!((one.bytes.as_slice(), one.fds.len(), one.truncated), (b"one".as_slice(), 2, false));
        let two = receive(b.as_fd(), 100).unwrap().unwrap();
        assert_eq!((two.bytes.as_slice(), two.fds.len()), (b"two".as_slice(), 0));
    }

    #[test]
    fn too_large_a_packet_says_so() {
        let (a, b) = pair();
        send(a.as_fd(), b"12345", &[], true).unwrap();
        assert!(receive(b.as_fd(), 4).unwrap().unwrap().truncated);
    }

    #[test]
    fn a_closed_socket_is_the_end() {
        let (a, b) = pair();
        drop(a);
        assert!(receive(b.as_fd(), 4).unwrap().is_none());
    }

    #[test]
    fn a_full_socket_does_not_make_the_sender_wait() {
        let (a, _b) = pair();
        let mut sent = 0;
        while send(a.as_fd(), &[1; 1000], &[], false).is_ok() {
            sent += 1;
        }
        assert!(sent > 0);
        assert_eq!(send(a.as_fd(), &[1; 1000], &[], false), Err(Errno::AGAIN));
    }
}
