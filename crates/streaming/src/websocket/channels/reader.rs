//! The half of a connection's driver that reads.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep_until};

use super::demultiplexer::{Demultiplexer, Event, Violation};
use super::pongs::Pongs;
use crate::peer::{Peer, gone};
use crate::stream::{CHUNK, Inlet};
use crate::websocket::frame::Close;

/// How often this end says that it is alive while others make it wait. client-go gives up after a minute without a pong, and
/// its pings are behind what is not being read.
const ALIVE: Duration = Duration::from_secs(5);

/// How reading ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The other end has sent its last frame.
    Closed(Option<Close>),
    /// The other end did what it must not.
    Violated(Violation),
    /// The other end is gone without a word.
    Lost,
}

pub(super) struct Reader<R> {
    io: R,
    peer: Option<Peer>,
    buffer: Box<[u8]>,
    /// The part of the buffer that has come and was not looked at.
    unread: Range<usize>,
    demultiplexer: Demultiplexer,
    /// By channel; none where the other end has said its last word.
    inlets: Vec<Option<Inlet>>,
    pongs: Arc<Pongs>,
    /// When this end says next that it is alive, if it waits then.
    due: Instant,
}

/// An [`Event`] that outlives the buffer.
enum Step {
    Data { channel: u8, bytes: Bytes },
    End { channel: u8 },
    Ping(Bytes),
    Pong,
    Close(Option<Close>),
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(
        io: R,
        peer: Option<Peer>,
        demultiplexer: Demultiplexer,
        inlets: Vec<Inlet>,
        pongs: Arc<Pongs>,
    ) -> Self {
        let inlets = inlets.into_iter().map(Some).collect();
        Self {
            io,
            peer,
            buffer: vec![0; CHUNK].into(),
            unread: 0..0,
            demultiplexer,
            inlets,
            pongs,
            due: Instant::now() + ALIVE,
        }
    }

    /// Reads to the end. Can be cancelled: what it was about to hand over is lost, then.
    pub(super) async fn run(&mut self) -> Ended {
        loop {
            match self.step() {
                Ok(Some(Step::Data { channel, bytes })) => {
                    if !self.deliver(channel, bytes).await {
                        return Ended::Lost;
                    }
                }
                Ok(Some(Step::End { channel })) => {
                    if let Some(inlet) = self.inlets.get_mut(usize::from(channel)).and_then(Option::take) {
                        inlet.end();
                    }
                }
                Ok(Some(Step::Ping(payload))) => self.pongs.answer(payload),
                Ok(Some(Step::Pong)) => {}
                Ok(Some(Step::Close(close))) => return Ended::Closed(close),
                Ok(None) => {
                    if !self.fill().await {
                        return Ended::Lost;
                    }
                }
                Err(violation) => return Ended::Violated(violation),
            }
        }
    }

    /// All channels end here, with a last word or (`clean` is false) without.
    pub(super) fn end(&mut self, clean: bool) {
        for inlet in self.inlets.drain(..).flatten() {
            if clean {
                inlet.end();
            }
        }
    }

    /// Reads on to the other end's last frame, if one comes, whatever comes before it.
    pub(super) async fn await_close(&mut self) {
        loop {
            match self.step() {
                Ok(Some(Step::Close(_))) | Err(_) => return,
                Ok(Some(_)) => {}
                Ok(None) => {
                    if !self.fill().await {
                        return;
                    }
                }
            }
        }
    }

    /// Reads on until the other end has closed the socket, whatever comes.
    pub(super) async fn drain(&mut self) {
        while self.fill().await {}
    }

    fn step(&mut self) -> Result<Option<Step>, Violation> {
        let mut input = self.buffer.get_mut(self.unread.clone()).unwrap_or_default();
        let step = match self.demultiplexer.next(&mut input)? {
            None => None,
            // A copy: a small piece must not keep the buffer.
            Some(Event::Data { channel, bytes }) => Some(Step::Data { channel, bytes: bytes.into_owned().into() }),
            Some(Event::End { channel }) => Some(Step::End { channel }),
            Some(Event::Ping(payload)) => Some(Step::Ping(payload)),
            Some(Event::Pong) => Some(Step::Pong),
            Some(Event::Close(close)) => Some(Step::Close(close)),
        };
        self.unread.start = self.unread.end.saturating_sub(input.len());
        Ok(step)
    }

    async fn fill(&mut self) -> bool {
        match self.io.read(&mut self.buffer).await {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.unread = 0..length;
                true
            }
        }
    }

    /// False, if the other end vanished meanwhile.
    async fn deliver(&mut self, channel: u8, bytes: Bytes) -> bool {
        let Some(Some(inlet)) = self.inlets.get(usize::from(channel)) else { return true };
        tokio::select! {
            biased;
            () = inlet.push(bytes) => true,
            () = gone(self.peer.as_ref()) => false,
            never = say_alive(&mut self.due, &self.pongs) => match never {},
        }
    }
}

/// Waits that are short, but many, make pings come late too: what is due is due whenever there is a wait.
async fn say_alive(due: &mut Instant, pongs: &Pongs) -> Infallible {
    loop {
        sleep_until(*due).await;
        pongs.unasked();
        *due = Instant::now() + ALIVE;
    }
}
