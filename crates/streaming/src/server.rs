//! The HTTP upgrade, from the server's end.

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::peer::Peer;
use crate::port_forward;
use crate::protocol::{self, Channels, PORT_FORWARD, PORT_FORWARD_TUNNEL, Version};
use crate::remote_command::{self, Wanted};
use crate::websocket::handshake::{VERSION, accept};
use crate::websocket::{self, Role};

/// SPDY's name in an upgrade.
pub(crate) const SPDY: &str = "SPDY/3.1";
/// WebSocket's.
pub(crate) const WEBSOCKET: &str = "websocket";
/// With what a client offers over SPDY, and with what was chosen.
pub(crate) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// With what we have, where that has nothing in common with what was offered.
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// An answer, with a text if it is a refusal.
pub type Answer = Response<Full<Bytes>>;

/// An answer that says why not.
pub type Refusal = Box<Answer>;

/// Why there is no session after an upgrade that was answered well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// HTTP: the connection ended before it was upgraded.
    #[error("upgrade: {0}")]
    Upgrade(#[from] hyper::Error),
    /// The streams were not opened.
    #[error(transparent)]
    Streams(#[from] remote_command::Error),
}

/// An exec or attach whose upgrade is agreed: the answer is to be sent, then [`RemoteCommand::session`] awaited.
#[derive(Debug)]
pub struct RemoteCommand {
    upgrade: OnUpgrade,
    wanted: Wanted,
    transport: CommandTransport,
}

#[derive(Debug)]
enum CommandTransport {
    Spdy(Version),
    WebSocket(Channels),
}

/// Agrees with a client on how to speak.
///
/// # Errors
/// The answer that says why not: the wrong method, no upgrade, or no protocol in common.
pub fn remote_command(request: &mut Request<Incoming>, wanted: Wanted) -> Result<(Answer, RemoteCommand), Refusal> {
    let (answer, transport) = match transport(request)? {
        Transport::Spdy => {
            let offered = listed(request.headers(), &STREAM_PROTOCOL);
            let supported = || Version::SPDY.map(Version::name);
            let version = protocol::spdy(offered.iter().map(String::as_str));
            let version = version.ok_or_else(|| nothing_in_common(&offered, &supported()))?;
            // A client that offered nothing is told nothing.
            let told = (!offered.is_empty()).then(|| version.name());
            (spdy_answer(told), CommandTransport::Spdy(version))
        }
        Transport::WebSocket { accept } => {
            let offered = listed(request.headers(), &SEC_WEBSOCKET_PROTOCOL);
            let channels = protocol::channels(offered.iter().map(String::as_str));
            let channels = channels.ok_or_else(|| nothing_in_common(&offered, &Version::ALL.map(Version::name)))?;
            (websocket_answer(&accept, channels.name), CommandTransport::WebSocket(channels))
        }
    };
    Ok((answer, RemoteCommand { upgrade: hyper::upgrade::on(request), wanted, transport }))
}

impl RemoteCommand {
    /// The session, when the client has opened its streams.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn session(self, peer: Option<Peer>) -> Result<remote_command::Session, Error> {
        let io: TokioIo<Upgraded> = TokioIo::new(self.upgrade.await?);
        let session = match self.transport {
            CommandTransport::Spdy(version) => remote_command::Session::spdy(io, peer, self.wanted, version).await?,
            CommandTransport::WebSocket(channels) => {
                remote_command::Session::websocket(io, peer, self.wanted, channels).await?
            }
        };
        Ok(session)
    }
}

/// A port-forward whose upgrade is agreed.
#[derive(Debug)]
pub struct PortForward {
    upgrade: OnUpgrade,
    transport: ForwardTransport,
}

#[derive(Debug)]
enum ForwardTransport {
    Spdy,
    Tunnel,
    WebSocket(Channels, Vec<u16>),
}

