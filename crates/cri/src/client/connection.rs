//! A connection that outlives the runtime it leads to.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tokio::{sync::Mutex, time::Instant};
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    Handshake,
    backoff::Backoff,
    dial,
    link::{Calling, Failed, Link},
    timeout,
};
use crate::ApiVersion;

/// How often a request that never left is sent over a new link.
const RESENDS: usize = 3;

/// A connection to a runtime, in one version of the interface. Its clones share it.
///
/// The generated clients of `runtime.v1` work over it whatever the version: the messages are the same, the paths are
/// rewritten. When the runtime goes away calls fail with `Unavailable`; the next call dials again, not sooner than the
/// back-off allows. If the runtime that came back does not serve the version chosen first, calls fail with
/// `FailedPrecondition`, saying that the client must be restarted.
///
/// A request's `grpc-timeout` bounds the call, dialing included: it ends with `DeadlineExceeded`.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    version: ApiVersion,
    handshake: Handshake,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    link: Option<Link>,
    backoff: Backoff,
    /// Until when nothing is dialed, and what calls are told meanwhile.
    pause: Option<(Instant, Status)>,
}

impl Connection {
    pub(super) fn new(path: PathBuf, version: ApiVersion, handshake: Handshake, link: Link) -> Self {
        let state = State { link: Some(link), backoff: Backoff::default(), pause: None };
        Self { shared: Arc::new(Shared { path, version, handshake, state: Mutex::new(state) }) }
    }

    /// The version chosen when the connection was made.
    pub fn version(&self) -> ApiVersion {
        self.shared.version
    }

    /// The runtime's socket.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl Shared {
    /// The link to use now: callers wait for one that is being dialed.
    async fn link(&self) -> Result<Link, Status> {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        state.link = None;
        if let Some((until, status)) = &state.pause
            && Instant::now() < *until
        {
            return Err(status.clone());
        }
        match dial::again(&self.path, self.version, self.handshake).await {
            Ok(link) => {
                state.backoff.worked();
                state.pause = None;
                state.link = Some(link.clone());
                Ok(link)
            }
            Err(error) => {
                let status = error.status();
                state.pause = Some((Instant::now() + state.backoff.failed(), status.clone()));
                Err(status)
            }
        }
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        for _ in 0..=RESENDS {
            match self.link().await?.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(Failed::Sent(status)) => return Err(status),
                Err(Failed::Unsent(unsent)) => request = *unsent,
            }
        }
        Err(Status::unavailable(format!("connect to {}: connections end as soon as made", self.path.display())))
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Calling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Calling {
        let shared = self.shared.clone();
        Box::pin(async move {
            let Some(limit) = timeout::of(request.headers()) else {
                return shared.send(request).await;
            };
            tokio::time::timeout(limit, shared.send(request))
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))))
        })
    }
}
