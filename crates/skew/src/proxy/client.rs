//! Calls of our own, whose messages are bytes.

use std::{future::poll_fn, path::Path, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header::CONTENT_TYPE};
use http_body::Body;
use tonic::Status;

use super::{
    body::Sent,
    grpc::{Budget, Decoder, GRPC, GRPC_STATUS, Way, broken, framed, status_of},
    incoming::Incoming,
    upstream::{Failure, Upstream},
};

/// How many bytes one call may answer unless something else is said.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What a message counts beside its bytes.
const OVERHEAD: usize = 64;

/// A client that knows nothing of the messages it sends and gets.
pub struct Client {
    upstream: Upstream,
    /// How many bytes one call may answer, in all its messages.
    most: usize,
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
        Self { upstream: Upstream::new(socket.to_owned()), most: MAX_ANSWER }
    }

    /// The same, where one call may answer no more than `most` bytes in all its messages.
    pub fn taking(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Sends messages to a path (`/runtime.v1.RuntimeService/Version`) and takes what comes until the end, or until it is
    /// too much: then the status is `ResourceExhausted`.
    pub async fn call(&self, path: &str, requests: &[Bytes]) -> Collected {
        let mut responses = Vec::new();
        let status = match self.send(path, requests).await {
            Ok((headers, _)) if headers.contains_key(GRPC_STATUS) => status_of(&headers),
            Ok((headers, body)) => {
                collect(&headers, body, self.most, &mut responses).await.unwrap_or_else(|status| status)
            }
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

async fn collect(
    headers: &HeaderMap,
    mut body: Incoming,
    most: usize,
    responses: &mut Vec<Bytes>,
) -> Result<Status, Status> {
    let mut decoder = Decoder::new(Way::Response, headers, &Budget::default());
    let mut room = most;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map_err(|_| broken())?.into_data() {
            Ok(data) => {
                decoder.push(&data)?;
                while let Some(message) = decoder.next()? {
                    let too_much = || Status::resource_exhausted(format!("an answer of more than {most} bytes"));
                    room = room.checked_sub(message.len().saturating_add(OVERHEAD)).ok_or_else(too_much)?;
                    responses.push(message);
                }
            }
            Err(trailers) => return Ok(status_of(&trailers.into_trailers().unwrap_or_default())),
        }
    }
    Ok(status_of(&HeaderMap::new()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tonic::Code;

    use super::*;
    use crate::proxy::tests::{World, echo};

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let world = World::new(Vec::new(), echo);
        let most = 64 * 1024;
        let messages = vec![Bytes::from(vec![0; most / 8]); 9];
        let got = world.client().taking(most).call("/runtime.v1.RuntimeService/Version", &messages).await;
        assert_eq!((got.responses.len(), got.status.code()), (7, Code::ResourceExhausted));
    }
}
