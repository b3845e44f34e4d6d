//! The streams of an exec or attach, from the server's side.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::peer::Peer;
use crate::protocol::{Channels, Version};
use crate::spdy::{self, Offer};
use crate::status;
use crate::stream::{Closing, Connection, Gone, Incoming, Outgoing};
use crate::websocket::{self, Role};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);

/// The most bytes of a terminal size that has not come whole.
const MAX_SIZE: usize = 1024;

/// What a client wants to be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with a terminal.
    pub stderr: bool,
    /// Whether there is a terminal, whose size is told.
    pub tty: bool,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With this exit code.
    Exited(i32),
    /// It did not run, or nobody knows how it ended.
    Failed(String),
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    /// Columns.
    #[serde(alias = "width")]
    pub width: u16,
    /// Rows.
    #[serde(alias = "height")]
    pub height: u16,
}

/// A stream's purpose. Its number is that of its WebSocket channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize];

    /// SPDY's `streamType` header.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
        }
    }

    /// Whether there is one.
    pub(crate) fn is_wanted(self, wanted: Wanted, version: Version) -> bool {
        match self {
            Self::Stdin => wanted.stdin,
            Self::Stdout => wanted.stdout,
            Self::Stderr => wanted.stderr && !wanted.tty,
            Self::Error => true,
            Self::Resize => wanted.tty && version.has_resize(),
        }
    }
}

/// SPDY's header that says what a stream is for.
pub(crate) const STREAM_TYPE: &str = "streamtype";

/// An exec or attach, with what its client wanted.
#[derive(Debug)]
pub struct Session {
    /// What the client sends.
    pub stdin: Option<Incoming>,
    /// Where output goes.
    pub stdout: Option<Outgoing>,
    /// Where the output of errors goes.
    pub stderr: Option<Outgoing>,
    /// The sizes of the client's terminal.
    pub resize: Option<Sizes>,
    /// The rest.
    pub control: Control,
}

/// The session itself, beside its streams.
#[derive(Debug)]
pub struct Control {
    version: Version,
    error: Outgoing,
    /// Every stream but the error's.
    others: Vec<Outgoing>,
    connection: Connection,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection ended first.
    #[error("the client went before its streams were open")]
    Gone,
    /// Streams are missing.
    #[error("the client did not open its {0} stream in time")]
    Missing(&'static str),
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Session {
    /// Over SPDY: waits for the client to open its streams.
    ///
    /// # Errors
    /// [`Error`]: it does not, or goes.
    pub async fn spdy<T>(io: T, peer: Option<Peer>, wanted: Wanted, version: Version) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (connection, mut offers) = spdy::serve(io, peer);
        let mut streams = Streams::default();
        let opened = async {
            while let Some(kind) = streams.missing(wanted, version) {
                let offer = offers.recv().await.ok_or(Error::Gone)?;
                tracing::trace!(stream = offer.id, waiting_for = kind.name(), "a stream is opened");
                streams.take(offer, wanted, version).await?;
            }
            Ok::<_, Error>(())
        };
        match tokio::time::timeout(OPENING, opened).await {
            Ok(opened) => opened?,
            Err(_) => {
                let missing = streams.missing(wanted, version).map_or("last", Kind::name);
                connection.close(Closing::Protocol("streams are missing".into())).await;
                return Err(Error::Missing(missing));
            }
        }
        refuse_others(offers);
        streams.session(version, connection)
    }

    /// Over the channels of a WebSocket.
    ///
    /// # Errors
    /// [`Error::Gone`]
    pub async fn websocket<T>(io: T, peer: Option<Peer>, wanted: Wanted, agreed: Channels) -> Result<Self, Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let protocol =
            websocket::Protocol { encoding: agreed.encoding, close_signal: agreed.version.has_close_signal() };
        let (connection, channels) = websocket::channels(io, peer, Role::Server, protocol, 5);
        let mut streams = Streams::default();
        for (kind, halves) in Kind::ALL.into_iter().zip(channels) {
            if kind.is_wanted(wanted, agreed.version) {
                streams.set(kind, halves);
            }
        }
        let session = streams.session(agreed.version, connection)?;
        // The client learns by an empty message that it is connected.
        let first = session.stdout.as_ref().or(session.stderr.as_ref()).unwrap_or(&session.control.error);
        first.send(Bytes::new()).await?;
        Ok(session)
    }
}

/// Streams that come late are refused, or they would hold the connection up.
fn refuse_others(mut offers: mpsc::Receiver<Offer>) {
    tokio::spawn(async move {
        while let Some(offer) = offers.recv().await {
            offer.refuse().await;
        }
    });
}

/// Streams by their kind, until all are there.
#[derive(Debug, Default)]
struct Streams([Option<(Incoming, Outgoing)>; 5]);

impl Streams {
    fn missing(&self, wanted: Wanted, version: Version) -> Option<Kind> {
        let mut kinds = Kind::ALL.into_iter().zip(&self.0);
        kinds.find(|(kind, stream)| kind.is_wanted(wanted, version) && stream.is_none()).map(|(kind, _)| kind)
    }

