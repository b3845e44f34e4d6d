//! A remote command's streams, connected to ours.

use std::{
    future::pending,
    io::{self, IsTerminal},
    os::fd::AsFd,
};

use corten_streaming::{
    client::{RemoteCommand, Resizer},
    remote_command::{Outcome, Size},
    stream::{Incoming, Outgoing},
};
use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::{
    detach::{DetachKeys, Scanner, Typed},
    stdio::{Input, Output},
    terminal::{self, Raw},
};
use crate::{error::Error, output};

/// What somebody sees and types.
#[derive(Debug)]
pub struct Local {
    /// Whether the remote command's terminal is shown on ours.
    pub screen: Option<Screen>,
    /// The keys to detach with, if standard input is a terminal that is made raw.
    pub detach_keys: DetachKeys,
}

/// How a remote terminal takes the place of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// A command that is new paints for itself.
    New,
    /// What is on it already is painted again if its size changes.
    Repaint,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The command did.
    Command(Outcome),
    /// Somebody pressed the keys.
    Detached,
    /// Somebody wants us to end.
    Signal(Signal),
    /// The connection broke.
    Lost,
}

/// Connects the streams until one side ends. The terminal is again as it was when this returns.
///
/// # Errors
/// [`Error::Output`] when what the command writes cannot be written; [`Error::Condition`] when our own streams or signals
/// cannot be used.
pub async fn run(remote: RemoteCommand, local: Local) -> Result<End, Error> {
    let RemoteCommand { stdin, stdout, stderr, resize, outcome } = remote;
    let interactive = local.screen.is_some() && stdin.is_some() && io::stdin().is_terminal();
    // Listened to before the terminal is raw, so that it does not stay so.
    let fatal = if interactive { Some(Fatal::listen()?) } else { None };
    let raw = if interactive { Some(Raw::enter(io::stdin()).map_err(failed("make the terminal raw"))?) } else { None };
    let keys = if interactive { local.detach_keys } else { DetachKeys::default() };
    let command = async {
        tokio::try_join!(copy(stdout, io::stdout()), copy(stderr, io::stderr()))?;
        Ok(outcome.wait().await.map_or(End::Lost, End::Command))
    };
    let end = tokio::select! {
        end = command => end,
        end = feed(stdin, keys) => end,
        end = follow_size(resize, local.screen) => end,
        signal = Fatal::next(fatal) => Ok(End::Signal(signal)),
    };
    drop(raw);
    end
}

/// Writes what comes. A stream that breaks off has ended: what is wrong shows elsewhere.
async fn copy(incoming: Option<Incoming>, target: impl AsFd) -> Result<(), Error> {
    let Some(mut incoming) = incoming else { return Ok(()) };
    let output = Output::to(target)?;
    while let Ok(Some(bytes)) = incoming.next().await {
        if !output.write(bytes).await {
            break;
        }
    }
    Ok(output.finish().await?)
}

/// Sends what is typed, and that there is no more. Returns only when somebody detaches, or on an error.
async fn feed(stdin: Option<Outgoing>, keys: DetachKeys) -> Result<End, Error> {
    let Some(stdin) = stdin else { return pending().await };
    let mut input = Input::of(io::stdin()).map_err(failed("read the standard input"))?;
    let mut scanner = Scanner::new(keys);
    loop {
        let (bytes, then) = match input.next().await {
            Ok(Some(bytes)) => match scanner.scan(&bytes) {
                Typed::Bytes(bytes) => (bytes, Then::More),
                Typed::Detach(bytes) => (bytes, Then::Detach),
            },
            Ok(None) => (scanner.rest(), Then::End),
            Err(error) => {
                output::note(&format!("read the standard input: {error}"));
                (scanner.rest(), Then::End)
            }
        };
        let gone = !bytes.is_empty() && stdin.send(bytes.into()).await.is_err();
        match then {
            Then::Detach => return Ok(End::Detached),
            Then::More if !gone => {}
            Then::More | Then::End => {
                // Whether the command has heard it shows in what it does.
                let _ = stdin.finish().await;
                return pending().await;
            }
        }
    }
}

/// What follows a piece of input.
enum Then {
    More,
    End,
    Detach,
}

/// Tells the remote terminal our size, whenever it changes. Returns only on an error.
async fn follow_size(resizer: Option<Resizer>, screen: Option<Screen>) -> Result<End, Error> {
    let (Some(resizer), Some(screen)) = (resizer, screen) else { return pending().await };
    let mut changes = unix::signal(SignalKind::window_change()).map_err(failed("listen to SIGWINCH"))?;
    let other = terminal::size().filter(|_| screen == Screen::Repaint).map(larger);
    let mut sizes: Vec<Size> = other.into_iter().chain(terminal::size()).collect();
    loop {
        for size in sizes {
            if resizer.send(size).await.is_err() {
                return pending().await;
            }
        }
        changes.recv().await;
        sizes = terminal::size().into_iter().collect();
    }
}

fn larger(size: Size) -> Size {
    Size { width: size.width.saturating_add(1), height: size.height.saturating_add(1) }
}

/// Whoever wants us to end, and would leave the terminal raw.
struct Fatal {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Fatal {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| unix::signal(kind).map_err(failed("listen to signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The first signal that comes.
    async fn next(fatal: Option<Self>) -> Signal {
        let Some(mut fatal) = fatal else { return pending().await };
        tokio::select! {
            _ = fatal.interrupt.recv() => Signal::INT,
            _ = fatal.terminate.recv() => Signal::TERM,
            _ = fatal.hang_up.recv() => Signal::HUP,
        }
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::condition(what, error.to_string())
}
