//! One call whose messages are bytes.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use tonic::Status;

use crate::proxy::{Client, Collected};

/// A client of a runtime.
pub(super) struct Caller {
    client: Client,
    limit: Duration,
}

impl Caller {
    pub(super) fn new(socket: &Path, limit: Duration) -> Self {
        Self { client: Client::new(socket), limit }
    }

    /// Sends messages and takes what comes until the end.
    pub(super) async fn call(&self, path: &str, requests: Vec<Bytes>) -> Collected {
        let limited = timeout(self.limit, self.client.call(path, &requests)).await;
        limited.unwrap_or_else(|_| Collected {
            responses: Vec::new(),
            status: Status::deadline_exceeded(format!("no end within {:?}", self.limit)),
        })
    }
}