    async fn take(&mut self, offer: Offer, wanted: Wanted, version: Version) -> Result<(), Error> {
        let name = offer.headers.get(STREAM_TYPE).unwrap_or_default().to_owned();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        match kind.filter(|kind| kind.is_wanted(wanted, version) && self.slot(*kind).is_none()) {
            Some(kind) => {
                let halves = offer.accept().await?;
                self.set(kind, halves);
            }
            None => {
                tracing::debug!(name, "a stream that is unknown, not wanted or there already is refused");
                offer.refuse().await;
            }
        }
        Ok(())
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<(Incoming, Outgoing)> {
        &mut self.0[kind as usize]
    }

    fn set(&mut self, kind: Kind, halves: (Incoming, Outgoing)) {
        *self.slot(kind) = Some(halves);
    }

    fn session(mut self, version: Version, connection: Connection) -> Result<Session, Error> {
        let mut others = Vec::new();
        let mut split = |kind| {
            let (incoming, outgoing) = self.slot(kind).take()?;
            others.push(outgoing.clone());
            Some((incoming, outgoing))
        };
        let stdin = split(Kind::Stdin).map(|(incoming, _)| incoming);
        let stdout = split(Kind::Stdout).map(|(_, outgoing)| outgoing);
        let stderr = split(Kind::Stderr).map(|(_, outgoing)| outgoing);
        let resize = split(Kind::Resize).map(|(incoming, _)| Sizes { incoming, begun: Vec::new() });
        let (_, error) = self.slot(Kind::Error).take().ok_or(Error::Gone)?;
        Ok(Session { stdin, stdout, stderr, resize, control: Control { version, error, others, connection } })
    }
}

impl Control {
    /// Resolves when the client is gone.
    pub async fn gone(&mut self) {
        self.connection.ended().await;
    }

    /// Tells the client how it ended, and closes. Everything sent before is delivered first, if the client reads it within
    /// [`crate::stream::LINGER`] of its end.
    pub async fn end(self, outcome: &Outcome) {
        let Self { version, error, others, connection } = self;
        let saying = async {
            for stream in &others {
                stream.finish().await?;
            }
            let status = status::write(version, outcome);
            if !status.is_empty() {
                error.send(status.into()).await?;
            }
            error.finish().await
        };
        match tokio::time::timeout(crate::stream::LINGER, saying).await {
            Ok(_) => connection.close(Closing::Normal).await,
            Err(_) => tracing::debug!("a client does not read how its command ended: it is cut off"),
        }
    }
}

/// The sizes of a client's terminal, as they come.
#[derive(Debug)]
pub struct Sizes {
    incoming: Incoming,
    begun: Vec<u8>,
}

impl Sizes {
    /// The next size; `None` when no more will come, or what came is not a size. May be cancelled.
    pub async fn next(&mut self) -> Option<Size> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.begun).into_iter::<Size>();
            match values.next() {
                Some(Ok(size)) => {
                    let read = values.byte_offset();
                    self.begun.drain(..read.min(self.begun.len()));
                    return Some(size);
                }
                Some(Err(error)) if !error.is_eof() => {
                    tracing::debug!(%error, "what a client sends is not a terminal's size");
                    return None;
                }
                _ if self.begun.len() > MAX_SIZE => return None,
                Some(Err(_)) | None => self.begun.extend(self.incoming.next().await.ok().flatten()?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::stream::Budget;

    async fn sizes(pieces: &[&'static [u8]]) -> Vec<Size> {
        let (inlet, incoming) = Budget::new().stream();
        for piece in pieces {
            inlet.push(Bytes::from_static(piece)).await;
        }
        inlet.end();
        let mut sizes = Sizes { incoming, begun: Vec::new() };
        let mut all = Vec::new();
        while let Some(size) = sizes.next().await {
            all.push(size);
        }
        all
    }

    #[tokio::test]
    async fn sizes_come_in_any_pieces() {
        let expected = [Size { width: 80, height: 24 }, Size { width: 132, height: 50 }];
        let whole = b"{\"Width\":80,\"Height\":24}\n{\"Width\":132,\"Height\":50}\n";
        assert_eq!(sizes(&[whole]).await, expected);
        let (a, b) = whole.split_at(30);
        assert_eq!(sizes(&[a, b]).await, expected);
    }

    #[tokio::test]
    async fn what_is_not_a_size_ends_them() {
        for bad in [&b"{\"Width\":-1,\"Height\":2}"[..], b"[]", b"\xff", b"{\"Width\":70000,\"Height\":2}"] {
            assert_eq!(sizes(&[b"{\"Width\":1,\"Height\":2}", bad, b"{\"Width\":3,\"Height\":4}"]).await.len(), 1);
        }
    }

    #[tokio::test]
    async fn an_endless_size_is_not_held() {
        static SPACE: [u8; 4096] = [b' '; 4096];
        assert_eq!(sizes(&[b"{\"Width\":", &SPACE, b"1,\"Height\":2}"]).await.len(), 0);
        assert_eq!(sizes(&[&SPACE, b"{\"Width\":1,\"Height\":2}"]).await.len(), 0);
        assert_eq!(sizes(&[&SPACE, &SPACE, b" "]).await.len(), 0);
    }
}
