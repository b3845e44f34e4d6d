//! The HTTP upgrade, from the client's end, and the streams behind it.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming as Body;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::port_forward::{DATA, ERROR, PORT, REQUEST_ID};
use crate::protocol::{self, PORT_FORWARD, PORT_FORWARD_TUNNEL, Version};
use crate::remote_command::{Kind, Outcome, STREAM_TYPE, Size, Wanted};
use crate::server::{SPDY, STREAM_PROTOCOL, WEBSOCKET, listed};
use crate::spdy::{self, Headers, Opener};
use crate::status;
use crate::stream::{Closing, Connection, Gone, Incoming, Outgoing};
use crate::websocket::handshake::{VERSION, is_accepted, new_key};
use crate::websocket::{self, Role};

/// The most bytes of a refusal's text that are read.
const MAX_REFUSAL: usize = 4096;

/// The most bytes of an error stream that are read.
const MAX_STATUS: usize = 64 * 1024;

/// What to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket: `v5.channel.k8s.io`, and SPDY through a tunnel for port-forward.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server does not upgrade. With another transport it may.
    #[error("the streaming server answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The text with it.
        body: String,
    },
    /// HTTP failed.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The URL makes no request.
    #[error("request: {0}")]
    Request(#[from] http::Error),
    /// The server does what it must not.
    #[error("the streaming server {0}")]
    Protocol(String),
    /// The connection ended.
    #[error("the streaming server has closed the connection")]
    Gone,
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// An exec or attach.
#[derive(Debug)]
pub struct RemoteCommand {
    /// Standard input.
    pub stdin: Option<Outgoing>,
    /// Standard output.
    pub stdout: Option<Incoming>,
    /// Standard error.
    pub stderr: Option<Incoming>,
    /// Tells the terminal's size.
    pub resize: Option<Resizer>,
    /// How it ends.
    pub outcome: AwaitOutcome,
}

/// Tells a terminal's size.
#[derive(Debug)]
pub struct Resizer(Outgoing);

impl Resizer {
    /// Tells it.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn send(&self, size: Size) -> Result<(), Gone> {
        let mut json = serde_json::to_vec(&size).unwrap_or_default();
        json.push(b'\n');
        self.0.send(json.into()).await
    }
}

/// How a command ends.
#[derive(Debug)]
pub struct AwaitOutcome {
    version: Version,
    error: Incoming,
    connection: Connection,
}

impl AwaitOutcome {
    /// Waits for the end. Output that has not been taken then is lost: read it to its end first, or meanwhile.
    ///
    /// # Errors
    /// [`Gone`] if the connection was lost before.
    pub async fn wait(mut self) -> Result<Outcome, Gone> {
        let mut said = Vec::new();
        loop {
            match self.error.next().await {
                Ok(Some(bytes)) if said.len() < MAX_STATUS => said.extend_from_slice(&bytes),
                Ok(Some(_)) => {}
                Ok(None) => break,
                // What was said counts: some servers close without more ado.
                Err(Gone) if !said.is_empty() => break,
                Err(Gone) => return Err(Gone),
            }
        }
        self.connection.close(Closing::Normal).await;
        Ok(status::read(self.version, &said))
    }
}

/// Asks a server for an exec or attach over a connection to it.
///
/// # Errors
/// [`Error`]
pub async fn remote_command<T>(io: T, uri: &Uri, transport: Transport, wanted: Wanted) -> Result<RemoteCommand, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let names = match transport {
        Transport::Spdy => Version::SPDY.map(Version::name).to_vec(),
        // As kubectl: over the older ones the end of standard input cannot be said, and SPDY can.
        Transport::WebSocket => vec![Version::V5.name()],
    };
    let (io, headers) = upgrade(io, uri, transport, &names).await?;
    match transport {
        Transport::Spdy => {
            let version = agreed(protocol::spdy(chosen(&headers, transport).as_deref()))?;
            spdy_command(io, version, wanted).await
        }
        Transport::WebSocket => {
            let agreed = agreed(protocol::channels(chosen(&headers, transport).as_deref()))?;
            let protocol =
                websocket::Protocol { encoding: agreed.encoding, close_signal: agreed.version.has_close_signal() };
            let (connection, channels) = websocket::channels(io, None, Role::Client, protocol, 5);
            let opened = Kind::ALL.into_iter().zip(channels).collect();
            command(opened, agreed.version, wanted, connection)
        }
    }
}

async fn spdy_command(io: TokioIo<Upgraded>, version: Version, wanted: Wanted) -> Result<RemoteCommand, Error> {
    let (connection, opener) = spdy::connect(io);
    let mut opened = Vec::new();
    // The error stream first, as every client does.
    let kinds = [Kind::Error, Kind::Stdin, Kind::Stdout, Kind::Stderr, Kind::Resize];
    for kind in kinds.into_iter().filter(|kind| kind.is_wanted(wanted, version)) {
        let headers = Headers::from_iter([(STREAM_TYPE.to_owned(), kind.name().to_owned())]);
        opened.push((kind, opener.open(headers).await?));
    }
    command(opened, version, wanted, connection)
}

