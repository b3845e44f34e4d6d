//! What stands between the socket and the RPCs: which version of the interface a call is of, and what a newer client
//! says that this version does not know.

mod body;
mod config;
mod unknown;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_cri::ApiVersion;
use corten_cri::history::{self, History, Schema, Snapshot};
use corten_cri::unimplemented::{unknown_method, unknown_service};
use corten_cri::wire::{Message, Shapes};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use self::body::Peeked;
pub use self::config::InterfaceConfig;
use crate::error::{Error, Result};

/// The CRI as it is served.
pub struct Interface {
    /// By `Service/Method`.
    rpcs: BTreeMap<&'static str, Rpc>,
    met: unknown::Met,
    refused: BTreeSet<String>,
}

struct Rpc {
    request: Message<'static>,
    in_v1alpha2: bool,
    calls: [AtomicU64; ApiVersion::ALL.len()],
}

impl Interface {
    /// Both versions, from their history.
    ///
    /// # Errors
    /// [`Error::Node`] if the history in the repository is broken.
    pub fn new(config: &InterfaceConfig) -> Result<Self> {
        let broken = |error: &history::Error| Error::node("read the history of the CRI", error);
        let history = History::embedded().map_err(broken)?;
        let shapes = Shapes::compiled().map_err(broken)?;
        let newest = |schema: &'static Schema| -> Result<Snapshot<'static>> {
            let newest = schema.newest().map_err(|error| broken(&error))?;
            schema.in_release(newest).map_err(|error| broken(&error))
        };
        let (v1, v1alpha2) = (newest(&history.v1)?, newest(&history.v1alpha2)?);
        let rpcs = v1.rpcs.into_iter().filter_map(|(name, rpc)| {
            let request = shapes.message(&rpc.request)?;
            Some((name, Rpc { request, in_v1alpha2: v1alpha2.rpcs.contains_key(name), calls: Default::default() }))
        });
        let refused = config.refuse_unknown_fields_in.iter().cloned().collect();
        Ok(Self { rpcs: rpcs.collect(), met: unknown::Met::default(), refused })
    }

    /// Answers a call, or has it answered.
    ///
    /// # Errors
    /// Never: an error is an answer.
    pub async fn call(
        &self,
        routes: Routes,
        request: Request<Incoming>,
    ) -> std::result::Result<Response<Body>, Infallible> {
        let request = match ApiVersion::split(request.uri().path()) {
            None => request.map(Body::new),
            Some((version, method)) => match self.rpc(version, method) {
                Ok((name, rpc)) => match self.admit(version, name, rpc, request).await {
                    Ok(request) => request,
                    Err(status) => return Ok(status.into_http()),
                },
                Err(status) => return Ok(status.into_http()),
            },
        };
        routes.oneshot(request).await
    }

    /// The RPC, if that version has it; else what a Go server says.
    fn rpc(&self, version: ApiVersion, method: &str) -> std::result::Result<(&'static str, &Rpc), Box<Status>> {
        let (service, name) = method.split_once('/').unwrap_or((method, ""));
        if let Some((known, rpc)) = self.rpcs.get_key_value(method)
            && (version == ApiVersion::V1 || rpc.in_v1alpha2)
        {
            return Ok((known, rpc));
        }
        let is_known = self.rpcs.keys().any(|known| known.split_once('/').is_some_and(|(known, _)| known == service));
        let service = format!("{}.{service}", version.package());
        Err(Box::new(match is_known {
            true => unknown_method(name, &service),
            false => unknown_service(&service),
        }))
    }

    /// Looks at a call's message, and makes it a call of the version that is implemented.
    async fn admit(
        &self,
        version: ApiVersion,
        name: &str,
        rpc: &Rpc,
        request: Request<Incoming>,
    ) -> std::result::Result<Request<Body>, Box<Status>> {
        if let Some(calls) = rpc.calls.get(version as usize) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        let (mut parts, body) = request.into_parts();
        let (body, message) = Peeked::read(body).await;
        if let Some(message) = message {
            let found = rpc.request.unknown(&message);
            if !found.is_empty() {
                self.met.add(&found);
                unknown::check(&found, &self.refused)?;
            }
        }
        if version != ApiVersion::V1 {
            let path = ApiVersion::V1.path(name);
            parts.uri = Uri::try_from(path).map_err(|error| Box::new(Status::internal(error.to_string())))?;
        }
        parts.extensions.insert(version);
        Ok(Request::from_parts(parts, Body::new(body)))
    }

    /// How often each RPC has been called, by version.
    pub fn calls(&self) -> impl Iterator<Item = (ApiVersion, &'static str, u64)> {
        self.rpcs.iter().flat_map(|(name, rpc)| {
            ApiVersion::ALL
                .into_iter()
                .zip(&rpc.calls)
                .map(|(version, calls)| (version, *name, calls.load(Ordering::Relaxed)))
        })
    }

    /// The fields met that this version does not know: the path of the message, the number, the name of the wire type,
    /// how often; and how many others.
    pub fn unknown_fields(&self) -> (Vec<(String, u32, &'static str, u64)>, u64) {
        self.met.all()
    }
}
