//! A connection: many calls at once, each waiting for its own answer.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Error;
use super::message::{self, Call, FIXED, Incoming, MAX_MESSAGE};

/// How long writing may take, and how long connecting altogether.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer is waited for. systemd that executes itself anew on a busy machine may take that long.
const ANSWER: Duration = Duration::from_secs(20);

/// The longest line while connecting.
const LINE: usize = 1024;

/// Where a peer is.
#[derive(Debug, Clone, Copy)]
pub enum Address<'a> {
    /// A bus, which passes messages on.
    Bus(&'a Path),
    /// The peer itself.
    Peer(&'a Path),
}

/// A connection. Dropping it ends the thread that reads from it.
pub struct Connection {
    socket: Mutex<UnixStream>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Whose signals are believed.
#[derive(Default)]
enum Believed {
    /// Those of the other end, which nobody else can send.
    #[default]
    Peer,
    /// On a bus, where anybody may send any: those of the one who answers our calls. The bus passes on answers of nobody but
    /// the one called. systemd has another name after it has executed itself anew; its answer comes before its signals.
    Answerer(Option<String>),
}

/// Who waits for what. Whoever it is for is told that nothing will come by losing the sender.
#[derive(Default)]
struct Waiting {
    believed: Believed,
    closed: bool,
    last_serial: u32,
    answers: HashMap<u32, Waiter>,
    jobs: HashMap<String, SyncSender<String>>,
}

type Outcome = Result<Option<String>, (String, String)>;

struct Waiter {
    answer: SyncSender<Outcome>,
    /// For the end of the job that the answer names. Kept from the moment of the answer on, so that no end is missed.
    job: Option<SyncSender<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Connects as the process's user.
    ///
    /// # Errors
    /// If nobody is there, or it does not speak D-Bus.
    pub fn open(address: Address<'_>) -> Result<Self, Error> {
        let (Address::Bus(path) | Address::Peer(path)) = address;
        let failed = |source| Error::Socket { what: "connect", source };
        let deadline = Instant::now() + PATIENCE;
        let mut socket = connected(path, deadline).map_err(failed)?;
        authenticate(&mut socket, deadline)?;
        socket.set_read_timeout(None).and(socket.set_write_timeout(Some(PATIENCE))).map_err(failed)?;
        let believed = match address {
            Address::Bus(_) => Believed::Answerer(None),
            Address::Peer(_) => Believed::Peer,
        };
        let waiting = Arc::new(Mutex::new(Waiting { believed, ..Waiting::default() }));
        let (reading, told) = (socket.try_clone().map_err(failed)?, waiting.clone());
        let thread = thread::Builder::new().name("systemd".into());
        thread.spawn(move || read(reading, &told)).map_err(failed)?;
        let connection = Self { socket: Mutex::new(socket), waiting };
        if let Address::Bus(_) = address {
            connection.call(message::bus_call("Hello", None))?;
        }
        Ok(connection)
    }

    /// Has the bus pass on the signals that fit a rule.
    ///
    /// # Errors
    /// The bus's.
    pub fn listen(&self, rule: &str) -> Result<(), Error> {
        self.call(message::bus_call("AddMatch", Some(rule))).map(drop)
    }

    /// Whether it still is one.
    pub fn is_open(&self) -> bool {
        !lock(&self.waiting).closed
    }

    /// Calls a method, and returns the text or path that it answers, if it does.
    ///
    /// # Errors
    /// The other end's, or that there is no answer.
    pub fn call(&self, call: Call<'_>) -> Result<Option<String>, Error> {
        self.answer(call, None)
    }

    /// Calls a method that answers with a job. Returns the job's path, and where its result will come.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_for_job(&self, call: Call<'_>) -> Result<(String, Receiver<String>), Error> {
        let (sender, ended) = mpsc::sync_channel(1);
        let job = self.answer(call, Some(sender))?.ok_or(Error::Malformed("an answer does not name a job"))?;
        Ok((job, ended))
    }

    /// Nobody waits for a job's end any longer.
    pub fn forget_job(&self, job: &str) {
        lock(&self.waiting).jobs.remove(job);
    }

    fn answer(&self, call: Call<'_>, job: Option<SyncSender<String>>) -> Result<Option<String>, Error> {
        let member = call.member;
        let answer = self.send(call, job)?;
        match answer.recv_timeout(ANSWER) {
            Ok(outcome) => outcome.map_err(|(name, text)| Error::Refused { name, text }),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Closed),
            Err(RecvTimeoutError::Timeout) => {
                // Whoever is that silent will be so to the next caller too, who had better connect anew.
                self.close();
                Err(Error::Timeout { member, seconds: ANSWER.as_secs() })
            }
        }
    }

    fn send(&self, call: Call<'_>, job: Option<SyncSender<String>>) -> Result<Receiver<Outcome>, Error> {
        let (sender, answer) = mpsc::sync_channel(1);
        let serial = {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(Error::Closed);
            }
            // Zero is no serial number.
            waiting.last_serial = waiting.last_serial.checked_add(1).unwrap_or(1);
            let serial = waiting.last_serial;
            waiting.answers.insert(serial, Waiter { answer: sender, job });
            serial
        };
        let written = lock(&self.socket).write_all(&call.encode(serial));
        written.map_err(|source| {
            // Half a message may have been sent: nothing can follow it.
            self.close();
            Error::Socket { what: "write", source }
        })?;
        Ok(answer)
    }

    fn close(&self) {
        close(&self.waiting);
        // The reader finds the end.
        let _ = lock(&self.socket).shutdown(Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

fn close(waiting: &Mutex<Waiting>) {
    let mut waiting = lock(waiting);
    waiting.closed = true;
    waiting.answers.clear();
    waiting.jobs.clear();
}

/// Connects. Sending's timeout holds for that too: unix(7) waits for the other end to accept the ones before.
fn connected(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let socket = UnixStream::from(socket);
    socket.set_write_timeout(Some(left(deadline)?))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The time until then, if there is any.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// "EXTERNAL": the socket tells the other end who we are.
fn authenticate(socket: &mut UnixStream, deadline: Instant) -> Result<(), Error> {
    let failed = |source| Error::Socket { what: "authenticate", source };
    let user: String =
        rustix::process::geteuid().as_raw().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    left(deadline).and_then(|left| socket.set_write_timeout(Some(left))).map_err(failed)?;
    socket.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).map_err(failed)?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        // No byte more than the line: messages follow it.
        let mut byte = [0];
        left(deadline).and_then(|left| socket.set_read_timeout(Some(left))).map_err(failed)?;
        socket.read_exact(&mut byte).map_err(failed)?;
        line.extend(byte);
        if line.len() > LINE {
            return Err(Error::Malformed("an endless line"));
        }
    }
    match line.starts_with(b"OK ") {
        true => socket.write_all(b"BEGIN\r\n").map_err(failed),
        false => Err(Error::Malformed("this user is not let in")),
    }
}

/// Reads until the end, and gives everyone what they wait for.
fn read(mut socket: UnixStream, waiting: &Mutex<Waiting>) {
    while let Ok(incoming) = next(&mut socket) {
        deliver(incoming, &mut lock(waiting));
    }
    close(waiting);
    let _ = socket.shutdown(Shutdown::Both);
}

fn next(socket: &mut impl Read) -> Result<Incoming, Error> {
    let failed = |source: io::Error| Error::Socket { what: "read", source };
    let mut fixed = [0; FIXED];
    socket.read_exact(&mut fixed).map_err(failed)?;
    let (length, is_unasked) = (message::length(&fixed)?, message::is_unasked(&fixed));
    if length > MAX_MESSAGE {
        return match is_unasked {
            true => pass_over(socket, length.saturating_sub(FIXED)).map_err(failed),
            false => Err(Error::Malformed("an answer is too long")),
        };
    }
    let mut message = fixed.to_vec();
    message.resize(length, 0);
    socket.read_exact(message.get_mut(FIXED..).unwrap_or_default()).map_err(failed)?;
    match message::decode(&message) {
        Err(_) if is_unasked => Ok(Incoming::Other),
        outcome => outcome,
    }
}

fn pass_over(socket: &mut impl Read, length: usize) -> io::Result<Incoming> {
    let length = length as u64;
    match io::copy(&mut socket.take(length), &mut io::sink())? == length {
        true => Ok(Incoming::Other),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn deliver(incoming: Incoming, waiting: &mut Waiting) {
    match incoming {
        Incoming::Answer { to, sender, outcome } => {
            let Some(waiter) = waiting.answers.remove(&to) else { return };
            // An error may be the bus's own.
            if let (Ok(_), Believed::Answerer(answerer)) = (&outcome, &mut waiting.believed) {
                *answerer = sender;
            }
            if let (Ok(Some(job)), Some(sender)) = (&outcome, waiter.job) {
                waiting.jobs.insert(job.clone(), sender);
            }
            // Who has given up needs no answer.
            let _ = waiter.answer.try_send(outcome);
        }
        Incoming::JobRemoved { sender, job, result } => {
            let is_believed = match &waiting.believed {
                Believed::Peer => true,
                Believed::Answerer(answerer) => sender.is_some() && sender == *answerer,
            };
            if !is_believed {
                return;
            }
            if let Some(waiter) = waiting.jobs.remove(&job) {
                let _ = waiter.try_send(result);
            }
        }
        Incoming::Other => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The beginning of a message of this kind with a body of this length and no header fields.
    fn beginning(kind: u8, body: u32) -> Vec<u8> {
        let numbers = [body, 1, 0].into_iter().flat_map(u32::to_le_bytes);
        [b'l', kind, 0, 1].into_iter().chain(numbers).collect()
    }

    #[test]
    fn a_signal_that_cannot_be_read_is_passed_over_and_an_answer_is_not() {
        let (long, next_one) = (vec![0; MAX_MESSAGE], beginning(4, 0));
        let with_body = |kind| [beginning(kind, long.len() as u32), long.clone(), next_one.clone()].concat();
        let signal = with_body(4);
        let mut signals = signal.as_slice();
        for _ in 0..2 {
            assert_eq!(next(&mut signals).unwrap(), Incoming::Other);
        }
        assert!(next(&mut signals).is_err(), "there is no more");
        assert!(next(&mut with_body(2).as_slice()).is_err());
        let mut broken = beginning(4, 0);
        // A header field of eight bytes, of no type that there is.
        broken[12] = 8;
        broken.extend([7, 1, b'?', 0, 0, 0, 0, 0]);
        assert_eq!(next(&mut broken.as_slice()).unwrap(), Incoming::Other);
        broken[1] = 2;
        assert!(next(&mut broken.as_slice()).is_err());
    }

    #[test]
    fn on_a_bus_only_who_answers_ends_jobs() {
        let mut waiting = Waiting { believed: Believed::Answerer(None), ..Waiting::default() };
        let ((answer, _answered), (job, ended)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
        waiting.answers.insert(1, Waiter { answer, job: Some(job) });
        let outcome = Ok(Some("/job/1".to_owned()));
        deliver(Incoming::Answer { to: 1, sender: Some(":1.2".to_owned()), outcome }, &mut waiting);
        for (sender, result) in [(None, "x"), (Some(":1.3"), "y"), (Some(":1.2"), "done")] {
            let (sender, job) = (sender.map(str::to_owned), "/job/1".to_owned());
            deliver(Incoming::JobRemoved { sender, job, result: result.to_owned() }, &mut waiting);
        }
        assert_eq!(ended.try_recv().unwrap(), "done");
    }

    #[test]
    fn who_does_not_accept_or_answer_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        let _listener = UnixListener::bind(&path).unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let mut socket = connected(&path, deadline).unwrap();
        assert!(matches!(authenticate(&mut socket, deadline), Err(Error::Socket { .. })));
        // It is past by now.
        assert_eq!(connected(&path, deadline).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
