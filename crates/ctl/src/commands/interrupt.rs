//! Ctrl-C and SIGTERM, noticed between steps: a request under way is not abandoned, because what it makes could then
//! not be removed.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::error::Error;

/// Whether somebody wants us to stop.
pub(super) struct Interrupt {
    wanted: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::Condition`] when the signals cannot be listened to.
    pub(super) fn listen() -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::condition("listen to signals", error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, wanted) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let _ = sender.send(true);
            // Kept open: a closed channel would look like a signal that never came.
            sender.closed().await;
        });
        Ok(Self { wanted })
    }

    /// Returns when somebody wants us to stop.
    pub(super) async fn wanted(&self) {
        // The sender outlives every receiver, so that this cannot fail.
        let _ = self.wanted.clone().wait_for(|wanted| *wanted).await;
    }

    /// # Errors
    /// [`Error::Condition`] when somebody wants us to stop.
    pub(super) fn check(&self) -> Result<(), Error> {
        if *self.wanted.borrow() { Err(interrupted()) } else { Ok(()) }
    }

    /// Does something that may be abandoned.
    ///
    /// # Errors
    /// Those of `work`, and as [`Interrupt::check`].
    pub(super) async fn unless<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            () = self.wanted() => Err(interrupted()),
        }
    }
}

fn interrupted() -> Error {
    Error::condition("run", "interrupted")
}
