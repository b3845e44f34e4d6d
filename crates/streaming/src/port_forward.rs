//! The streams of a port-forward, from the server's side.
//!
//! Over SPDY (by itself or through a WebSocket) the client opens two streams for each connection that it wants to a port of
//! the pod: one for data and one for an error. Over the channels of a WebSocket there is one connection to each port that
//! was named at the beginning.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::peer::Peer;
use crate::protocol::Channels;
use crate::remote_command::STREAM_TYPE;
use crate::spdy::{self, Headers, Offer};
use crate::stream::{Closing, Connection, Gone, Incoming, Outgoing};
use crate::websocket::{self, Role};

/// How long a stream may wait for the other of its pair.
const PAIRING: Duration = Duration::from_secs(30);

/// The most streams that wait for theirs.
const MAX_SINGLE: usize = 64;

/// The most ports of a WebSocket without SPDY: each has two channels, and a channel's number is a byte.
pub const MAX_PORTS: usize = 100;

/// SPDY's header with the port.
pub(crate) const PORT: &str = "port";

/// SPDY's header that says which streams belong together.
pub(crate) const REQUEST_ID: &str = "requestid";

/// The values of [`STREAM_TYPE`].
pub(crate) const DATA: &str = "data";
pub(crate) const ERROR: &str = "error";

/// One connection to a port.
#[derive(Debug)]
pub struct Forward {
    /// The port in the pod.
    pub port: u16,
    receive: Incoming,
    send: Outgoing,
    error: Outgoing,
}

/// The end of what a port sends.
#[derive(Debug)]
pub struct End {
    data: Outgoing,
    error: Outgoing,
}

impl Forward {
    /// Its two directions, and how the second is ended.
    pub fn split(self) -> (Incoming, Outgoing, End) {
        let end = End { data: self.send.clone(), error: self.error };
        (self.receive, self.send, end)
    }
}

impl End {
    /// Says that nothing more comes from the port, with an error or without.
    ///
    /// # Errors
    /// [`Gone`] if the client is gone.
    pub async fn end(self, error: Option<String>) -> Result<(), Gone> {
        if let Some(error) = error {
            self.error.send(Bytes::from(error)).await?;
        }
        self.data.finish().await?;
        self.error.finish().await
    }
}

/// A port-forward: the connections that its client asks for.
#[derive(Debug)]
pub struct Session {
    source: Source,
    connection: Connection,
}

#[derive(Debug)]
enum Source {
    Spdy { offers: mpsc::Receiver<Offer>, single: VecDeque<Single> },
    Channels(VecDeque<Forward>),
}

/// A stream that waits for the other of its pair.
#[derive(Debug)]
struct Single {
    key: Key,
    kind: Kind,
    port: u16,
    halves: (Incoming, Outgoing),
    since: Instant,
}

/// What the two streams of a pair have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Request(String),
    /// Clients of the first days: the error stream's number, which is two less than that of the data.
    Number(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Session {
    /// Over SPDY.
    pub fn spdy<T>(io: T, peer: Option<Peer>) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (connection, offers) = spdy::serve(io, peer);
        Self { source: Source::Spdy { offers, single: VecDeque::new() }, connection }
    }

    /// Over the channels of a WebSocket: at most [`MAX_PORTS`] ports.
    ///
    /// # Errors
    /// [`Gone`]
    pub async fn websocket<T>(io: T, peer: Option<Peer>, ports: &[u16], agreed: Channels) -> Result<Self, Gone>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let protocol = websocket::Protocol { encoding: agreed.encoding, close_signal: false };
        let count = u8::try_from(ports.len().min(MAX_PORTS) * 2).unwrap_or(u8::MAX);
        let (connection, channels) = websocket::channels(io, peer, Role::Server, protocol, count);
        let mut channels = channels.into_iter();
        let mut forwards = VecDeque::new();
        for &port in ports {
            let (Some((receive, send)), Some((_, error))) = (channels.next(), channels.next()) else { break };
            for channel in [&send, &error] {
                channel.send(Bytes::copy_from_slice(&port.to_le_bytes())).await?;
            }
            forwards.push_back(Forward { port, receive, send, error });
        }
        Ok(Self { source: Source::Channels(forwards), connection })
    }

    /// The next connection that the client asks for; `None` when it is gone. If it is cancelled, a connection that was being
    /// accepted is lost.
    pub async fn next(&mut self) -> Option<Forward> {
        match &mut self.source {
            Source::Channels(forwards) => match forwards.pop_front() {
                Some(forward) => Some(forward),
                None => {
                    self.connection.ended().await;
                    None
                }
            },
            Source::Spdy { offers, single } => loop {
                let offer = tokio::select! {
                    offer = offers.recv() => offer?,
                    () = oldest(single) => {
                        give_up(single).await;
                        continue;
                    }
                };
                if let Some(forward) = pair(offer, single).await {
                    return Some(forward);
                }
            },
        }
    }

    /// Whether its connections are those that were named at the beginning: when they have ended, it has.
    pub fn is_fixed(&self) -> bool {
        matches!(self.source, Source::Channels(_))
    }

    /// Closes it.
    pub async fn close(self, why: Closing) {
        self.connection.close(why).await;
    }
}

