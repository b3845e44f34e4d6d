//! Making files durable, once for all who wait.

use std::{
    fs::File,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, error::blocking};

/// Layers that are finished at the same time share one syncfs.
#[derive(Default)]
pub(super) struct Syncer {
    asked: AtomicU64,
    done: tokio::sync::Mutex<u64>,
}

impl Syncer {
    /// Returns when everything written before the call is on disk, on the file system of `path`.
    pub async fn sync(&self, path: PathBuf) -> Result<(), Error> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= ticket {
            return Ok(());
        }
        let covered = self.asked.load(Ordering::SeqCst);
        blocking("sync the file system", move || {
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            rustix::fs::syncfs(&file).map_err(Error::io("sync the file system of", &path))
        })
        .await?;
        *done = covered;
        Ok(())
    }
}
