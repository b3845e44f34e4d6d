//! The driver of a connection, either end.
//!
//! Reader and writer run in one task. What they share is the table of open streams. There is no flow control: a stream that
//! nobody reads holds up the whole connection once [`BUDGET`](crate::stream::BUDGET) is used up.

use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::header_block::{Compressor, Headers};
use crate::peer::Peer;
use crate::stream::{Closing, Command, Connection, Gone, Incoming, LINGER, Outgoing, queue};
use reader::{Ended, Reader};
use streams::{Role, Streams};
use writer::Writer;

mod batch;
mod reader;
mod streams;
#[cfg(test)]
mod tests;
mod writer;

/// The most streams that are open at once.
pub const STREAMS_LIMIT: usize = 1024;

/// The most offers that wait to be taken.
const OFFERS: usize = 4;

/// How much is discarded at once of what comes after the end.
const DISCARD: usize = 16 * 1024;

/// The server's end of a connection. The receiver yields the streams that the other end opens, in order; they must be
/// taken for anything else to be read. The peer is watched while nothing is read.
pub fn serve<T>(io: T, peer: Option<Peer>) -> (Connection, mpsc::Receiver<Offer>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (commands, queued) = queue();
    let (offers, offered) = mpsc::channel(OFFERS);
    let driver = drive(io, Streams::new(Role::Server), Ends { commands: commands.clone(), queued, offers, peer });
    (Connection::new(commands, driver), offered)
}

/// The client's end of a connection.
pub fn connect<T>(io: T) -> (Connection, Opener)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (commands, queued) = queue();
    // A client takes no streams: without a receiver, all that are offered are refused.
    let (offers, _) = mpsc::channel(1);
    let driver = drive(io, Streams::new(Role::Client), Ends { commands: commands.clone(), queued, offers, peer: None });
    (Connection::new(commands.clone(), driver), Opener { commands })
}

/// A stream that the other end has opened. Dropped, it is refused.
#[derive(Debug)]
pub struct Offer {
    /// What the other end says about it.
    pub headers: Headers,
    /// Its number.
    pub id: u32,
    incoming: Incoming,
    commands: mpsc::Sender<Command>,
    unanswered: Unanswered,
}

impl Offer {
    /// Takes the stream.
    ///
    /// # Errors
    /// [`Gone`] if the connection has ended.
    pub async fn accept(self) -> Result<(Incoming, Outgoing), Gone> {
        let Self { id, incoming, commands, mut unanswered, .. } = self;
        commands.send(Command::Accept { stream: id }).await.map_err(|_| Gone)?;
        unanswered.0 = None;
        Ok((incoming, Outgoing::new(id, commands)))
    }

    /// Refuses the stream, behind what is queued.
    pub async fn refuse(self) {
        let Self { id, commands, mut unanswered, .. } = self;
        let refusal = Command::Reset { stream: id, status: super::frame::reset::REFUSED_STREAM };
        if commands.send(refusal).await.is_ok() {
            unanswered.0 = None;
        }
    }
}

/// The number of an offered stream, as long as nothing was said about it, and whom to tell if nothing ever is. That is
/// no more than the open streams, so the channel needs no bound.
#[derive(Debug)]
struct Unanswered(Option<(u32, mpsc::UnboundedSender<u32>)>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some((stream, refused)) = self.0.take() {
            let _ = refused.send(stream);
        }
    }
}

/// Opens streams.
#[derive(Debug, Clone)]
pub struct Opener {
    commands: mpsc::Sender<Command>,
}

impl Opener {
    /// Opens a stream. Does not wait for the other end to accept it: if it refuses, [`Incoming::next`] says [`Gone`].
    ///
    /// # Errors
    /// [`Gone`] if the connection has ended or is about to, if [`STREAMS_LIMIT`] is reached, or if the headers cannot be sent.
    pub async fn open(&self, headers: Headers) -> Result<(Incoming, Outgoing), Gone> {
        let (opened, halves) = oneshot::channel();
        let open = Command::Open { headers: headers.into_pairs(), opened };
        self.commands.send(open).await.map_err(|_| Gone)?;
        halves.await.map_err(|_| Gone)
    }
}

/// What a driver has besides the socket.
struct Ends {
    commands: mpsc::Sender<Command>,
    queued: mpsc::Receiver<Command>,
    offers: mpsc::Sender<Offer>,
    peer: Option<Peer>,
}

/// Until the socket has ended, or everything up to [`Command::Close`] is written and the other end has closed, too.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(io: T, streams: Streams, ends: Ends) {
    let (mut read, mut write) = tokio::io::split(io);
    match run(&mut read, &mut write, &streams, ends).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return tracing::debug!(%error, "a SPDY connection failed"),
    }
    streams.clear();
    if tokio::time::timeout(LINGER, discard(&mut read)).await.is_err() {
        tracing::debug!("the other end of a SPDY connection does not close: it is cut");
    }
}

/// Whether the connection was closed from here; otherwise, it has ended.
async fn run(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    streams: &Streams,
    Ends { commands, queued, offers, peer }: Ends,
) -> io::Result<bool> {
    let (refused, refusals) = mpsc::unbounded_channel();
    let compressor = Compressor::new().map_err(io::Error::other)?;
    let mut reader = Reader::new(streams, commands.clone(), offers, refused, peer.as_ref());
    let mut writer = Writer::new(write, streams, commands.clone(), compressor);
    let (mut reading, mut writing) = (pin!(reader.run(read)), pin!(writer.run(queued, refusals)));
    let violation = tokio::select! {
        ended = &mut reading => match ended {
            Ended::Closed => return Ok(false),
            Ended::Failed(error) => return Err(error),
            Ended::Violation(violation) => violation,
        },
        written = &mut writing => return written.map(|()| true),
    };
    tracing::debug!(%violation, "a SPDY connection is closed");
    streams.clear();
    let closing = async {
        let _ = commands.send(Command::Close(Closing::Protocol(violation.to_string()))).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = closing => Ok(false),
        () = tokio::time::sleep(LINGER) => Ok(false),
        written = writing => written.map(|()| true),
    }
}

async fn discard(mut read: impl AsyncRead + Unpin) {
    let mut discarded = vec![0; DISCARD];
    while let Ok(1..) = read.read(&mut discarded).await {}
}
