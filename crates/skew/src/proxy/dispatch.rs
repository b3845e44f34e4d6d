//! Each call's way: to which runtime, as bytes or through stages.

use std::{mem, sync::Arc};

use bytes::Bytes;
use corten_cri::{ApiVersion, unimplemented::malformed};
use http::{
    HeaderMap, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    uri::PathAndQuery,
};
use tokio::sync::oneshot;
use tonic::Status;

use super::{
    body::{Answered, Error, Sent},
    call::{Call, Callee, is_image_service},
    grpc::{Budget, Decoder, GRPC, GRPC_STATUS, Way, is_grpc, status_of, trailers},
    incoming::Incoming,
    relay::{Chain, Early, Head, Requests, Responses},
    stage::{Answer, Begin, Exchange, Next, Stage},
    upstream::{Failure, Upstream},
};

/// What all calls of a proxy share.
pub(super) struct Dispatch {
    pub(super) runtime: Upstream,
    pub(super) images: Option<Upstream>,
    pub(super) stages: Vec<Box<dyn Stage>>,
    /// Whether a version of the API that the runtime lacks is translated to the one it has.
    pub(super) translate: bool,
    pub(super) budget: Budget,
}

/// A call that is to be taken apart.
struct Followed {
    exchanges: Vec<Box<dyn Exchange>>,
    /// What it ends with when the stages nearer to the client have seen its first message.
    refusal: Option<Answer>,
}