/// Resolves when the stream that has waited longest has waited too long.
async fn oldest(single: &VecDeque<Single>) {
    match single.front() {
        Some(oldest) => tokio::time::sleep_until(oldest.since + PAIRING).await,
        None => std::future::pending().await,
    }
}

async fn give_up(single: &mut VecDeque<Single>) {
    if let Some(Single { port, kind, halves: (_, outgoing), .. }) = single.pop_front() {
        tracing::debug!(port, ?kind, "a stream is given up: the other of its pair did not come");
        outgoing.reset().await;
    }
}

/// Accepts a stream at once, as the client waits for that before it opens the other one.
async fn pair(offer: Offer, single: &mut VecDeque<Single>) -> Option<Forward> {
    let Some((key, kind, port)) = read(offer.id, &offer.headers) else {
        tracing::debug!(headers = ?offer.headers, "a stream that is no port-forward's is refused");
        offer.refuse().await;
        return None;
    };
    let is_other = |other: &Single| other.key == key && other.kind != kind && other.port == port;
    match single.iter().position(is_other).and_then(|index| single.remove(index)) {
        Some(other) => {
            let halves = offer.accept().await.ok()?;
            let ((receive, send), (_, error)) = match kind {
                Kind::Data => (halves, other.halves),
                Kind::Error => (other.halves, halves),
            };
            Some(Forward { port, receive, send, error })
        }
        None if single.len() >= MAX_SINGLE || single.iter().any(|other| other.key == key) => {
            tracing::debug!(port, ?kind, "a stream is refused: it is there already, or too many wait for theirs");
            offer.refuse().await;
            None
        }
        None => {
            let halves = offer.accept().await.ok()?;
            single.push_back(Single { key, kind, port, halves, since: Instant::now() });
            None
        }
    }
}

fn read(id: u32, headers: &Headers) -> Option<(Key, Kind, u16)> {
    let kind = match headers.get(STREAM_TYPE)? {
        DATA => Kind::Data,
        ERROR => Kind::Error,
        _ => return None,
    };
    let port = headers.get(PORT)?.parse().ok().filter(|port| *port > 0)?;
    let key = match (headers.get(REQUEST_ID), kind) {
        (Some(request), _) if !request.is_empty() => Key::Request(request.to_owned()),
        (_, Kind::Error) => Key::Number(id),
        (_, Kind::Data) => Key::Number(id.checked_sub(2)?),
    };
    Some((key, kind, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_stream_says_what_it_is_for() {
        let data = headers(&[("streamtype", "data"), ("port", "80"), ("requestid", "7")]);
        assert_eq!(read(3, &data), Some((Key::Request("7".into()), Kind::Data, 80)));
    }

    #[test]
    fn without_a_request_the_numbers_pair() {
        let error = read(5, &headers(&[("streamtype", "error"), ("port", "80")])).unwrap();
        let data = read(7, &headers(&[("streamtype", "data"), ("port", "80")])).unwrap();
        assert_eq!(error.0, data.0);
        assert_eq!(read(1, &headers(&[("streamtype", "data"), ("port", "80")])), None);
    }

    #[test]
    fn what_is_no_port_forward_is_none() {
        for bad in [
            headers(&[("port", "80")]),
            headers(&[("streamtype", "stdin"), ("port", "80")]),
            headers(&[("streamtype", "data")]),
            headers(&[("streamtype", "data"), ("port", "0"), ("requestid", "1")]),
            headers(&[("streamtype", "data"), ("port", "65536"), ("requestid", "1")]),
            headers(&[("streamtype", "data"), ("port", "-1"), ("requestid", "1")]),
        ] {
            assert_eq!(read(3, &bad), None, "{bad:?}");
        }
    }
}
