//! How slow a host may be: throughput, never a fixed total time.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::retry::Again;
use crate::{
    Downloads,
    registry::answer::{Trouble, describe},
};

/// Watches over one connection of a download. Only the time in which the network is waited for counts: a disk may be as
/// slow as it likes.
pub(in crate::registry) struct Pace {
    /// The bytes of all connections of the download: one of them may rest while the others do not.
    received: Arc<AtomicU64>,
    /// So many bytes in so much time are enough.
    enough: u64,
    time: Duration,
    /// What had been received when the measurement began, and how long it takes.
    begin: u64,
    waited: Duration,
}

impl Pace {
    pub fn new(settings: &Downloads, received: Arc<AtomicU64>) -> Self {
        let seconds = settings.stall_seconds.max(1);
        let enough = settings.stall_bytes_per_second.max(1).saturating_mul(seconds);
        let begin = received.load(Ordering::Relaxed);
        Self { received, enough, time: Duration::from_secs(seconds), begin, waited: Duration::ZERO }
    }

    /// Measures anew, for a new connection.
    pub fn restart(&mut self) {
        self.begin = self.received.load(Ordering::Relaxed);
        self.waited = Duration::ZERO;
    }

    /// The next bytes of a body, nothing at its end; and how long that took.
    pub async fn chunk(&mut self, response: &mut Response) -> (Result<Option<Bytes>, Trouble>, Duration) {
        let start = Instant::now();
        let chunk = self.wait(response.chunk()).await;
        let chunk = chunk.and_then(|chunk| chunk.map_err(|error| Trouble::Unavailable(describe(&error), Again::Soon)));
        if let Ok(Some(chunk)) = &chunk {
            self.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        (chunk, start.elapsed())
    }

    async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Trouble> {
        let mut work = pin!(work);
        loop {
            let start = Instant::now();
            let result = timeout(self.time.saturating_sub(self.waited), &mut work).await;
            self.waited += start.elapsed();
            let fast = self.received.load(Ordering::Relaxed).saturating_sub(self.begin) >= self.enough;
            if fast {
                self.restart();
            }
            match result {
                Ok(result) => return Ok(result),
                Err(_) if fast => {}
                Err(_) => return Err(self.stalled()),
            }
        }
    }

    fn stalled(&self) -> Trouble {
        let (enough, seconds) = (self.enough, self.time.as_secs());
        Trouble::Unavailable(format!("stalled: fewer than {enough} bytes in {seconds} seconds"), Again::Soon)
    }
}
