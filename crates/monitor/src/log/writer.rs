//! The thread that moves a container's output to its log. See docs/decisions/0002-log-writer.md.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::attached::Attached;
use super::file::LogFile;
use super::format::{Lines, Source, Stamp};

/// How much is read at once: a pipe holds as much.
const CHUNK: usize = 64 * 1024;
/// The records are written when there are this many bytes of them.
const ENOUGH: usize = 64 * 1024;
/// A thread with nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(1);
/// The most that is read of one stream after the container's exit: the largest pipe an unprivileged process can make.
const LAST: usize = 1024 * 1024;
/// How long a terminal may take to deliver what was written to it before the exit.
const TERMINAL_SETTLES: Duration = Duration::from_millis(100);
/// Stack of the thread. Only what is touched is memory.
const STACK: usize = 64 * 1024;

/// One stream of a container's output.
#[derive(Debug)]
pub struct Stream {
    fd: Arc<OwnedFd>,
    source: Source,
    terminal: bool,
    lines: Lines,
}

impl Stream {
    /// `fd` is the read end of a non-blocking pipe, or the master of a terminal.
    pub fn new(fd: Arc<OwnedFd>, source: Source, terminal: bool, max_line: usize) -> Self {
        Self { fd, source, terminal, lines: Lines::new(source, max_line) }
    }

    /// Its descriptor, to watch.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A container's output: its streams and where they go. Whoever owns it, the monitor's loop or a writer thread, reads
/// it, nobody else.
#[derive(Debug)]
pub struct Output {
    /// The streams that are still open.
    pub streams: Vec<Stream>,
    /// The log; `None` if the container has none: its output is read and dropped.
    pub file: Option<LogFile>,
    /// Those that follow it.
    pub attached: Arc<Attached>,
    /// Whether everything up to the container's exit is written.
    pub finished: bool,
}

/// What the loop asks of a writer thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Open the log file afresh.
    Reopen,
    /// The container has ended: write what it has said and close its streams.
    Finish,
}

/// What the loop and one writer thread share.
#[derive(Debug)]
pub struct Control {
    shared: Mutex<Shared>,
    /// Tells the thread of a command.
    wake: OwnedFd,
    /// Tells the loop of an outcome; one for all threads.
    done: Arc<OwnedFd>,
}

#[derive(Debug, Default)]
struct Shared {
    /// For the thread to take when it begins.
    given: Option<Output>,
    commands: VecDeque<Command>,
    reopened: Vec<Result<(), String>>,
    /// From the thread when it ends.
    returned: Option<Output>,
}

/// What the loop finds when a thread has rung.
#[derive(Debug)]
pub struct Looked {
    /// The outcomes of [`Command::Reopen`] since the last look.
    pub reopened: Vec<Result<(), String>>,
    /// The output, if the thread has ended, and the commands that it has not seen.
    pub returned: Option<(Output, VecDeque<Command>)>,
}

/// No thread could be started; the output comes back.
#[derive(Debug)]
pub struct NotStarted {
    /// What it should have taken over.
    pub output: Output,
    /// Why.
    pub why: String,
}

impl Control {
    /// Starts a thread that takes over `output`, with a first command for it.
    ///
    /// # Errors
    /// The output comes back if no thread can be had, or no eventfd.
    pub fn start(output: Output, command: Option<Command>, done: Arc<OwnedFd>) -> Result<Arc<Self>, Box<NotStarted>> {
        let wake = match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(wake) => wake,
            Err(error) => return Err(Box::new(NotStarted { output, why: format!("eventfd: {error}") })),
        };
        let shared = Shared { commands: command.into_iter().collect(), given: Some(output), ..Shared::default() };
        let control = Arc::new(Self { shared: Mutex::new(shared), wake, done });
        let of_thread = Arc::clone(&control);
        let spawned = std::thread::Builder::new().name("corten-log".to_owned()).stack_size(STACK).spawn(move || {
            let given = of_thread.lock().given.take();
            if let Some(output) = given {
                run(output, &of_thread);
            }
        });
        let Err(error) = spawned else { return Ok(control) };
        let given = control.lock().given.take();
        match given {
            Some(output) => Err(Box::new(NotStarted { output, why: format!("starting a thread: {error}") })),
            None => Ok(control),
        }
    }

    /// Gives the thread a command. If it has ended meanwhile, the command comes back with the output.
    pub fn command(&self, command: Command) {
        self.lock().commands.push_back(command);
        ring(&self.wake);
    }

    /// What the thread has rung for.
    pub fn look(&self) -> Looked {
        let mut shared = self.lock();
        let reopened = std::mem::take(&mut shared.reopened);
        let returned = shared.returned.take().map(|output| (output, std::mem::take(&mut shared.commands)));
        Looked { reopened, returned }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_command(&self) -> Option<Command> {
        self.lock().commands.pop_front()
    }

    fn give_back(&self, output: Output) {
        self.lock().returned = Some(output);
        ring(&self.done);
    }

    fn answer(&self, reopened: Result<(), String>) {
        self.lock().reopened.push(reopened);
        ring(&self.done);
    }
}

