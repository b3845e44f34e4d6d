//! What clients may come for: each request once, for a short time, under a token that cannot be guessed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corten_streaming::remote_command::Wanted;
use tokio::time::Instant;

use crate::container::Container;
use crate::error::{Error, Result};
use crate::id;
use crate::operation::lock;
use crate::pod::Pod;

/// How long a client may take to come.
const VALID: Duration = Duration::from_secs(60);

/// The most requests that wait for their client.
const MAX_WAITING: usize = 1000;

/// What a client may come for.
pub enum Request {
    /// A process in a container.
    Exec {
        /// The container.
        container: Arc<Container>,
        /// The command.
        command: Vec<String>,
        /// What the client wants to be connected to.
        wanted: Wanted,
    },
    /// A container's own streams.
    Attach {
        /// The container.
        container: Arc<Container>,
        /// What the client wants to be connected to.
        wanted: Wanted,
    },
    /// Ports of a pod.
    PortForward {
        /// The pod.
        pod: Arc<Pod>,
        /// The ports that the client named beforehand.
        ports: Vec<u16>,
    },
}

impl Request {
    /// The first part of its path.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exec { .. } => "exec",
            Self::Attach { .. } => "attach",
            Self::PortForward { .. } => "portforward",
        }
    }
}

/// Requests that wait for their client.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<String, (Instant, Request)>>);

impl Tokens {
    /// A token for a request: 256 random bits.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if too many wait.
    pub fn issue(&self, request: Request) -> Result<String> {
        let token = id::generate()?;
        let now = Instant::now();
        let mut waiting = lock(&self.0);
        waiting.retain(|_, (until, _)| *until > now);
        if waiting.len() >= MAX_WAITING {
            return Err(Error::Exhausted(format!(
                "{MAX_WAITING} requests for streams wait for their clients: try again later"
            )));
        }
        waiting.insert(token.clone(), (now + VALID, request));
        Ok(token)
    }

    /// The request of a token, once; `None` if there is none, or it is of another kind, or its time is over.
    pub fn take(&self, kind: &str, token: &str) -> Option<Request> {
        let mut waiting = lock(&self.0);
        let (until, request) = waiting.get(token)?;
        if *until <= Instant::now() {
            waiting.remove(token);
            return None;
        }
        if request.kind() != kind {
            return None;
        }
        waiting.remove(token).map(|(_, request)| request)
    }
}
