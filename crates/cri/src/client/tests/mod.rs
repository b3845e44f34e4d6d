#![allow(clippy::unwrap_used, clippy::panic)]

mod degradation;
mod negotiation;
mod redial;
mod server;

use std::path::PathBuf;

use tempfile::TempDir;

/// A socket's path, in a directory that goes with the test.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("runtime.sock")
    }

    fn endpoint(&self) -> String {
        format!("unix://{}", self.path().display())
    }
}
