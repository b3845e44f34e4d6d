//! A monitor's socket, in its pod's state directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, socketpair, sockopt,
};

use crate::error::{Error, Result};

/// Connects to the monitor of the pod with this state directory; `None` if there is no socket, or nobody behind it.
pub(super) fn find(directory: &Path) -> Result<Option<OwnedFd>> {
    let address = address(directory)?;
    let socket = seqpacket()?;
    match connect(&socket, &address.name) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(Error::node("connect to the monitor", error)),
    }
}

/// A socket's address that is short whatever the directory's path: below an open descriptor of it.
struct Address {
    name: SocketAddrUnix,
    _directory: OwnedFd,
}

fn address(directory: &Path) -> Result<Address> {
    let failed = |error: Errno| Error::node(format!("monitor socket in {}", directory.display()), error);
    let fd = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let path = format!("/proc/self/fd/{}/monitor.sock", fd.as_raw_fd());
    Ok(Address { name: SocketAddrUnix::new(path).map_err(failed)?, _directory: fd })
}

/// Listens on a monitor's socket, for the monitor.
pub(super) fn listener(directory: &Path) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::node(format!("monitor socket in {}", directory.display()), error);
    let address = address(directory)?;
    let socket = seqpacket()?;
    bind(&socket, &address.name).map_err(failed)?;
    listen(&socket, 16).map_err(failed)?;
    Ok(socket)
}

fn seqpacket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(|error| Error::node("socket", error))
}

/// A monitor's first connection, and our end of it.
pub(super) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| Error::node("socketpair", error))
}

/// A socket pair for packets from its second end to its first. At most `buffer` bytes wait in it, or as many as the kernel
/// lets us have.
pub(super) fn stream_of_packets(buffer: usize) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socket_pair()?;
    if sockopt::set_socket_send_buffer_size_force(&theirs, buffer).is_err() {
        // Without CAP_NET_ADMIN it is at most net.core.wmem_max.
        sockopt::set_socket_send_buffer_size(&theirs, buffer).map_err(|error| Error::node("SO_SNDBUF", error))?;
    }
    Ok((ours, theirs))
}