impl Dispatch {
    /// Answers a call.
    ///
    /// # Errors
    /// When one side reset it: the other side's stream is reset too.
    pub(super) async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answered>, Error> {
        if self.stages.is_empty() || !is_grpc(request.headers()) {
            return self.plain(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let Some(mut call) = Call::parse(parts.uri.path(), mem::take(&mut parts.headers)) else {
            return Ok(only(trailers(&malformed(parts.uri.path()))));
        };
        let followed = self.begin(&mut call).await;
        let path = call.path();
        if path != parts.uri.path() {
            parts.uri = Uri::try_from(path)?;
        }
        parts.headers = call.metadata;
        match followed {
            Followed { exchanges, refusal: None } if exchanges.is_empty() => {
                self.plain(Request::from_parts(parts, body)).await
            }
            Followed { exchanges, refusal: Some(answer) } if exchanges.is_empty() => {
                respond(Responses::early(Chain::new(exchanges), Early { answer, to_client: 0 })).await
            }
            followed => self.staged(Request::from_parts(parts, body), followed).await,
        }
    }

    fn upstream(&self, path: &str) -> &Upstream {
        match &self.images {
            Some(images) if is_image_service(path) => images,
            _ => &self.runtime,
        }
    }

    async fn plain(&self, request: Request<Incoming>) -> Result<Response<Answered>, Error> {
        let upstream = self.upstream(request.uri().path());
        match upstream.send(absolute(request.map(Sent::Plain))).await {
            Ok(response) => Ok(response.map(Answered::Plain)),
            Err(Failure::Status(status)) => Ok(only(trailers(&status))),
            Err(Failure::Reset(error)) => Err(error),
        }
    }

    async fn begin(&self, call: &mut Call) -> Followed {
        let mut followed = Followed { exchanges: Vec::new(), refusal: None };
        for stage in &self.stages {
            match stage.begin(call) {
                Begin::Pass => {}
                Begin::Follow(exchange) => followed.exchanges.push(exchange),
                Begin::Answer(answer) => {
                    followed.refusal = Some(answer);
                    return followed;
                }
            }
        }
        match self.translation(call).await {
            Ok(exchange) => followed.exchanges.extend(exchange),
            Err(status) => followed.refusal = Some(Answer::status(status)),
        }
        followed
    }

    /// Turns a call of a version that the runtime lacks into one of the version it has.
    async fn translation(&self, call: &mut Call) -> Result<Option<Box<dyn Exchange>>, Status> {
        let Callee::Cri(api, service) = call.callee else { return Ok(None) };
        if !self.translate {
            return Ok(None);
        }
        let upstream = self.upstream(&call.path());
        if upstream.speaks(api, service).await? || !upstream.speaks(other(api), service).await? {
            return Ok(None);
        }
        call.callee = Callee::Cri(other(api), service);
        Ok((call.method == "Version").then(|| Box::new(VersionNamed(api)) as Box<dyn Exchange>))
    }

    async fn staged(&self, request: Request<Incoming>, followed: Followed) -> Result<Response<Answered>, Error> {
        let (mut parts, body) = request.into_parts();
        // Nothing compressed comes back, then, and what goes on is not of the length that came.
        parts.headers.remove("grpc-accept-encoding");
        parts.headers.remove(CONTENT_LENGTH);
        let (early, mut answered) = oneshot::channel();
        let chain = Chain::new(followed.exchanges);
        let decoder = Decoder::new(Way::Request, &parts.headers, &self.budget);
        let mut requests = Requests::new(body, decoder, chain.clone(), early);
        match requests.prime().await {
            Ok(()) => {}
            Err(None) => return respond(Responses::early(chain, answered.await?)).await,
            Err(Some(error)) => return Err(error),
        }
        if let Some(answer) = followed.refusal {
            let to_client = chain.len();
            return respond(Responses::early(chain, Early { answer, to_client })).await;
        }
        let upstream = self.upstream(parts.uri.path());
        let sending = upstream.send(absolute(Request::from_parts(parts, Sent::Staged(Box::new(requests)))));
        let sent = tokio::select! {
            biased;
            Ok(early) = &mut answered => return respond(Responses::early(chain, early)).await,
            sent = sending => sent,
        };
        let failure = match sent {
            Ok(response) => return self.relay(response, chain, answered).await,
            Err(failure) => failure,
        };
        // A stage that answers is why the call was cancelled: its answer came first, even if it is seen last.
        if let Ok(early) = answered.try_recv() {
            return respond(Responses::early(chain, early)).await;
        }
        match failure {
            Failure::Status(status) => respond(Responses::end(chain, status, None)).await,
            Failure::Reset(error) => Err(error),
        }
    }

    async fn relay(
        &self,
        response: Response<Incoming>,
        chain: Chain,
        answered: oneshot::Receiver<Early>,
    ) -> Result<Response<Answered>, Error> {
        if response.status() != StatusCode::OK || !is_grpc(response.headers()) {
            // Not a gRPC server: what it says is for the client to make sense of.
            return Ok(response.map(Answered::Plain));
        }
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        if parts.headers.contains_key(GRPC_STATUS) {
            let status = status_of(&parts.headers);
            return respond(Responses::end(chain, status, Some(parts.headers))).await;
        }
        let decoder = Decoder::new(Way::Response, &parts.headers, &self.budget);
        let body = Responses::relay(chain, body, decoder, answered);
        Ok(Response::from_parts(parts, Answered::Staged(Box::new(body))))
    }
}

/// A response of the proxy's own making.
async fn respond(mut responses: Responses) -> Result<Response<Answered>, Error> {
    Ok(match responses.prime().await? {
        Head::Only(trailers) => only(trailers),
        Head::Messages => {
            let mut response = Response::new(Answered::Staged(Box::new(responses)));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
    })
}

/// A response that is its end: trailers only.
fn only(trailers: HeaderMap) -> Response<Answered> {
    let mut response = Response::new(Answered::Nothing);
    *response.headers_mut() = trailers;
    response.headers_mut().entry(CONTENT_TYPE).or_insert(GRPC);
    response
}

/// HTTP/2 needs a scheme and an authority: a client's that named none are those grpc-go has for unix sockets.
fn absolute(mut request: Request<Sent>) -> Request<Sent> {
    if request.uri().authority().is_none() {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if let Ok(uri) = Uri::builder().scheme("http").authority("localhost").path_and_query(path).build() {
            *request.uri_mut() = uri;
        }
    }
    *request.version_mut() = Version::HTTP_2;
    request
}

fn other(api: ApiVersion) -> ApiVersion {
    match api {
        ApiVersion::V1 => ApiVersion::V1Alpha2,
        ApiVersion::V1Alpha2 => ApiVersion::V1,
    }
}

/// After a translated Version: the version that the client asked in.
struct VersionNamed(ApiVersion);

/// The tag of `VersionResponse.runtime_api_version`.
const RUNTIME_API_VERSION: u8 = 4 << 3 | 2;

impl Exchange for VersionNamed {
    fn response(&mut self, message: Bytes) -> Next {
        // Of a field that comes twice the last counts.
        let name = self.0.name();
        let length = u8::try_from(name.len()).unwrap_or_default();
        Next::Forward([&message[..], &[RUNTIME_API_VERSION, length], name.as_bytes()].concat().into())
    }
}
