//! Pongs. The reader asks for them and never waits until they are sent; the writer sends them between messages.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// The pong that is to be sent next. If pings come faster than pongs can be sent, the latest is answered (RFC 6455, 5.5.3).
#[derive(Debug, Default)]
pub(super) struct Pongs {
    next: Mutex<Option<Bytes>>,
    asked: Notify,
}

impl Pongs {
    /// Answers a ping.
    pub(super) fn answer(&self, payload: Bytes) {
        *self.lock() = Some(payload);
        self.asked.notify_one();
    }

    /// Says that this end is alive.
    pub(super) fn unasked(&self) {
        self.lock().get_or_insert_default();
        self.asked.notify_one();
    }

    /// Resolves when there may be a pong to be sent. May be cancelled.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn take(&self) -> Option<Bytes> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
