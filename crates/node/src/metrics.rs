//! The daemon's own metrics, in the text format of Prometheus.

use std::convert::Infallible;
use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::body::Body;

use crate::error::{Error, Result};
use crate::interface::Interface;

/// The most connections at once; others wait.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take for its request's head, and between two requests.
const REQUEST: Duration = Duration::from_secs(10);

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// The server for metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The address and port on which `/metrics` is served over HTTP: "127.0.0.1:9797". Default: nowhere.
    pub address: Option<SocketAddr>,
}

/// Listens as configured.
///
/// # Errors
/// The address cannot be had.
pub async fn listen(config: &MetricsConfig) -> Result<Option<TcpListener>> {
    let Some(address) = config.address else { return Ok(None) };
    let failed = |error| Error::node(format!("listen for metrics on {address}"), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "serving metrics");
    Ok(Some(listener))
}

/// Serves clients, for as long as it is polled.
pub async fn serve(listener: TcpListener, interface: Arc<Interface>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It fails only when the semaphore is closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "a connection for metrics could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let interface = interface.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&interface, &request);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(REQUEST);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection for metrics ended badly");
            }
            drop(place);
        });
    }
}

fn answer(interface: &Interface, request: &Request<Incoming>) -> Response<Body> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, Exposition(interface).to_string()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// All metrics.
struct Exposition<'a>(&'a Interface);

impl fmt::Display for Exposition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        family(f, "corten_cri_calls_total", "Calls of the CRI.")?;
        for (version, method, calls) in self.0.calls().filter(|(_, _, calls)| *calls > 0) {
            writeln!(f, "corten_cri_calls_total{{api=\"{version}\",method=\"{method}\"}} {calls}")?;
        }
        let name = "corten_cri_unknown_fields_total";
        family(f, name, "Fields of requests that this version does not know.")?;
        let (each, others) = self.0.unknown_fields();
        for (message, number, wire_type, count) in each {
            writeln!(f, "{name}{{message=\"{message}\",number=\"{number}\",wire_type=\"{wire_type}\"}} {count}")?;
        }
        writeln!(f, "{name}{{message=\"\",number=\"\",wire_type=\"\"}} {others}")
    }
}

fn family(f: &mut fmt::Formatter<'_>, name: &str, help: &str) -> fmt::Result {
    f.write_str("# HELP ")?;
    writeln!(f, "{name} {help}")?;
    f.write_char('#')?;
    writeln!(f, " TYPE {name} counter")
}
