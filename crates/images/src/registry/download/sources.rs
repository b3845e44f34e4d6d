//! Where a blob is, for all connections that fetch it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::Again;
use crate::{
    Downloads, Error,
    manifest::Content,
    registry::{answer::Trouble, endpoint::Endpoint, error},
};

/// The hosts that may have a blob, in the order in which to ask them. All connections ask the same one.
pub(in crate::registry) struct Sources {
    pub content: Content,
    pub settings: Arc<Downloads>,
    /// What came over all connections, also what was thrown away.
    pub received: Arc<AtomicU64>,
    reference: String,
    endpoints: Vec<Arc<Endpoint>>,
    current: AtomicUsize,
    /// Who failed last, and why.
    last: Mutex<Option<(String, Trouble)>>,
}

impl Sources {
    pub fn new(reference: String, content: Content, endpoints: Vec<Arc<Endpoint>>, settings: Arc<Downloads>) -> Self {
        let (received, current, last) = (Arc::default(), AtomicUsize::new(0), Mutex::new(None));
        Self { content, settings, received, reference, endpoints, current, last }
    }

    /// The host to ask, with its place in the order.
    pub fn current(&self) -> Option<(usize, Arc<Endpoint>)> {
        let place = self.current.load(Ordering::Relaxed);
        Some((place, self.endpoints.get(place)?.clone()))
    }

    /// The host in this place failed for good, so the next one is asked, unless another connection saw it first.
    pub fn leave(&self, place: usize, trouble: Trouble) {
        let Some(endpoint) = self.endpoints.get(place) else { return };
        tracing::debug!(host = endpoint.host(), ?trouble, "host failed");
        let _ = self.current.compare_exchange(place, place + 1, Ordering::Relaxed, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((endpoint.host().to_owned(), trouble));
    }

    /// Why nobody is left to ask.
    pub fn error(&self) -> Error {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (host, trouble) = last.unwrap_or_else(|| {
            let why = "the download ended early".to_owned();
            (self.host(), Trouble::Unavailable(why, Again::Never))
        });
        error(&self.reference, &host, trouble)
    }

    /// An error of the content from the host that is asked now.
    pub fn wrong(&self, why: String) -> Error {
        error(&self.reference, &self.host(), Trouble::Broken(why))
    }

    fn host(&self) -> String {
        self.current().map_or_else(|| "no host".to_owned(), |(_, endpoint)| endpoint.host().to_owned())
    }
}
