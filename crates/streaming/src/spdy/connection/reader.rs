//! What comes.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::streams::{Destination, Opened, Streams};
use super::{Offer, Unanswered};
use crate::peer::{Peer, gone};
use crate::spdy::frame::{Decoder, Frame, FrameError, reset};
use crate::spdy::header_block::{BlockError, Decompressor, Headers};
use crate::stream::Command;

/// The most bytes that are read at once, and that wait to be decoded.
const BUFFER: usize = 64 * 1024;

/// With less room than this, what comes is read into a new buffer.
const ROOM: usize = 32 * 1024;

/// Pieces of fewer bytes are copied out of the buffer they came in: otherwise a byte that nobody takes would hold all of
/// its buffer.
const COPIED: usize = 16 * 1024;

/// How often something is sent while nothing is read.
const KNOCK: Duration = Duration::from_secs(5);

/// A ping that a client could have sent, and never does: as an answer it means nothing to it.
const NEVER_ASKED: u32 = u32::MAX;

/// Why nothing more is read.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other end has closed the connection, or this one has given it up.
    Closed,
    /// Reading failed.
    Failed(io::Error),
    /// The other end did what it must not.
    Violation(Violation),
}

/// What the other end must not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error("a SYN_STREAM frame for stream {0}, which is not a new one of its sender's")]
    Misnumbered(u32),
}

impl<E: Into<Violation>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Violation(error.into())
    }
}

pub(super) struct Reader<'a> {
    streams: &'a Streams,
    commands: mpsc::Sender<Command>,
    offers: mpsc::Sender<Offer>,
    refused: mpsc::UnboundedSender<u32>,
    peer: Option<&'a Peer>,
    frames: Decoder,
    headers: Decompressor,
    /// The stream for which the other end was told last that what it sends is dropped.
    told: Option<u32>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        streams: &'a Streams,
        commands: mpsc::Sender<Command>,
        offers: mpsc::Sender<Offer>,
        refused: mpsc::UnboundedSender<u32>,
        peer: Option<&'a Peer>,
    ) -> Self {
        let (frames, headers) = (Decoder::default(), Decompressor::default());
        Self { streams, commands, offers, refused, peer, frames, headers, told: None }
    }

    pub(super) async fn run(&mut self, mut io: impl AsyncRead + Unpin) -> Ended {
        let mut input = BytesMut::with_capacity(BUFFER);
        loop {
            if let Err(ended) = self.take(&mut input).await {
                return ended;
            }
            if input.capacity().saturating_sub(input.len()) < ROOM {
                input.reserve(BUFFER.saturating_sub(input.len()));
            }
            match io.read_buf(&mut (&mut input).limit(BUFFER)).await {
                Ok(0) => return Ended::Closed,
                Ok(_) => {}
                Err(error) => return Ended::Failed(error),
            }
        }
    }

    /// Everything that is complete.
    async fn take(&mut self, input: &mut BytesMut) -> Result<(), Ended> {
        while let Some(frame) = self.frames.decode(input)? {
            match frame {
                Frame::Data { stream, bytes, fin } => self.data(stream, bytes, fin).await?,
                Frame::SynStream { stream, fin, unidirectional, block, .. } => {
                    let headers = self.headers.read(&block)?;
                    self.opened(stream, headers, fin, unidirectional).await?;
                }
                Frame::SynReply { stream, fin, block } | Frame::Headers { stream, fin, block } => {
                    self.headers.read(&block)?;
                    if fin {
                        self.streams.their_end(stream);
                    }
                }
                Frame::RstStream { stream, .. } => self.streams.reset(stream),
                Frame::Ping(number) if self.streams.role.is_theirs(number) => {
                    self.command(Command::Pong(Bytes::copy_from_slice(&number.to_be_bytes()))).await?;
                }
                Frame::GoAway { .. } => self.streams.go_away(),
                Frame::Ping(_) | Frame::Settings | Frame::WindowUpdate { .. } => {}
            }
        }
        Ok(())
    }

    async fn opened(&mut self, stream: u32, headers: Headers, fin: bool, unidirectional: bool) -> Result<(), Ended> {
        match self.streams.opened(stream, fin, unidirectional) {
            Opened::Misnumbered => Err(Violation::Misnumbered(stream).into()),
            Opened::Refused => self.command(Command::Reset { stream, status: reset::REFUSED_STREAM }).await,
            Opened::Offered(incoming) => {
                let unanswered = Unanswered(Some((stream, self.refused.clone())));
                let offer = Offer { headers, id: stream, incoming, commands: self.commands.clone(), unanswered };
                // Not taken, it is dropped, and so refused.
                let offered = self.offers.send(offer);
                self.unless_gone(offered).await.map(drop)
            }
        }
    }

    async fn data(&mut self, stream: u32, bytes: Bytes, fin: bool) -> Result<(), Ended> {
        match self.streams.destination(stream) {
            Destination::Sink(sink) => {
                let bytes = if bytes.len() < COPIED { Bytes::copy_from_slice(&bytes) } else { bytes };
                let pushed = async {
                    tokio::select! {
                        biased;
                        () = sink.inlet.push(bytes) => {}
                        () = sink.given_up.notified() => {}
                    }
                };
                self.unless_gone(pushed).await?;
                if fin {
                    self.streams.their_end(stream);
                }
                Ok(())
            }
            Destination::Nowhere(_) if self.told == Some(stream) => Ok(()),
            Destination::Nowhere(status) => {
                self.told = Some(stream);
                self.command(Command::Reset { stream, status }).await
            }
        }
    }

    async fn command(&self, command: Command) -> Result<(), Ended> {
        self.unless_gone(self.commands.send(command)).await?.map_err(|_| Ended::Closed)
    }

    /// Waits for something other than the socket: the end of which has to be looked for then.
    async fn unless_gone<F: Future>(&self, waited_for: F) -> Result<F::Output, Ended> {
        tokio::select! {
            biased;
            output = waited_for => Ok(output),
            () = gone(self.peer) => Err(Ended::Closed),
            never = knock(&self.commands), if self.peer.is_some() => match never {},
        }
    }
}

/// Sends a client something now and then. If it has gone, its end may be behind bytes that its kernel has no way to send as
/// long as nothing is read; but to what comes for it, its kernel answers with a reset.
async fn knock(commands: &mpsc::Sender<Command>) -> Infallible {
    loop {
        tokio::time::sleep(KNOCK).await;
        // While the queue is full, something is being sent anyway.
        let _ = commands.try_send(Command::Pong(Bytes::copy_from_slice(&NEVER_ASKED.to_be_bytes())));
    }
}
