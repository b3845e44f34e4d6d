//! The socket that a service manager listens on for a service: sd_listen_fds(3).

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The number of the first descriptor passed.
const FIRST: i32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The one unix socket that this process was started to serve on; `None` if it was started otherwise, or it was taken before.
///
/// # Errors
/// If there are several, or it is no unix socket that is listened on.
pub fn listener() -> io::Result<Option<UnixListener>> {
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(_) => return Err(io::Error::other("LISTEN_FDS: there are sockets beside that of the CRI")),
    }
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(None);
    }
    // SAFETY: whoever names this process in LISTEN_PID has left it the descriptor, which nothing else here owns: it is taken once.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    let is_unix = sockopt::socket_domain(&socket)? == AddressFamily::UNIX;
    if !is_unix || sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::other("LISTEN_FDS: not a unix socket that is listened on"));
    }
    Ok(Some(UnixListener::from(socket)))
}
