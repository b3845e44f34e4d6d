//! The proxy's own socket.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use corten_cri::socket::{self, ListenError, Stream};

/// A socket that is listened on, and removed when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    socket: socket::Listener,
    path: PathBuf,
}

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ListenError> {
        Ok(Self { socket: socket::Listener::bind(path)?, path: path.to_owned() })
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        self.socket.accept().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
