//! The open streams of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::STREAMS_LIMIT;
use crate::spdy::frame::reset;
use crate::stream::{Budget, Incoming, Inlet};

/// The highest number that a stream can have.
const LAST: u32 = 0x7fff_ffff;

/// Which end of the connection this is. A client's streams and pings have odd numbers, a server's even ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

impl Role {
    /// Whether a stream's or a ping's number is one of the other end's.
    pub(super) fn is_theirs(self, number: u32) -> bool {
        match self {
            Self::Client => number.is_multiple_of(2),
            Self::Server => !number.is_multiple_of(2),
        }
    }
}

/// Shared by a connection's reader and writer. A stream is in it until both ends have said their last word or one has
/// reset it.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) role: Role,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    budget: Budget,
    open: HashMap<u32, Stream>,
    /// The last stream that the other end opened.
    theirs: u32,
    /// The next stream that this end opens.
    ours: u32,
    going_away: bool,
}

#[derive(Debug)]
struct Stream {
    /// None when the other end has said its last word.
    sink: Option<Arc<Sink>>,
    /// This end has not said its last word.
    sends: bool,
}

/// Where a stream's bytes go.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) inlet: Inlet,
    /// The stream was reset from here.
    pub(super) given_up: Notify,
}

/// What becomes of a stream that the other end opens.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is in the table.
    Offered(Incoming),
    /// There are too many.
    Refused,
    /// Its number is not a new one of the other end's.
    Misnumbered,
}

/// What becomes of bytes that came for a stream.
#[derive(Debug)]
pub(super) enum Destination {
    /// They go there.
    Sink(Arc<Sink>),
    /// They are dropped, and the other end is told so with this status.
    Nowhere(u32),
}

impl Streams {
    pub(super) fn new(role: Role) -> Self {
        let ours = if role == Role::Client { 1 } else { 2 };
        let table = Table { budget: Budget::new(), open: HashMap::new(), theirs: 0, ours, going_away: false };
        Self { role, table: Mutex::new(table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other end opens a stream. With `fin` it says nothing on it; with `unidirectional` this end does not.
    pub(super) fn opened(&self, stream: u32, fin: bool, unidirectional: bool) -> Opened {
        let mut table = self.table();
        if !self.role.is_theirs(stream) || stream <= table.theirs {
            return Opened::Misnumbered;
        }
        table.theirs = stream;
        if table.open.len() >= STREAMS_LIMIT {
            return Opened::Refused;
        }
        let incoming = table.insert(stream, !unidirectional);
        if fin {
            table.their_end(stream);
        }
        Opened::Offered(incoming)
    }

    /// This end opens a stream, if it may.
    pub(super) fn open(&self) -> Option<(u32, Incoming)> {
        let mut table = self.table();
        let stream = table.ours;
        if table.going_away || table.open.len() >= STREAMS_LIMIT || stream > LAST {
            return None;
        }
        table.ours = stream.saturating_add(2);
        Some((stream, table.insert(stream, true)))
    }

    pub(super) fn destination(&self, stream: u32) -> Destination {
        let table = self.table();
        match table.open.get(&stream) {
            Some(Stream { sink: Some(sink), .. }) => Destination::Sink(sink.clone()),
            Some(Stream { sink: None, .. }) => Destination::Nowhere(reset::STREAM_ALREADY_CLOSED),
            None if table.was_open(self.role, stream) => Destination::Nowhere(reset::STREAM_ALREADY_CLOSED),
            None => Destination::Nowhere(reset::INVALID_STREAM),
        }
    }

    /// Whether this end may send on the stream.
    pub(super) fn sends(&self, stream: u32) -> bool {
        self.table().open.get(&stream).is_some_and(|stream| stream.sends)
    }

    /// The other end has said its last word.
    pub(super) fn their_end(&self, stream: u32) {
        self.table().their_end(stream);
    }

    /// This end has said its last word. Whether that is new.
    pub(super) fn our_end(&self, stream: u32) -> bool {
        let mut table = self.table();
        let Some(open) = table.open.get_mut(&stream).filter(|open| open.sends) else { return false };
        open.sends = false;
        if open.sink.is_none() {
            table.open.remove(&stream);
        }
        true
    }

    /// The stream is reset, from either end.
    pub(super) fn reset(&self, stream: u32) {
        if let Some(Stream { sink: Some(sink), .. }) = self.table().open.remove(&stream) {
            sink.given_up.notify_one();
        }
    }

    /// All are gone.
    pub(super) fn clear(&self) {
        self.table().open.clear();
    }

    /// The other end takes no streams any more.
    pub(super) fn go_away(&self) {
        self.table().going_away = true;
    }

    /// The last stream that the other end opened, or 0.
    pub(super) fn last_of_theirs(&self) -> u32 {
        self.table().theirs
    }
}

impl Table {
    fn insert(&mut self, stream: u32, sends: bool) -> Incoming {
        let (inlet, incoming) = self.budget.stream();
        let sink = Some(Arc::new(Sink { inlet, given_up: Notify::new() }));
        self.open.insert(stream, Stream { sink, sends });
        incoming
    }

    fn their_end(&mut self, stream: u32) {
        let Some(open) = self.open.get_mut(&stream) else { return };
        if let Some(sink) = open.sink.take() {
            sink.inlet.end();
        }
        if !open.sends {
            self.open.remove(&stream);
        }
    }

    fn was_open(&self, role: Role, stream: u32) -> bool {
        if role.is_theirs(stream) { stream <= self.theirs } else { stream < self.ours && stream > 0 }
    }
}
