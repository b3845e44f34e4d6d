//! Sending recorded calls to another runtime, and telling what it answers otherwise.

mod call;
mod compare;
mod ids;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use self::{call::Caller, ids::Ids};
use crate::recording::{Methods, Recorded, RecordedMessage, RecordedStatus};

/// Why there is nothing to replay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("read {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The recording is too large.
    #[error("{path}: line {line}: {what}", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What there is too much of.
        what: String,
    },
    /// A line is no recorded call.
    #[error("{path}: line {line}: {source}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The descriptors of this build are broken, which a test excludes.
    #[error("replay: {0}")]
    Descriptors(String),
}

/// How to replay.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only calls of this method (`Version` or `RuntimeService/Version`).
    pub only: Option<String>,
    /// How many times as fast as recorded; none is as fast as it goes.
    pub speed: Option<f64>,
    /// Whether answers are compared too, and not only how calls ended.
    pub compare: bool,
    /// How long one call may take.
    pub limit: Duration,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// How many calls were sent.
    pub replayed: usize,
    /// How many were not: given up by their client, or not recorded whole.
    pub left_out: usize,
    /// Those that went otherwise.
    pub differences: Vec<Difference>,
}

/// A call that went otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which call, from 1, in the order they were made.
    pub call: usize,
    /// Its path.
    pub path: String,
    /// What differs: `status`, or a path in the answer.
    pub what: String,
    /// As it was recorded.
    pub recorded: String,
    /// As it is now.
    pub now: String,
}

/// How long a line may be, in bytes: a recorder keeps 4 MiB of a call, which are here as base64, and a part for reading.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// How much a recording may hold in messages, in bytes: all of it is in memory, for the calls are put into their order.
const MAX_MESSAGES: usize = 1024 * 1024 * 1024;

/// Reads a recording; the calls in the order they were made.
///
/// # Errors
/// [`Error`]: the file, or a line of it.
pub fn read(path: &Path) -> Result<Vec<Recorded>, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let (mut file, mut calls, mut room) = (BufReader::new(File::open(path).map_err(failed)?), Vec::new(), MAX_MESSAGES);
    for number in 1.. {
        let mut line = Vec::new();
        let length = (&mut file).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if length == 0 {
            break;
        }
        let too_large = |what| Error::TooLarge { path: path.to_owned(), line: number, what };
        if u64::try_from(length).unwrap_or(u64::MAX) == MAX_LINE && !line.ends_with(b"\n") {
            return Err(too_large(format!("it is longer than {MAX_LINE} bytes")));
        }
        let bad = |source| Error::Line { path: path.to_owned(), line: number, source };
        let mut call: Recorded = serde_json::from_slice(&line).map_err(bad)?;
        let mut size = size_of::<Recorded>().saturating_add(call.path.len());
        for message in call.requests.iter_mut().chain(&mut call.responses) {
            // It is for people.
            message.json = None;
            size = size.saturating_add(message.bytes.len()).saturating_add(size_of::<RecordedMessage>());
        }
        let full = || too_large(format!("more than {MAX_MESSAGES} bytes in messages up to here"));
        room = room.checked_sub(size).ok_or_else(full)?;
        calls.push(call);
    }
    calls.sort_by_key(|call| call.time);
    Ok(calls)
}

/// Sends the calls one after another to the runtime at a socket. Ids that it gives (of pods, containers and images) take the
/// places of the recorded ones in later calls.
///
/// # Errors
/// [`Error::Descriptors`] only: what the runtime does is the outcome.
pub async fn run(calls: &[Recorded], socket: &Path, options: &Options) -> Result<Outcome, Error> {
    let methods = Methods::compiled().map_err(|error| Error::Descriptors(error.to_string()))?;
    let caller = Caller::new(socket, options.limit);
    let (mut ids, mut outcome) = (Ids::default(), Outcome::default());
    let pace = Pace::new(calls, options.speed);
    for (index, call) in calls.iter().enumerate().filter(|(_, call)| wanted(call, options.only.as_deref())) {
        let Some(status) = call.status.as_ref().filter(|_| call.left_out == 0) else {
            outcome.left_out += 1;
            continue;
        };
        pace.wait(call.time).await;
        let method = methods.of(&call.path);
        let input = method.as_ref().map(|method| method.input());
        let requests = call.requests.iter().map(|request| ids.replaced(&request.bytes, input.clone())).collect();
        let answer = caller.call(&call.path, requests).await;
        outcome.replayed += 1;
        ids.learn(call, &answer.responses, method.as_ref());
        let difference =
            |what: String, recorded, now| Difference { call: index + 1, path: call.path.clone(), what, recorded, now };
        if answer.status.code() != status.code() {
            let now = RecordedStatus::of(&answer.status);
            outcome.differences.push(difference("status".to_owned(), text(status), text(&now)));
        } else if options.compare && status.code() == Code::Ok {
            let found = compare::answers(call, &answer.responses, method.as_ref(), &ids);
            outcome.differences.extend(found.into_iter().map(|found| difference(found.at, found.recorded, found.now)));
        }
    }
    Ok(outcome)
}

fn text(status: &RecordedStatus) -> String {
    if status.message.is_empty() { status.name.clone() } else { format!("{}: {}", status.name, status.message) }
}

fn wanted(call: &Recorded, only: Option<&str>) -> bool {
    let Some(only) = only else { return true };
    let before = call.path.strip_suffix(only);
    before.is_some_and(|before| before.ends_with(['/', '.']))
}

/// When calls are due.
struct Pace {
    begun: Instant,
    first: Option<Timestamp>,
    speed: Option<f64>,
}

impl Pace {
    fn new(calls: &[Recorded], speed: Option<f64>) -> Self {
        Self { begun: Instant::now(), first: calls.first().map(|call| call.time), speed }
    }

    async fn wait(&self, time: Timestamp) {
        let (Some(first), Some(speed)) = (self.first, self.speed) else { return };
        let after = Duration::try_from(time.duration_since(first)).unwrap_or_default().as_secs_f64() / speed;
        if let Some(due) = Duration::try_from_secs_f64(after).ok().and_then(|after| self.begun.checked_add(after)) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests;