fn ring(eventfd: &OwnedFd) {
    // It fails only when the counter is full, and then it rings anyway.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

/// Takes note of an eventfd's ringing.
pub fn heard(eventfd: impl AsFd) {
    let _ = rustix::io::read(eventfd, &mut [0; 8]);
}

fn run(mut output: Output, control: &Control) {
    let mut writer = Writer { chunk: vec![0; CHUNK], records: Vec::with_capacity(ENOUGH + 4096) };
    loop {
        while let Some(command) = control.next_command() {
            match command {
                Command::Reopen => control.answer(
                    output.file.as_mut().map_or(Ok(()), |file| file.reopen().map_err(|error| error.to_string())),
                ),
                Command::Finish => {
                    writer.finish(&mut output);
                    return control.give_back(output);
                }
            }
        }
        match wait(&output.streams, control, IDLE) {
            Waited::Idle => {
                // A prompt without a newline becomes visible now, and takes no memory any longer.
                writer.flush(&mut output);
                return control.give_back(output);
            }
            Waited::Command => heard(&control.wake),
            Waited::Output => writer.read_once(&mut output),
        }
    }
}

enum Waited {
    Idle,
    Command,
    Output,
}

fn wait(streams: &[Stream], control: &Control, time: Duration) -> Waited {
    if streams.is_empty() {
        return Waited::Idle;
    }
    let time = Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut watched = vec![PollFd::new(&control.wake, PollFlags::IN)];
    watched.extend(streams.iter().map(|stream| PollFd::new(&stream.fd, PollFlags::IN)));
    match poll(&mut watched, Some(&time)) {
        Ok(0) => Waited::Idle,
        Ok(_) if watched.first().is_some_and(|wake| !wake.revents().is_empty()) => Waited::Command,
        _ => Waited::Output,
    }
}

/// The buffers of a thread.
struct Writer {
    chunk: Vec<u8>,
    records: Vec<u8>,
}

/// What a read brought.
#[derive(PartialEq, Eq)]
enum Read {
    Bytes(usize),
    Nothing,
    End,
}

impl Writer {
    /// Reads every stream once and writes what came.
    fn read_once(&mut self, output: &mut Output) {
        let Output { streams, file, attached, .. } = output;
        streams.retain_mut(|stream| {
            let open = self.read(stream, file, attached) != Read::End;
            if !open {
                stream.lines.flush(Stamp::now(), &mut self.records);
            }
            open
        });
        self.write(file);
    }

    /// What comes goes to the clients first: a disk that hangs does not keep it from them.
    fn read(&mut self, stream: &mut Stream, file: &mut Option<LogFile>, attached: &Attached) -> Read {
        let n = match rustix::io::read(&stream.fd, &mut self.chunk[..]) {
            Ok(0) => return Read::End,
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Read::Nothing,
            // A terminal that nobody has open any longer says EIO.
            Err(_) => return Read::End,
        };
        attached.send(stream.source, &self.chunk[..n]);
        if file.is_none() {
            return Read::Bytes(n);
        }
        let stamp = Stamp::now();
        let mut taken = 0;
        while taken < n {
            taken += stream.lines.push(&self.chunk[taken..n], stamp, &mut self.records, ENOUGH);
            if self.records.len() >= ENOUGH {
                self.write(file);
            }
        }
        Read::Bytes(n)
    }

    fn write(&mut self, file: &mut Option<LogFile>) {
        if let Some(file) = file
            && !self.records.is_empty()
        {
            file.write(&self.records);
        }
        self.records.clear();
    }

    fn flush(&mut self, output: &mut Output) {
        for stream in &mut output.streams {
            stream.lines.flush(Stamp::now(), &mut self.records);
        }
        self.write(&mut output.file);
    }

    /// Reads what was written before the container's exit, at most [`LAST`] of each stream, closes them, and tells the
    /// clients that this was all. A process outside the container that still holds a stream open does not delay that.
    fn finish(&mut self, output: &mut Output) {
        let Output { streams, file, attached, finished } = output;
        for mut stream in streams.drain(..) {
            let mut read = 0;
            while read < LAST {
                match self.read(&mut stream, file, attached) {
                    Read::Bytes(n) => read += n,
                    Read::Nothing if stream.terminal && settles(&stream) => {}
                    Read::Nothing | Read::End => break,
                }
            }
            stream.lines.flush(Stamp::now(), &mut self.records);
        }
        attached.end();
        self.write(file);
        *finished = true;
    }
}

/// Waits for a terminal to have something to read, or to be hung up.
fn settles(stream: &Stream) -> bool {
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(TERMINAL_SETTLES.subsec_nanos()) };
    matches!(poll(&mut [PollFd::new(&stream.fd, PollFlags::IN)], Some(&time)), Ok(1..))
}
