//! What is sent.

use std::io;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::streams::Streams;
use crate::spdy::frame::{Frame, goaway, reset};
use crate::spdy::header_block::{Compressor, Headers};
use crate::stream::{CANCEL, Closing, Command, Incoming, Outgoing};

/// With so many bytes, a batch is written though more is queued.
const BATCH: usize = 256 * 1024;

pub(super) struct Writer<'a, W> {
    io: W,
    streams: &'a Streams,
    commands: mpsc::Sender<Command>,
    headers: Compressor,
    batch: Batch,
}

/// Whether there is more to come.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    More,
    Close,
}

impl<'a, W: AsyncWrite + Unpin> Writer<'a, W> {
    pub(super) fn new(io: W, streams: &'a Streams, commands: mpsc::Sender<Command>, headers: Compressor) -> Self {
        let batch = Batch::new(io.is_write_vectored());
        Self { io, streams, commands, headers, batch }
    }

    /// Writes what is queued, up to [`Command::Close`], and closes this direction then.
    pub(super) async fn run(
        &mut self,
        mut queued: mpsc::Receiver<Command>,
        mut refusals: mpsc::UnboundedReceiver<u32>,
    ) -> io::Result<()> {
        loop {
            let mut then = tokio::select! {
                Some(command) = queued.recv() => self.put(command),
                Some(stream) = refusals.recv() => self.put(Command::Reset { stream, status: reset::REFUSED_STREAM }),
                else => return Ok(()),
            };
            while then == Then::More
                && self.batch.remaining() < BATCH
                && let Ok(command) = queued.try_recv()
            {
                then = self.put(command);
            }
            self.io.write_all_buf(&mut self.batch).await?;
            if then == Then::Close || queued.is_empty() {
                self.io.flush().await?;
            }
            if then == Then::Close {
                return self.io.shutdown().await;
            }
        }
    }

    fn put(&mut self, command: Command) -> Then {
        match command {
            Command::Data { stream, bytes } if self.streams.sends(stream) => self.batch.data(stream, bytes),
            Command::Data { .. } => {}
            Command::Finish { stream } => {
                if self.streams.our_end(stream) {
                    self.batch.frame(&Frame::Data { stream, bytes: Bytes::new(), fin: true });
                }
            }
            Command::Reset { stream, status } => self.reset(stream, status),
            Command::Accept { stream } if self.streams.sends(stream) => self.accept(stream),
            Command::Accept { .. } => {}
            Command::Open { headers, opened } => self.open(&headers.into_iter().collect(), opened),
            Command::Pong(number) => {
                if let Some(number) = number.first_chunk() {
                    self.batch.frame(&Frame::Ping(u32::from_be_bytes(*number)));
                }
            }
            Command::Close(why) => {
                let status = status(&why);
                self.batch.frame(&Frame::GoAway { last: self.streams.last_of_theirs(), status });
                return Then::Close;
            }
        }
        Then::More
    }

    fn reset(&mut self, stream: u32, status: u32) {
        self.streams.reset(stream);
        self.batch.frame(&Frame::RstStream { stream, status });
    }

    fn accept(&mut self, stream: u32) {
        match self.headers.write(&Headers::default()) {
            Ok(block) => self.batch.frame(&Frame::SynReply { stream, fin: false, block: block.into() }),
            Err(error) => {
                tracing::debug!(%error, stream, "a stream cannot be accepted");
                self.reset(stream, reset::REFUSED_STREAM);
            }
        }
    }

    /// Opens a stream; drops `opened` if that cannot be.
    fn open(&mut self, headers: &Headers, opened: oneshot::Sender<(Incoming, Outgoing)>) {
        // First, because a block that is made must be sent.
        let Some((stream, incoming)) = self.streams.open() else { return };
        let block = match self.headers.write(headers) {
            Ok(block) => block,
            Err(error) => {
                tracing::debug!(%error, "a stream cannot be opened");
                return self.streams.reset(stream);
            }
        };
        self.batch.frame(&Frame::SynStream {
            stream,
            associated: 0,
            priority: 0,
            fin: false,
            unidirectional: false,
            block: block.into(),
        });
        if opened.send((incoming, Outgoing::new(stream, self.commands.clone()))).is_err() {
            self.reset(stream, CANCEL);
        }
    }
}

fn status(why: &Closing) -> u32 {
    match why {
        Closing::Normal => goaway::OK,
        Closing::Protocol(_) => goaway::PROTOCOL_ERROR,
        Closing::Internal(_) => goaway::INTERNAL_ERROR,
    }
}
