//! A session of port-forward: connections to ports of a pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use corten_host::network::netns;
use corten_streaming::port_forward::{Forward, Session};
use corten_streaming::stream::{CHUNK, Closing, Gone, Incoming, Outgoing};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node::Node;
use crate::pod::Pod;

/// How long a connection to a port may take: nothing listens far away.
const CONNECT: Duration = Duration::from_secs(30);

/// How long a client may be silent after a port has said its last word, if it cannot be told so but by the session's end.
const SILENCE: Duration = Duration::from_secs(1);

/// Runs a session until its client has gone, its pod is stopped, or the ports that it named beforehand are all done.
pub async fn run(node: &Arc<Node>, pod: &Arc<Pod>, mut session: Session) {
    let namespace = pod.has_network().then(|| node.netns_path(&pod.id));
    let mut forwards = JoinSet::new();
    let why = loop {
        match next(pod, &mut session, &mut forwards).await {
            Next::Forward(forward) => {
                let over = Over::of(&session);
                forwards.spawn(one(forward, namespace.clone(), over));
            }
            Next::Gone => return,
            Next::Over(why) => break why,
        }
    };
    session.close(why).await;
}

/// What comes next in a session.
enum Next {
    Forward(Forward),
    Gone,
    Over(Closing),
}

async fn next(pod: &Pod, session: &mut Session, forwards: &mut JoinSet<()>) -> Next {
    let is_fixed = session.is_fixed();
    // Not cancelled when a connection ends: what it is about to yield would be lost.
    let mut forward = pin!(session.next());
    loop {
        tokio::select! {
            biased;
            forward = &mut forward => return forward.map_or(Next::Gone, Next::Forward),
            Some(_) = forwards.join_next(), if !forwards.is_empty() => {
                if is_fixed && forwards.is_empty() {
                    return Next::Over(Closing::Normal);
                }
            }
            () = pod.unready() => return Next::Over(Closing::Internal("the pod is stopped".into())),
        }
    }
}

/// Whether the port has said its last word to a client that does not hear it: over the channels of a WebSocket a direction
/// has no end.
enum Over {
    IsHeard,
    IsNotHeard(watch::Sender<bool>),
}

impl Over {
    fn of(session: &Session) -> Self {
        if session.is_fixed() { Self::IsNotHeard(watch::Sender::new(false)) } else { Self::IsHeard }
    }

    fn say(&self) {
        if let Self::IsNotHeard(over) = self {
            over.send_replace(true);
        }
    }

    /// Resolves when it has, and then nothing was heard of the client for [`SILENCE`].
    async fn silent(&self) {
        match self {
            Self::IsHeard => std::future::pending().await,
            Self::IsNotHeard(over) => {
                // It fails only without a sender.
                let _ = over.subscribe().wait_for(|over| *over).await;
                tokio::time::sleep(SILENCE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn one(forward: Forward, namespace: Option<PathBuf>, over: Over) {
    let port = forward.port;
    let (receive, send, end) = forward.split();
    let stream = match connect(port, namespace).await {
        Ok(stream) => stream,
        Err(why) => {
            tracing::debug!(port, why, "a port could not be connected to");
            let _ = end.end(Some(why)).await;
            return;
        }
    };
    let (reader, writer) = stream.into_split();
    let down = async {
        let copied = copy_down(reader, &send).await;
        let error = match copied {
            Ok(()) => None,
            Err(Failed::Client(Gone)) => return Err(Gone),
            Err(Failed::Port(error)) => Some(format!("port {port}: {error}")),
        };
        // Told at once: there are clients that wait for it before they end their own direction.
        end.end(error).await
    };
    let up = copy_up(receive, writer, &over);
    tokio::pin!(up, down);
    tokio::select! {
        down_ended = &mut down => {
            if down_ended.is_ok() {
                over.say();
                up.await;
            }
        }
        () = &mut up => {
            let _ = down.await;
        }
    }
}

/// Connects to a port of a pod's loopback: over IPv4, or else over IPv6.
async fn connect(port: u16, namespace: Option<PathBuf>) -> Result<TcpStream, String> {
    let four = connect_to(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), namespace.clone()).await;
    let why_not_four = match four {
        Ok(stream) => return Ok(stream),
        Err(why) => why,
    };
    let six = connect_to(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port), namespace).await;
    six.map_err(|why| format!("failed to connect to localhost:{port} in the pod: IPv4: {why_not_four}; IPv6: {why}"))
}

async fn connect_to(address: SocketAddr, namespace: Option<PathBuf>) -> io::Result<TcpStream> {
    let made = tokio::task::spawn_blocking(move || socket(address.ip(), namespace)).await;
    let socket = TcpSocket::from_std_stream(made.map_err(io::Error::other)??.into());
    let stream = tokio::time::timeout(CONNECT, socket.connect(address)).await??;
    // A small answer is not to wait for the next.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A socket belongs to the network namespace that it is made in, wherever it is used.
fn socket(address: IpAddr, namespace: Option<PathBuf>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let make = || socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    match namespace {
        Some(path) => Ok(netns::enter(&path, make).map_err(io::Error::other)??),
        None => Ok(make()?),
    }
}

/// Why a direction ended before its time.
enum Failed {
    Client(Gone),
    Port(io::Error),
}

/// From the port to the client.
async fn copy_down(mut reader: OwnedReadHalf, send: &Outgoing) -> Result<(), Failed> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(_) => send.send(buffer.split().freeze()).await.map_err(Failed::Client)?,
            Err(error) => return Err(Failed::Port(error)),
        }
    }
}

/// From the client to the port. When the client says its last word the port learns it; when the client is gone, the
/// connection is cut by dropping it.
async fn copy_up(mut receive: Incoming, mut writer: OwnedWriteHalf, over: &Over) {
    loop {
        let received = tokio::select! {
            biased;
            received = receive.next() => received,
            () = over.silent() => return,
        };
        match received {
            Ok(Some(bytes)) => {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                let _ = writer.shutdown().await;
                return;
            }
            Err(Gone) => return,
        }
    }
}
