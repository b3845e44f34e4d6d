//! The HTTP server that clients bring their tokens to.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corten_host::memory;
use corten_streaming::peer::Peer;
use corten_streaming::server::{Answer, port_forward, refusal, remote_command};
use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::config::StreamingConfig;
use super::idle::{Activity, Noted};
use super::tls::Tls;
use super::tokens::{Request, Tokens};
use super::{attach, exec, port_forward as forward};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::operation::lock;

/// The most connections at once.
const MAX_CONNECTIONS: usize = 4096;

/// After so many connections at once, memory is given back when the last of them has ended.
const CROWD: usize = 32;

/// How long a client may take to say what it wants, and before that to agree on TLS.
const REQUEST: Duration = Duration::from_secs(10);

/// The most bytes of a request's line and headers.
const MAX_HEAD: usize = 16 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// After how long without a word a client is asked by TCP whether it is still there, how often, and how many times.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Where clients are sent to, and what they may come for.
pub struct Endpoint {
    base: String,
    tokens: Tokens,
}

/// The socket that they come to.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Endpoint {
    /// Listens as configured.
    ///
    /// # Errors
    /// The address cannot be had, or the certificate cannot be used.
    pub async fn listen(config: &StreamingConfig) -> Result<(Self, Listener)> {
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Tls::open(certificate, key)?)),
            _ => None,
        };
        let address = SocketAddr::new(config.address, config.port);
        let failed = |error| Error::node(format!("listen for streams on {address}"), error);
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        if tls.is_none() && !bound.ip().is_loopback() {
            tracing::warn!(%bound, "exec, attach and port-forward are served to other hosts without TLS");
        }
        let base = base(bound, tls.is_some());
        tracing::info!(base, "serving streams");
        Ok((Self { base, tokens: Tokens::default() }, Listener { socket, tls }))
    }

    /// A URL for a client, good for one minute and one use.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if too many are waiting to be used.
    pub fn url(&self, request: Request) -> Result<String> {
        let kind = request.kind();
        let token = self.tokens.issue(request)?;
        Ok(format!("{}/{kind}/{token}", self.base))
    }
}

/// The address as the kubelet, on the same node, reaches it.
fn base(bound: SocketAddr, tls: bool) -> String {
    let reachable = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(reachable, bound.port()))
}

impl Listener {
    /// Serves clients, for as long as it is polled.
    pub async fn serve(self, node: Arc<Node>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let crowd = Arc::new(AtomicUsize::new(0));
        loop {
            // It fails only when the semaphore is closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!(%error, "a connection for streams could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            crowd.fetch_max(MAX_CONNECTIONS.saturating_sub(places.available_permits()), Ordering::Relaxed);
            let (node, tls) = (node.clone(), self.tls.clone());
            let (places, crowd) = (places.clone(), crowd.clone());
            tokio::spawn(async move {
                if let Err(error) = connection(node, stream, tls).await {
                    tracing::debug!(error, "a connection for streams ended badly");
                }
                drop(place);
                // One place is taken by whoever comes next.
                if places.available_permits() + 1 >= MAX_CONNECTIONS && crowd.swap(0, Ordering::Relaxed) > CROWD {
                    tokio::task::spawn_blocking(memory::give_back);
                }
            });
        }
    }
}

/// A connection: its one request, and the session that it becomes.
async fn connection(node: Arc<Node>, stream: TcpStream, tls: Option<Arc<Tls>>) -> Result<(), String> {
    prepare(&stream).map_err(|error| format!("socket options: {error}"))?;
    let peer = Peer::of(&stream).map_err(|error| format!("dup: {error}"))?;
    let (stream, activity) = Noted::new(stream);
    let Some(tls) = tls else { return serve(node, stream, peer, activity).await };
    let config = tokio::task::spawn_blocking(move || tls.current()).await.map_err(|error| error.to_string())?;
    let accepted = tokio::time::timeout(REQUEST, TlsAcceptor::from(config).accept(stream)).await;
    let stream = accepted.map_err(|_| "TLS: no handshake in time".to_owned())?;
    serve(node, stream.map_err(|error| format!("TLS: {error}"))?, peer, activity).await
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    let (after, interval, times) = KEEP_ALIVE;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, after)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, times)?;
    Ok(())
}

async fn serve<T>(node: Arc<Node>, io: T, peer: Peer, activity: Activity) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let agreed = Mutex::new(None);
    let service = service_fn(|request| {
        let (answer, session) = begin(&node, request);
        *lock(&agreed) = session;
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    http.serve_connection(TokioIo::new(io), service).with_upgrades().await.map_err(|error| error.to_string())?;
    let session = lock(&agreed).take();
    match session {
        Some(session) => session.run(&node, peer, activity).await,
        None => Ok(()),
    }
}

/// A session whose upgrade is agreed.
enum Agreed {
    Exec(Request, corten_streaming::server::RemoteCommand),
    PortForward(Request, corten_streaming::server::PortForward),
}

/// Answers a request.
fn begin(node: &Node, mut request: http::Request<Incoming>) -> (Answer, Option<Agreed>) {
    let path = request.uri().path().to_owned();
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let Some(wanted) = parts.and_then(|(kind, token)| node.streaming.tokens.take(kind, token)) else {
        let why = "there is no such session: a URL is good for one minute and one use";
        return (*refusal(StatusCode::NOT_FOUND, why), None);
    };
    let agreed = match &wanted {
        Request::Exec { wanted: streams, .. } | Request::Attach { wanted: streams, .. } => {
            let agreed = remote_command(&mut request, *streams);
            agreed.map(|(answer, upgrade)| (answer, Agreed::Exec(wanted, upgrade)))
        }
        Request::PortForward { ports, .. } => {
            let agreed = port_forward(&mut request, ports);
            agreed.map(|(answer, upgrade)| (answer, Agreed::PortForward(wanted, upgrade)))
        }
    };
    match agreed {
        Ok((answer, session)) => (answer, Some(session)),
        Err(refused) => {
            tracing::info!(status = %refused.status(), "a client for streams is refused");
            (*refused, None)
        }
    }
}

impl Agreed {
    /// Runs the session, until nothing has happened on its connection for too long.
    async fn run(self, node: &Arc<Node>, peer: Peer, activity: Activity) -> Result<(), String> {
        let limit = node.config.streaming.idle_timeout();
        tokio::select! {
            ended = self.session(node, peer) => ended,
            () = activity.idle_for(limit) => Err(format!("nothing happened for {limit:?}")),
        }
    }

    async fn session(self, node: &Arc<Node>, peer: Peer) -> Result<(), String> {
        match self {
            Self::Exec(request, upgrade) => {
                let session = upgrade.session(Some(peer)).await.map_err(|error| error.to_string())?;
                match request {
                    Request::Exec { container, command, wanted } => {
                        exec::run(node, &container, &command, wanted, session).await;
                    }
                    Request::Attach { container, wanted } => attach::run(node, &container, wanted, session).await,
                    Request::PortForward { .. } => {}
                }
            }
            Self::PortForward(request, upgrade) => {
                let session = upgrade.session(Some(peer)).await.map_err(|error| error.to_string())?;
                if let Request::PortForward { pod, .. } = request {
                    forward::run(node, &pod, session).await;
                }
            }
        }
        Ok(())
    }
}
