//! The streams of a multiplexed connection, whatever multiplexes them.
//!
//! A connection's driver (SPDY's or WebSocket's) is one task. It takes commands from a short queue and writes them, and it
//! hands what it reads to the streams' inlets. Memory is bounded both ways: outwards by the queue, whose senders wait;
//! inwards by a budget ([`BUDGET`]) that all streams of the connection share. When the budget is used up, the connection is
//! not read any more until somebody takes what has come: neither protocol, as Kubernetes speaks it, has flow control of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// The most bytes that one [`Outgoing::send`] takes.
pub const CHUNK: usize = 32 * 1024;

/// The most bytes that have come and nobody has taken, of all streams of a connection.
pub const BUDGET: usize = 256 * 1024;

/// The most commands that wait to be written.
const QUEUE: usize = 8;

/// What a chunk costs beside its bytes.
const OVERHEAD: usize = 128;

/// How long a closing connection is given: to send what is queued, and then for the other end to close too.
pub const LINGER: Duration = Duration::from_secs(10);

/// The connection is gone, or the stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is gone")]
pub struct Gone;

/// What a connection's driver is asked to write.
#[derive(Debug)]
pub(crate) enum Command {
    /// Bytes of a stream: at most [`CHUNK`].
    Data { stream: u32, bytes: Bytes },
    /// The stream's last word in this direction.
    Finish { stream: u32 },
    /// The stream is given up, both ways (SPDY).
    Reset { stream: u32, status: u32 },
    /// A stream that the other end opened is accepted (SPDY).
    Accept { stream: u32 },
    /// A stream is opened (SPDY). Both ends of it come back.
    Open { headers: Vec<(String, String)>, opened: oneshot::Sender<(Incoming, Outgoing)> },
    /// An answer to a ping (SPDY).
    Pong(Bytes),
    /// Everything before this is written; then the connection is closed, for this reason.
    Close(Closing),
}

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// All is said.
    Normal,
    /// The other end did what it must not.
    Protocol(String),
    /// Something failed here.
    Internal(String),
}

/// A connection. Dropped, it is cut at once; [`Connection::close`] is the polite way.
#[derive(Debug)]
pub struct Connection {
    commands: mpsc::Sender<Command>,
    driver: Driver,
}

#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The queue of a connection that is about to be driven.
pub(crate) fn queue() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(QUEUE)
}

impl Connection {
    /// Over a driver, which returns when the connection has ended.
    pub(crate) fn new(commands: mpsc::Sender<Command>, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { commands, driver: Driver(tokio::spawn(driver)) }
    }

    /// Resolves when the connection has ended: the other end has closed it, or it failed.
    pub async fn ended(&mut self) {
        // A handle must not be polled after it is ready.
        if !self.driver.0.is_finished() {
            let _ = (&mut self.driver.0).await;
        }
    }

    /// Sends what is queued, says why, closes, and waits for the other end to do the same, for at most [`LINGER`].
    pub async fn close(mut self, why: Closing) {
        let closing = async {
            let _ = self.commands.send(Command::Close(why)).await;
            self.ended().await;
        };
        if tokio::time::timeout(LINGER, closing).await.is_err() {
            tracing::debug!("the other end of a connection does not read or close: it is cut");
        }
    }
}

/// What a connection may hold of what has come and nobody has taken.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }

    /// Both ends of the incoming half of a stream.
    pub(crate) fn stream(&self) -> (Inlet, Incoming) {
        let (sender, pieces) = mpsc::unbounded_channel();
        (Inlet { budget: self.clone(), sender }, Incoming { pieces, ended: false })
    }
}

#[derive(Debug)]
enum Piece {
    /// Counted in the budget until they are taken.
    Data {
        bytes: Bytes,
        _counted: OwnedSemaphorePermit,
    },
    End,
}

/// Where a driver puts what comes for a stream.
#[derive(Debug)]
pub(crate) struct Inlet {
    budget: Budget,
    sender: mpsc::UnboundedSender<Piece>,
}

impl Inlet {
    /// Hands bytes over: at most a quarter of [`BUDGET`] at once. Waits while the budget is used up. Bytes of a stream that
    /// nobody reads any more are dropped.
    pub(crate) async fn push(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let cost = u32::try_from(bytes.len().saturating_add(OVERHEAD).min(BUDGET)).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            () = self.sender.closed() => {}
            permit = self.budget.0.clone().acquire_many_owned(cost) => {
                if let Ok(permit) = permit {
                    let _ = self.sender.send(Piece::Data { bytes, _counted: permit });
                }
            }
        }
    }

    /// The other end has said its last word.
    pub(crate) fn end(&self) {
        let _ = self.sender.send(Piece::End);
    }
}

/// What the other end sends on a stream.
#[derive(Debug)]
pub struct Incoming {
    pieces: mpsc::UnboundedReceiver<Piece>,
    ended: bool,
}

