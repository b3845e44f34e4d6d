//! Downloads: the bytes of a blob in order, however they come.
//!
//! A large blob is fetched as ranges over several connections, beginning with one: if the host answers it with the whole
//! blob, that is read and nothing else asked for. The same holds for every other answer that is not the range asked for: the
//! rest comes over a single connection. A connection that breaks or stalls is followed by another one for the bytes that are
//! missing, and a host that fails for good by the next one, as content is addressed by its digest. Nothing here verifies it:
//! who reads the bytes does.
//!
//! In memory are at most [`Downloads::window_bytes`] of a blob, and what the HTTP client has read of each connection (up to
//! 0.5 MiB): a range is only asked for when all bytes from the next one to be taken to its end have room in the window.
//! Nothing goes on when a download is dropped.

mod pace;
mod part;
mod range;
mod retry;
mod sources;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use part::{Item, Part, Role};

pub(super) use pace::Pace;
pub(super) use retry::{Again, Retries, retry_after, retrying};
pub(super) use sources::Sources;

use crate::{Downloads, Error};

/// Ranges that are fetched while nobody waits for bytes.
const AHEAD: u64 = 2;

/// A blob as it comes.
pub(crate) struct Download {
    sources: Arc<Sources>,
    /// In the order of their bytes.
    parts: VecDeque<Part>,
    mode: Mode,
    /// The first byte that no part fetches.
    next: u64,
    /// The first byte that was not taken yet.
    taken: u64,
    window: u64,
    range: u64,
}

/// How the bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// In ranges, if the host's first answer is one.
    Trying,
    Ranges,
    Single,
}

impl Download {
    pub(super) fn new(sources: Sources) -> Self {
        let Downloads { connections, parallel_bytes, range_bytes, window_bytes, .. } = *sources.settings;
        let size = sources.content.size;
        let window = window_bytes.max(1);
        let range = range_bytes.clamp(1, window);
        let parallel = connections > 1 && size >= parallel_bytes && size > range;
        let (mode, role, next) =
            if parallel { (Mode::Trying, Role::First, range) } else { (Mode::Single, Role::Whole, size) };
        let sources = Arc::new(sources);
        let parts = VecDeque::from([Part::start(&sources, role, 0..next, window)]);
        Self { sources, parts, mode, next, taken: 0, window, range }
    }

    /// The next bytes, nothing at the end. There are fewer or more than there should be if that is what the host sends.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(part) = self.parts.front_mut() else { return Ok(None) };
            let item = match part.try_next() {
                Some(item) => {
                    self.fetch_ahead(self.range.saturating_mul(AHEAD));
                    item
                }
                None => {
                    self.fetch_ahead(self.window);
                    let Some(part) = self.parts.front_mut() else { return Ok(None) };
                    part.next().await
                }
            };
            match item {
                Item::Bytes(bytes) => {
                    self.taken = self.taken.saturating_add(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Item::Ranged => self.mode = Mode::Ranges,
                Item::Unranged => self.go_on_alone(),
                Item::End => {
                    self.parts.pop_front();
                    self.fetch_ahead(self.range);
                }
                Item::Failed => return Err(self.sources.error()),
            }
        }
    }

    /// What is wrong with the content, and who sent the last of it.
    pub(super) fn wrong(&self, why: String) -> Error {
        self.sources.wrong(why)
    }

    /// Asks for more ranges, up to `most` bytes before the next one to be taken.
    fn fetch_ahead(&mut self, most: u64) {
        let size = self.sources.content.size;
        while self.mode == Mode::Ranges && self.next < size {
            let end = self.next.saturating_add(self.range).min(size);
            let running = self.parts.iter().filter(|part| part.is_running()).count();
            if end.saturating_sub(self.taken) > most.min(self.window) || running >= self.sources.settings.connections {
                break;
            }
            self.parts.push_back(Part::start(&self.sources, Role::Range, self.next..end, self.window));
            self.next = end;
        }
    }

    /// Lets go of all ranges and fetches what was not taken over one connection.
    fn go_on_alone(&mut self) {
        let size = self.sources.content.size;
        (self.mode, self.next) = (Mode::Single, size);
        self.parts.clear();
        self.parts.push_back(Part::start(&self.sources, Role::Whole, self.taken..size, self.window));
    }
}
