//! A server's socket.

use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{self, UnixStream},
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use super::Stream;

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody does already.
    #[error("something else serves on {}", .0.display())]
    Taken(PathBuf),
    /// There is something else at the path.
    #[error("{} is there and no socket", .0.display())]
    NoSocket(PathBuf),
    /// The kernel refused.
    #[error("{operation} {path}: {source}", path = path.display())]
    Kernel {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A socket that is listened on. Its name stays when it is dropped.
#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    /// Listens for root and its group alone; a stale socket is replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`]; what is at the path stays.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |operation| move |source| ListenError::Kernel { operation, path: path.to_owned(), source };
        if UnixStream::connect(path).is_ok() {
            return Err(ListenError::Taken(path.to_owned()));
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove")(error)),
            _ => {}
        }
        let socket = UnixListener::bind(path).map_err(failed("listen on"))?;
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed("set the mode of"))?;
        Ok(Self(socket))
    }

    /// Serves on a socket that somebody else listens on for us. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn inherited(socket: net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixListener::from_std(socket).map(Self)
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel's: out of descriptors, say.
    pub async fn accept(&self) -> io::Result<Stream> {
        let (stream, _) = self.0.accept().await?;
        Stream::new(stream)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        drop(Listener::bind(&path).unwrap());
        let listener = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::Taken(_))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let mut client = Stream::connect(&path).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        // The first connection is the second listener's look whether somebody serves.
        drop(listener.accept().await.unwrap());
        let mut said = [0; 5];
        listener.accept().await.unwrap().read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
        let Err(error) = Listener::bind(Path::new("/nowhere/at/all")) else { panic!() };
        assert!(error.to_string().starts_with("listen on /nowhere/at/all: No such file"), "{error}");
    }
}
