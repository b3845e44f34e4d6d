//! The proxy's own socket.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Why the socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody does already.
    #[error("something else serves on {}", .0.display())]
    Taken(PathBuf),
    /// There is something else at the path.
    #[error("{path} is there and no socket", path = .0.display())]
    NoSocket(PathBuf),
    /// The kernel refused.
    #[error("{operation} {path}: {source}", path = path.display())]
    Socket {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A socket that is listened on, and removed when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens for root and its group alone; a stale socket is replaced.
    pub(super) fn bind(path: &Path) -> Result<Self, Error> {
        let failed = |operation| move |source| Error::Socket { operation, path: path.to_owned(), source };
        if UnixStream::connect(path).is_ok() {
            return Err(Error::Taken(path.to_owned()));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(Error::NoSocket(path.to_owned()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let socket = UnixListener::bind(path).map_err(failed("listen on"))?;
        let listener = Self { socket, path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed("set the mode of"))?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