impl Incoming {
    /// The next bytes, never none of them; `None` when the other end has said its last word. May be cancelled.
    ///
    /// # Errors
    /// [`Gone`] if the stream was reset or the connection ended before that.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        if self.ended {
            return Ok(None);
        }
        match self.pieces.recv().await {
            Some(Piece::Data { bytes, .. }) => Ok(Some(bytes)),
            Some(Piece::End) => {
                self.ended = true;
                Ok(None)
            }
            None => Err(Gone),
        }
    }

    /// Everything up to the other end's last word or the end of the connection, but at most `limit` bytes: the rest is
    /// dropped.
    pub async fn collect(&mut self, limit: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(Some(bytes)) = self.next().await {
            let room = limit.saturating_sub(all.len());
            all.extend(bytes.iter().take(room));
        }
        all
    }
}

/// What is sent on a stream.
#[derive(Debug, Clone)]
pub struct Outgoing {
    stream: u32,
    commands: mpsc::Sender<Command>,
}

impl Outgoing {
    pub(crate) fn new(stream: u32, commands: mpsc::Sender<Command>) -> Self {
        Self { stream, commands }
    }

    /// Sends bytes, however many; waits while the other end does not read. If it is cancelled, some of them may have been sent.
    ///
    /// # Errors
    /// [`Gone`] if the connection has ended.
    pub async fn send(&self, mut bytes: Bytes) -> Result<(), Gone> {
        loop {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            self.command(Command::Data { stream: self.stream, bytes: chunk }).await?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Says that nothing more will be sent, where the protocol has a way to say so.
    ///
    /// # Errors
    /// [`Gone`] if the connection has ended.
    pub async fn finish(&self) -> Result<(), Gone> {
        self.command(Command::Finish { stream: self.stream }).await
    }

    /// Gives the stream up, both ways, where the protocol has a way to say so.
    pub async fn reset(&self) {
        let _ = self.command(Command::Reset { stream: self.stream, status: CANCEL }).await;
    }

    async fn command(&self, command: Command) -> Result<(), Gone> {
        self.commands.send(command).await.map_err(|_| Gone)
    }
}

/// SPDY/3.1, 2.6.3: the stream is no longer needed.
pub(crate) const CANCEL: u32 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn what_came_is_read_in_order_up_to_the_end() {
        let (inlet, mut incoming) = Budget::new().stream();
        inlet.push(Bytes::from_static(b"a")).await;
        inlet.push(Bytes::new()).await;
        inlet.push(Bytes::from_static(b"b")).await;
        inlet.end();
        drop(inlet);
        assert_eq!(incoming.next().await, Ok(Some(Bytes::from_static(b"a"))));
        assert_eq!(incoming.next().await, Ok(Some(Bytes::from_static(b"b"))));
        assert_eq!(incoming.next().await, Ok(None));
        assert_eq!(incoming.next().await, Ok(None));
    }

    #[tokio::test]
    async fn an_end_without_a_last_word_is_an_error() {
        let (inlet, mut incoming) = Budget::new().stream();
        drop(inlet);
        assert_eq!(incoming.next().await, Err(Gone));
    }

    #[tokio::test]
    async fn all_streams_together_hold_no_more_than_the_budget() {
        let budget = Budget::new();
        let (a, mut of_a) = budget.stream();
        let (b, mut of_b) = budget.stream();
        let mut held = 0;
        let chunk = Bytes::from(vec![0; CHUNK]);
        while tokio::time::timeout(Duration::from_millis(20), a.push(chunk.clone())).await.is_ok() {
            held += chunk.len();
        }
        assert!(held < BUDGET && held > BUDGET / 2, "{held}");
        let waiting = tokio::spawn(async move { b.push(Bytes::from(vec![1; CHUNK])).await });
        assert!(!waiting.is_finished());
        assert_eq!(of_a.next().await.unwrap().unwrap().len(), CHUNK);
        waiting.await.unwrap();
        assert_eq!(of_b.next().await.unwrap().unwrap()[0], 1);
    }

    #[tokio::test]
    async fn small_pieces_are_not_held_without_end() {
        let (inlet, _incoming) = Budget::new().stream();
        let mut pieces = 0;
        while tokio::time::timeout(Duration::from_millis(20), inlet.push(Bytes::from_static(b"x"))).await.is_ok() {
            pieces += 1;
        }
        assert!(pieces <= BUDGET / OVERHEAD, "{pieces}");
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_holds_nothing_up() {
        let (inlet, incoming) = Budget::new().stream();
        let full = Bytes::from(vec![0; BUDGET - OVERHEAD]);
        inlet.push(full.clone()).await;
        let waiting = tokio::spawn(async move { inlet.push(full).await });
        drop(incoming);
        waiting.await.unwrap();
    }
}
