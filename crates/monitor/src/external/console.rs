//! A container's terminal as an OCI runtime hands it over: the master comes over a unix socket.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::launch::node;
use crate::protocol::CallError;

/// The socket that a runtime connects to.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
    real: PathBuf,
    /// Keeps `path` short and valid: a socket's path has 107 bytes at most.
    _directory: OwnedFd,
}

impl Console {
    /// Makes it in a directory.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn listen(directory: &Path) -> Result<Self, CallError> {
        let real = directory.join("console.sock");
        let failed = |error: std::io::Error| node("terminal", format!("{}: {error}", real.display()));
        let opened = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let directory = opened.map_err(|error| failed(error.into()))?;
        let pid = std::process::id();
        let path = PathBuf::from(format!("/proc/{pid}/fd/{}/console.sock", directory.as_raw_fd()));
        let listener = UnixListener::bind(&path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, path, real: real.clone(), _directory: directory })
    }

    /// Where it is, for the runtime.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master, which the runtime has sent before it ended.
    ///
    /// # Errors
    /// If it has not, or the socket fails.
    pub fn receive(self) -> Result<OwnedFd, CallError> {
        let failed = |error: String| node("terminal", format!("the runtime sent no terminal: {error}"));
        let (connection, _) = self.listener.accept().map_err(|error| failed(error.to_string()))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 256];
        let mut buffers = [std::io::IoSliceMut::new(&mut name)];
        recvmsg(&connection, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(|e| failed(e.to_string()))?;
        let master = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        master.ok_or_else(|| failed("a message without one came".to_owned()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.real);
    }
}
