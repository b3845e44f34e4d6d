//! Times that a runtime tells: nanoseconds since 1970-01-01 UTC, by the clock of this node.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{expect::holds, verdict::Checked};

/// How far a runtime may round, in nanoseconds: some keep files' times, which the kernel takes from a coarser clock.
const ROUNDING: i64 = 20_000_000;

/// Now.
pub fn now() -> i64 {
    nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A time that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    begin: i64,
}

/// A time that has begun and ended.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    begin: i64,
    end: i64,
}

impl Window {
    /// Begins now.
    pub fn open() -> Self {
        Self { begin: now() }
    }

    /// Lets it begin earlier.
    pub fn reach_back(&mut self, by: Duration) {
        self.begin = self.begin.saturating_sub(nanoseconds(by));
    }

    /// Ends now.
    pub fn close(self) -> Closed {
        Closed { begin: self.begin, end: now() }
    }

    /// Ends in the future.
    pub fn close_later(self, by: Duration) -> Closed {
        Closed { begin: self.begin, end: now().saturating_add(nanoseconds(by)) }
    }
}

impl Closed {
    /// That a time a runtime tells lies within.
    ///
    /// # Errors
    /// [`crate::verdict::Stop::Failed`]
    pub fn holds(&self, what: &str, time: i64) -> Checked {
        let (begin, end) = (self.begin.saturating_sub(ROUNDING), self.end.saturating_add(ROUNDING));
        holds(what, (begin..=end).contains(&time), format!("nanoseconds between {begin} and {end}"), time)
    }
}