fn command(
    opened: Vec<(Kind, (Incoming, Outgoing))>,
    version: Version,
    wanted: Wanted,
    connection: Connection,
) -> Result<RemoteCommand, Error> {
    let (mut stdin, mut stdout, mut stderr, mut resize, mut error) = (None, None, None, None, None);
    for (kind, (incoming, outgoing)) in opened.into_iter().filter(|(kind, _)| kind.is_wanted(wanted, version)) {
        match kind {
            Kind::Stdin => stdin = Some(outgoing),
            Kind::Stdout => stdout = Some(incoming),
            Kind::Stderr => stderr = Some(incoming),
            Kind::Resize => resize = Some(Resizer(outgoing)),
            Kind::Error => error = Some(incoming),
        }
    }
    let error = error.ok_or(Error::Gone)?;
    Ok(RemoteCommand { stdin, stdout, stderr, resize, outcome: AwaitOutcome { version, error, connection } })
}

/// A port-forward.
#[derive(Debug)]
pub struct PortForward {
    connection: Connection,
    opener: Opener,
    last: AtomicU32,
}

/// One connection to a port.
#[derive(Debug)]
pub struct Forwarded {
    /// What the port sends.
    pub receive: Incoming,
    /// What is sent to it.
    pub send: Outgoing,
    /// Why it failed, as text; nothing if it did not.
    pub error: Incoming,
}

/// Asks a server for a port-forward over a connection to it. Over WebSocket, SPDY goes through a tunnel.
///
/// # Errors
/// [`Error`]
pub async fn port_forward<T>(io: T, uri: &Uri, transport: Transport) -> Result<PortForward, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let name = match transport {
        Transport::Spdy => PORT_FORWARD,
        Transport::WebSocket => PORT_FORWARD_TUNNEL,
    };
    let (io, headers) = upgrade(io, uri, transport, &[name]).await?;
    if chosen(&headers, transport).is_some_and(|chosen| chosen != name) {
        return Err(Error::Protocol(format!("does not speak {name}")));
    }
    let (connection, opener) = match transport {
        Transport::Spdy => spdy::connect(io),
        Transport::WebSocket => spdy::connect(websocket::tunnel(io, Role::Client)),
    };
    Ok(PortForward { connection, opener, last: AtomicU32::new(0) })
}

impl PortForward {
    /// Opens a connection to a port.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn open(&self, port: u16) -> Result<Forwarded, Gone> {
        let request = self.last.fetch_add(1, Ordering::Relaxed).to_string();
        let headers = |kind: &str| {
            let pairs = [(STREAM_TYPE, kind), (PORT, &port.to_string()), (REQUEST_ID, &request)];
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Headers>()
        };
        let (error, nothing) = self.opener.open(headers(ERROR)).await?;
        nothing.finish().await?;
        let (receive, send) = self.opener.open(headers(DATA)).await?;
        Ok(Forwarded { receive, send, error })
    }

    /// Resolves when the session is lost.
    pub async fn ended(&mut self) {
        self.connection.ended().await;
    }

    /// Ends it.
    pub async fn close(self) {
        self.connection.close(Closing::Normal).await;
    }
}

/// Upgrades a connection; what the server answered with it.
async fn upgrade<T>(
    io: T,
    uri: &Uri,
    transport: Transport,
    names: &[&str],
) -> Result<(TokioIo<Upgraded>, HeaderMap), Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(io)).await?;
    tokio::spawn(connection.with_upgrades());
    let key = new_key().map_err(|error| Error::Protocol(format!("cannot be given a key: {error}")))?;
    let answer = sender.send_request(request(uri, transport, names, &key)?).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(answer).await);
    }
    let headers = answer.headers().clone();
    if transport == Transport::WebSocket && !is_accepted(&headers, &key) {
        return Err(Error::Protocol("does not answer the WebSocket's key".into()));
    }
    Ok((TokioIo::new(hyper::upgrade::on(answer).await?), headers))
}

fn request(uri: &Uri, transport: Transport, names: &[&str], key: &str) -> Result<Request<Empty<Bytes>>, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder().uri(path).header(HOST, host).header(CONNECTION, "Upgrade");
    request = match transport {
        Transport::Spdy => request.method(Method::POST).header(UPGRADE, SPDY),
        Transport::WebSocket => request
            .method(Method::GET)
            .header(UPGRADE, WEBSOCKET)
            .header(SEC_WEBSOCKET_VERSION, VERSION)
            .header(SEC_WEBSOCKET_KEY, key)
            .header(SEC_WEBSOCKET_PROTOCOL, names.join(", ")),
    };
    if transport == Transport::Spdy {
        for name in names {
            request = request.header(STREAM_PROTOCOL, *name);
        }
    }
    Ok(request.body(Empty::new())?)
}

async fn refused(answer: Response<Body>) -> Error {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_REFUSAL).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    Error::Refused { status, body }
}

/// What the server has chosen, if it says so.
fn chosen(headers: &HeaderMap, transport: Transport) -> Option<String> {
    let name = match transport {
        Transport::Spdy => STREAM_PROTOCOL,
        Transport::WebSocket => SEC_WEBSOCKET_PROTOCOL,
    };
    listed(headers, &name).into_iter().next()
}

fn agreed<T>(found: Option<T>) -> Result<T, Error> {
    found.ok_or_else(|| Error::Protocol("has chosen a protocol that was not offered".into()))
}
