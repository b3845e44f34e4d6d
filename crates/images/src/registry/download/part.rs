//! A part of a blob, fetched by a task of its own over one connection at a time.

use std::{mem, ops::Range, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use reqwest::Response;
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::JoinHandle,
    time::Instant,
};

use super::{Pace, Retries, range::Answer, sources::Sources};
use crate::registry::{
    answer::Trouble,
    endpoint::{Endpoint, Kind},
};

/// Bytes come in pieces of this size, in memory of their own: the network's own buffers are of its choosing.
const PIECE: u64 = 128 << 10;

/// What a part is of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The first range. It becomes the whole if that is what the host answers.
    First,
    /// One range of several.
    Range,
    /// All that is left, over a single connection.
    Whole,
}

/// What happens to a part, in order.
pub(super) enum Item {
    Bytes(Bytes),
    /// The host does ranges.
    Ranged,
    /// The host does not do ranges, so nothing more comes of this part.
    Unranged,
    /// There is no more.
    End,
    /// Every host failed.
    Failed,
}

/// A part that is being fetched. It ends with the value.
pub(super) struct Part {
    items: mpsc::Receiver<Item>,
    task: JoinHandle<()>,
}

impl Part {
    /// Begins to fetch. A range waits in memory as a whole until it is taken; of more than that, `window` bytes.
    pub fn start(sources: &Arc<Sources>, role: Role, range: Range<u64>, window: u64) -> Self {
        let piece = PIECE.min(window / 4).max(1);
        let length = range.end.saturating_sub(range.start);
        let pieces = match role {
            // With what else happens to it.
            Role::First | Role::Range => length.div_ceil(piece).saturating_add(2),
            // One more is being filled, and one waits to be put in.
            Role::Whole => (window.min(length) / piece).saturating_sub(2),
        };
        let (sender, items) = mpsc::channel(usize::try_from(pieces).unwrap_or(usize::MAX).clamp(1, 1 << 16));
        let fetch = Fetch {
            pace: Pace::new(&sources.settings, sources.received.clone()),
            retries: Retries::new(&sources.settings),
            sources: sources.clone(),
            sender,
            role,
            position: range.start,
            end: range.end,
            buffer: Vec::new(),
            piece,
        };
        Self { items, task: tokio::spawn(fetch.run()) }
    }

