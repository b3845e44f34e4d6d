//! Calls of our own, whose messages are bytes.

use std::{future::poll_fn, path::Path, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use hyper::body::{Body, Incoming};
use tonic::Status;

use super::{
    body::Sent,
    grpc::{Budget, Decoder, GRPC, GRPC_STATUS, Way, broken, framed, status_of},
    upstream::{Failure, Upstream},
};

/// A client that knows nothing of the messages it sends and gets.
pub struct Client {
    upstream: Upstream,
}

/// What came of a call.
#[derive(Debug)]
pub struct Collected {
    /// The messages, encoded.
    pub responses: Vec<Bytes>,
    /// How it ended.
    pub status: Status,
}

impl Client {
    /// Of the runtime at a socket. It connects when it calls.
    pub fn new(socket: &Path) -> Self {
        Self { upstream: Upstream::new(socket.to_owned()) }
    }

    /// Sends messages to a path (`/runtime.v1.RuntimeService/Version`) and takes what comes until the end.
    pub async fn call(&self, path: &str, requests: &[Bytes]) -> Collected {
        let mut responses = Vec::new();
        let status = match self.send(path, requests).await {
            Ok((headers, _)) if headers.contains_key(GRPC_STATUS) => status_of(&headers),
            Ok((headers, body)) => collect(&headers, body, &mut responses).await.unwrap_or_else(|status| status),
            Err(status) => status,
        };
        Collected { responses, status }
    }

    async fn send(&self, path: &str, requests: &[Bytes]) -> Result<(HeaderMap, Incoming), Status> {
        let body = Sent::Own(Some(requests.iter().flat_map(|message| framed(message)).collect()));
        let refuse = |error: http::Error| Status::invalid_argument(format!("{path:?}: {error}"));
        let mut request = Request::post(format!("http://localhost{path}")).body(body).map_err(refuse)?;
        request.headers_mut().insert(CONTENT_TYPE, GRPC);
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        match self.upstream.send(request).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                Ok((parts.headers, body))
            }
            Err(Failure::Status(status)) => Err(status),
            Err(Failure::Reset(error)) => Err(Status::unknown(error.to_string())),
        }
    }
}

async fn collect(headers: &HeaderMap, mut body: Incoming, responses: &mut Vec<Bytes>) -> Result<Status, Status> {
    let mut decoder = Decoder::new(Way::Response, headers, &Budget::default());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map_err(|_| broken())?.into_data() {
            Ok(data) => {
                decoder.push(&data)?;
                while let Some(message) = decoder.next()? {
                    responses.push(message);
                }
            }
            Err(trailers) => return Ok(status_of(&trailers.into_trailers().unwrap_or_default())),
        }
    }
    Ok(status_of(&HeaderMap::new()))
}