/// Agrees with a client on how to speak. `ports` are those it named beforehand; only WebSocket without SPDY needs them.
///
/// # Errors
/// The answer that says why not: the wrong method, no upgrade, no protocol in common, no ports.
pub fn port_forward(request: &mut Request<Incoming>, ports: &[u16]) -> Result<(Answer, PortForward), Refusal> {
    let (answer, transport) = match transport(request)? {
        Transport::Spdy => {
            let offered = listed(request.headers(), &STREAM_PROTOCOL);
            let told = match offered.iter().any(|name| name == PORT_FORWARD) {
                true => Some(PORT_FORWARD),
                false if offered.is_empty() => None,
                false => return Err(nothing_in_common(&offered, &[PORT_FORWARD])),
            };
            (spdy_answer(told), ForwardTransport::Spdy)
        }
        Transport::WebSocket { accept } => {
            let offered = listed(request.headers(), &SEC_WEBSOCKET_PROTOCOL);
            if offered.iter().any(|name| name == PORT_FORWARD_TUNNEL) {
                (websocket_answer(&accept, Some(PORT_FORWARD_TUNNEL)), ForwardTransport::Tunnel)
            } else {
                let channels = protocol::channels(offered.iter().map(String::as_str));
                let channels = channels.ok_or_else(|| {
                    nothing_in_common(&offered, &[PORT_FORWARD_TUNNEL, Version::V4.name(), Version::V4.base64_name()])
                })?;
                if ports.is_empty() || ports.len() > port_forward::MAX_PORTS {
                    let why = format!(
                        "a WebSocket without {PORT_FORWARD_TUNNEL} needs from 1 to {} ports in the request, not {}",
                        port_forward::MAX_PORTS,
                        ports.len()
                    );
                    return Err(refusal(StatusCode::BAD_REQUEST, &why));
                }
                (websocket_answer(&accept, channels.name), ForwardTransport::WebSocket(channels, ports.to_vec()))
            }
        }
    };
    Ok((answer, PortForward { upgrade: hyper::upgrade::on(request), transport }))
}

impl PortForward {
    /// The session.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn session(self, peer: Option<Peer>) -> Result<port_forward::Session, Error> {
        let io: TokioIo<Upgraded> = TokioIo::new(self.upgrade.await?);
        Ok(match self.transport {
            ForwardTransport::Spdy => port_forward::Session::spdy(io, peer),
            ForwardTransport::Tunnel => port_forward::Session::spdy(websocket::tunnel(io, Role::Server), peer),
            ForwardTransport::WebSocket(channels, ports) => {
                let session = port_forward::Session::websocket(io, peer, &ports, channels).await;
                session.map_err(remote_command::Error::from)?
            }
        })
    }
}

/// How the client wants to go on.
enum Transport {
    Spdy,
    WebSocket { accept: String },
}

fn transport(request: &Request<Incoming>) -> Result<Transport, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return Err(answer);
    }
    let headers = request.headers();
    let asks = |what: &str| {
        let names = |header| listed(headers, header).iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
        names(&CONNECTION).iter().any(|name| name == "upgrade")
            && names(&UPGRADE).iter().any(|name| *name == what.to_ascii_lowercase())
    };
    if asks(WEBSOCKET) {
        let accept = accept(headers).map_err(|why| {
            let mut answer = refusal(StatusCode::BAD_REQUEST, &why.to_string());
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            answer
        })?;
        Ok(Transport::WebSocket { accept })
    } else if asks(SPDY) {
        Ok(Transport::Spdy)
    } else {
        let why = format!("unable to upgrade: no \"Connection: Upgrade\" with \"Upgrade: {SPDY}\" or \"{WEBSOCKET}\"");
        Err(refusal(StatusCode::BAD_REQUEST, &why))
    }
}

/// The values of a header that may come several times and list several.
pub(crate) fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn spdy_answer(protocol: Option<&'static str>) -> Answer {
    let mut answer = switching(SPDY);
    if let Some(protocol) = protocol {
        answer.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    }
    answer
}

fn websocket_answer(accept: &str, protocol: Option<&'static str>) -> Answer {
    let mut answer = switching(WEBSOCKET);
    if let Ok(accept) = HeaderValue::from_str(accept) {
        answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    answer
}

fn switching(to: &'static str) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(to));
    answer
}

fn nothing_in_common(offered: &[String], supported: &[&'static str]) -> Refusal {
    let why = format!("unable to upgrade: the client offers {offered:?}, this server has {supported:?}");
    let mut answer = refusal(StatusCode::FORBIDDEN, &why);
    for name in supported {
        answer.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
    }
    answer
}

/// A refusal with its reason as text. It is the last answer on its connection.
pub fn refusal(status: StatusCode, why: &str) -> Refusal {
    let mut answer = Box::new(Answer::new(Full::from(format!("{why}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