    /// Whether it has a connection still.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// The next thing that happened, without waiting for it.
    pub fn try_next(&mut self) -> Option<Item> {
        match self.items.try_recv() {
            Ok(item) => Some(item),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Item::Failed),
        }
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> Item {
        self.items.recv().await.unwrap_or(Item::Failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection does not go on.
enum Stop {
    Trouble(Trouble),
    Unranged,
    Failed,
    /// Nobody takes the bytes any more.
    Gone,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// How an answer went on to its end.
enum Read {
    /// All that was promised came.
    Promised,
    /// The blob is shorter than its descriptor says.
    Short,
}

/// The task that fetches a part.
struct Fetch {
    sources: Arc<Sources>,
    sender: mpsc::Sender<Item>,
    role: Role,
    /// The next byte to come.
    position: u64,
    end: u64,
    pace: Pace,
    retries: Retries,
    buffer: Vec<u8>,
    piece: u64,
}

impl Fetch {
    async fn run(mut self) {
        let last = match self.fetch().await {
            Ok(()) => Item::End,
            Err(Stop::Unranged) => Item::Unranged,
            Err(Stop::Gone) => return,
            Err(Stop::Trouble(_) | Stop::Failed) => Item::Failed,
        };
        let _ = self.sender.send(last).await;
    }

    /// Asks one host after the other until all is there; what came from one is not asked from the next.
    async fn fetch(&mut self) -> Result<(), Stop> {
        while self.position < self.end {
            let (place, endpoint) = self.sources.current().ok_or(Stop::Failed)?;
            let trouble = match self.ask(&endpoint).await {
                Ok(Read::Promised) => continue,
                Ok(Read::Short) => break,
                Err(Stop::Trouble(trouble)) => trouble,
                Err(stop) => return Err(stop),
            };
            if let Err(trouble) = self.retries.pause(trouble).await {
                self.sources.leave(place, trouble);
                self.retries = Retries::new(&self.sources.settings);
            }
        }
        self.flush().await
    }

    /// Asks a host for what is missing. Every request begins with the registry's own URL: where it redirects to may be valid
    /// for a short time only.
    async fn ask(&mut self, endpoint: &Endpoint) -> Result<Read, Stop> {
        let part = self.role != Role::Whole || self.position > 0;
        let asked = (part && endpoint.does_ranges()).then_some(self.position..self.end);
        if asked.is_none() {
            self.be_whole()?;
        }
        let start = Instant::now();
        let response = endpoint.get(Kind::Blob, &self.sources.content.digest.to_string(), asked.as_ref()).await;
        self.retries.progress(0, start.elapsed());
        let response = response?;
        match Answer::of(&response, asked.as_ref(), self.sources.content.size) {
            Answer::Part { end } => {
                if self.role == Role::First {
                    self.role = Role::Range;
                    self.send(Item::Ranged).await?;
                }
                self.read_part(response, end).await
            }
            Answer::Whole => {
                if asked.is_some() {
                    endpoint.without_ranges();
                }
                self.be_whole()?;
                self.read_whole(response).await
            }
            Answer::Wrong => {
                tracing::debug!(host = endpoint.host(), status = %response.status(), "host does not do ranges");
                endpoint.without_ranges();
                self.be_whole()?;
                // Nothing came, but the next request is another one.
                Ok(Read::Promised)
            }
        }
    }

    /// The host sends nothing but whole blobs.
    fn be_whole(&mut self) -> Result<(), Stop> {
        match self.role {
            Role::Range => return Err(Stop::Unranged),
            Role::First => (self.role, self.end) = (Role::Whole, self.sources.content.size),
            Role::Whole => {}
        }
        Ok(())
    }

    async fn read_part(&mut self, mut response: Response, end: u64) -> Result<Read, Stop> {
        self.pace.restart();
        while self.position < end {
            let mut chunk = self.chunk(&mut response).await?.ok_or_else(|| self.broken_off())?;
            chunk.truncate(usize::try_from(end - self.position).unwrap_or(usize::MAX));
            self.take(&chunk).await?;
        }
        Ok(Read::Promised)
    }

    /// Reads a whole blob, leaving out what was there already. What is more than the blob's size is passed on, for its reader
    /// to see.
    async fn read_whole(&mut self, mut response: Response) -> Result<Read, Stop> {
        self.pace.restart();
        let (said, mut skip) = (response.content_length().is_some(), self.position);
        while self.position < self.end {
            let mut chunk = match self.chunk(&mut response).await? {
                Some(chunk) => chunk,
                None if said => return Ok(Read::Short),
                None => return Err(self.broken_off().into()),
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(known);
            skip -= known as u64;
            self.take(&chunk).await?;
        }
        Ok(Read::Promised)
    }

    async fn chunk(&mut self, response: &mut Response) -> Result<Option<Bytes>, Trouble> {
        let (chunk, spent): (_, Duration) = self.pace.chunk(response).await;
        self.retries.progress(0, spent);
        chunk
    }

    fn broken_off(&self) -> Trouble {
        let (position, end) = (self.position, self.end);
        Trouble::Unavailable(format!("the body ended at byte {position} of {end}"), super::Again::Soon)
    }

    /// Takes bytes that were not there before.
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let length = bytes.len() as u64;
        self.position = self.position.saturating_add(length);
        self.retries.progress(length, Duration::ZERO);
        let piece = usize::try_from(self.piece).unwrap_or(usize::MAX);
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                let missing = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
                self.buffer.reserve_exact(piece.min(missing.saturating_add(bytes.len())));
            }
            let room = piece.saturating_sub(self.buffer.len()).min(bytes.len());
            let Some((now, later)) = bytes.split_at_checked(room) else { break };
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= piece {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        match self.buffer.is_empty() {
            true => Ok(()),
            false => {
                let piece = Bytes::from(mem::take(&mut self.buffer));
                self.send(Item::Bytes(piece)).await
            }
        }
    }

    async fn send(&self, item: Item) -> Result<(), Stop> {
        self.sender.send(item).await.map_err(|_| Stop::Gone)
    }
}
