//! Packets with descriptors over a monitor's socket, without blocking a thread.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use corten_monitor::protocol::MAX_PACKET;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::unix::AsyncFd;

/// The most descriptors in a packet.
const MAX_DESCRIPTORS: usize = 8;

/// Sends one packet.
pub async fn send(socket: &AsyncFd<OwnedFd>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    loop {
        let mut ready = socket.writable().await?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOBIG.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket.get_ref(), &[IoSlice::new(packet)], &mut ancillary, flags) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            result => return result.map(drop).map_err(Into::into),
        }
    }
}

/// Receives one packet into `buffer`; `None` when the other end is closed.
pub async fn receive(socket: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> std::io::Result<Option<Vec<OwnedFd>>> {
    buffer.resize(MAX_PACKET, 0);
    loop {
        let mut ready = socket.readable().await?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match recvmsg(socket.get_ref(), &mut [IoSliceMut::new(buffer)], &mut ancillary, flags) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(message) => {
                buffer.truncate(message.bytes);
                let fds = ancillary.drain().filter_map(|part| match part {
                    RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                    _ => None,
                });
                return Ok(Some(fds.flatten().collect()));
            }
        }
    }
}
