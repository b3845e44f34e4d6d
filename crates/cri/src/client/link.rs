//! One HTTP/2 connection to a runtime, as a service that speaks one version of the interface.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Request, Response, Uri,
    header::USER_AGENT,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::BodyExt;
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::{Status, body::Body};
use tower::Service;

use super::Error;
use crate::{ApiVersion, socket::Stream};

/// The socket's `:authority`, for which there is nothing better than grpc-go's choice.
const AUTHORITY: &str = "localhost";

const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));

/// Where a server puts more about a status.
const DETAILS: &str = "grpc-status-details-bin";

/// A call's future.
pub(super) type Calling = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

/// One HTTP/2 connection. It is not dialed again.
#[derive(Debug, Clone)]
pub(super) struct Link {
    sender: SendRequest<Body>,
    version: ApiVersion,
    path: PathBuf,
}

/// What a call that got no answer leaves.
pub(super) enum Failed {
    /// The request never left: it can be sent over another link.
    Unsent(Box<Request<Body>>),
    /// It may have been acted upon.
    Sent(Status),
}

impl Link {
    /// Starts HTTP/2 on a socket. The link ends when all its clones are gone.
    pub(super) async fn new(stream: Stream, path: &Path, version: ApiVersion) -> Result<Self, Error> {
        let failed = |source| Error::Http { path: path.to_owned(), source };
        let handshake = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(failed)?;
        // How it ends is told to each call.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, version, path: path.to_owned() })
    }

    /// The same link for another version.
    pub(super) fn with_version(&self, version: ApiVersion) -> Self {
        Self { version, ..self.clone() }
    }

    /// Whether no call can be made any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Body>, Failed> {
        if let Err(status) = address(&mut request, self.version) {
            return Err(Failed::Sent(status));
        }
        match self.sender.try_send_request(request).await {
            Ok(answer) => Ok(plain(answer)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failed::Unsent(Box::new(request)),
                None => Failed::Sent(self.lost(error.into_error())),
            }),
        }
    }

    /// A connection that broke, as gRPC says it. A stream that was reset has a code of its own.
    fn lost(&self, error: hyper::Error) -> Status {
        let status = Status::from_error(Box::new(error));
        if status.code() == tonic::Code::Unknown { self.gone(status.message()) } else { status }
    }

    fn gone(&self, why: &str) -> Status {
        Status::unavailable(format!("the connection to {} was lost: {why}", self.path.display()))
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Calling;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Calling {
        let mut link = self.clone();
        Box::pin(async move {
            link.send(request).await.map_err(|failed| match failed {
                Failed::Unsent(_) => link.gone("it was closed"),
                Failed::Sent(status) => status,
            })
        })
    }
}

/// An answer without the details of its status, for which nobody asks, and which tonic cannot read if they are wrong.
fn plain(answer: Response<Incoming>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    head.headers.remove(DETAILS);
    let body = body.map_frame(|frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            trailers.remove(DETAILS);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    });
    Response::from_parts(head, Body::new(body))
}

/// The path of a request in a version; the paths of other packages stay.
fn path(request: &Request<Body>, version: ApiVersion) -> String {
    match ApiVersion::split(request.uri().path()) {
        Some((ApiVersion::V1, method)) => version.path(method),
        _ => request.uri().path().to_owned(),
    }
}

/// Completes a request's address, which the generated clients give without host, for v1. May be done again.
fn address(request: &mut Request<Body>, version: ApiVersion) -> Result<(), Status> {
    let malformed = |error: &dyn std::fmt::Display| Status::internal(format!("a request's address: {error}"));
    let path: PathAndQuery = path(request, version).parse().map_err(|error| malformed(&error))?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static(AUTHORITY));
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| malformed(&error))?;
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    Ok(())
}
