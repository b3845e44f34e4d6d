//! A session of exec: a process in a container, its streams connected to a client's.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use corten_streaming::remote_command::{Control, Outcome, Session, Sizes, Wanted};
use corten_streaming::stream::{Gone, Incoming, Outgoing};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::LAST_WORDS;
use super::descriptor::Descriptor;
use crate::container::Container;
use crate::container::process::{Process, Stdio, open_null, pipe};
use crate::container::start::call_error;
use crate::error::{Error, Result};
use crate::node::Node;

/// The most bytes that are read of a stream which somebody goes on writing to after the process has ended.
const LAST_OUTPUT: usize = 1 << 20;

/// Runs a session to its end.
pub async fn run(node: &Arc<Node>, container: &Arc<Container>, command: &[String], wanted: Wanted, session: Session) {
    let Session { stdin, stdout, stderr, resize, mut control } = session;
    let client = Client { stdin, stdout, stderr, resize };
    let started = tokio::select! {
        started = start(node, container, command, wanted) => started,
        () = control.gone() => return,
    };
    match started {
        Ok((process, ends)) => follow(node, container, process, ends, client, control).await,
        Err(error) => {
            tracing::info!(container = container.id(), %error, "exec failed");
            control.end(&Outcome::Failed(error.to_string())).await;
        }
    }
}

/// The client's streams.
struct Client {
    stdin: Option<Incoming>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    resize: Option<Sizes>,
}

/// Our ends of a process's streams.
#[derive(Default)]
struct Ends {
    stdin: Option<Descriptor>,
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
    terminal: Option<Descriptor>,
}

/// Starts the process. If this is cancelled, the process is killed.
async fn start(
    node: &Arc<Node>,
    container: &Arc<Container>,
    command: &[String],
    wanted: Wanted,
) -> Result<(Process, Ends)> {
    let (stdio, ends) = if wanted.tty { (Stdio::Terminal, Ends::default()) } else { pipes(wanted)? };
    let mut process = Process::start(node, container, command, stdio).await?;
    let terminal = process.started().await.map_err(|error| call_error(container, error))?;
    match terminal {
        Some(master) => Ok((process, terminal_ends(master, wanted)?)),
        None => Ok((process, ends)),
    }
}

fn terminal_ends(master: OwnedFd, wanted: Wanted) -> Result<Ends> {
    let failed = |error: io::Error| Error::node("terminal", error);
    let master = Descriptor::new(master).map_err(failed)?;
    let stdin = wanted.stdin.then(|| master.duplicate()).transpose().map_err(failed)?;
    let stdout = Some(master.duplicate().map_err(failed)?);
    Ok(Ends { stdin, stdout, stderr: None, terminal: Some(master) })
}

/// Pipes for what is wanted, and `/dev/null` for what is not.
fn pipes(wanted: Wanted) -> Result<(Stdio, Ends)> {
    let (stdin, of_stdin) = match wanted.stdin {
        true => {
            let (theirs, ours) = pipe()?;
            (theirs, Some(descriptor(ours)?))
        }
        false => (open_null()?, None),
    };
    let output = |wanted: bool| -> Result<_> {
        match wanted {
            true => {
                let (ours, theirs) = pipe()?;
                Ok((theirs, Some(descriptor(ours)?)))
            }
            false => Ok((open_null()?, None)),
        }
    };
    let (stdout, of_stdout) = output(wanted.stdout)?;
    let (stderr, of_stderr) = output(wanted.stderr)?;
    let ends = Ends { stdin: of_stdin, stdout: of_stdout, stderr: of_stderr, terminal: None };
    Ok((Stdio::Streams([stdin, stdout, stderr]), ends))
}

fn descriptor(fd: OwnedFd) -> Result<Descriptor> {
    Descriptor::new(fd).map_err(|error| Error::node("pipe", error))
}

/// Connects a process's streams with its client's until one of them ends.
async fn follow(
    node: &Arc<Node>,
    container: &Container,
    mut process: Process,
    ends: Ends,
    client: Client,
    mut control: Control,
) {
    let drain = node.config.exec.drain();
    let over = watch::Sender::new(None);
    let (mut inputs, mut outputs) = (JoinSet::new(), JoinSet::new());
    for (source, sink) in [(ends.stdout, client.stdout), (ends.stderr, client.stderr)] {
        if let (Some(source), Some(sink)) = (source, sink) {
            let over = over.subscribe();
            outputs.spawn(async move { Output { source, sink, over, drain }.copy().await });
        }
    }
    if let (Some(source), Some(sink)) = (client.stdin, ends.stdin) {
        let hold = ends.terminal.is_some();
        inputs.spawn(async move {
            copy_in(source, &sink).await;
            if hold {
                // A terminal has no end of input: it stays open until the process ends.
                std::future::pending::<()>().await;
            }
        });
    }
    if let (Some(sizes), Some(terminal)) = (client.resize, ends.terminal) {
        inputs.spawn(follow_sizes(sizes, terminal));
    }
    let ended = tokio::select! {
        ended = process.wait() => ended,
        () = control.gone() => {
            // Its terminal is hung up and its pipes are closed before it is killed.
            inputs.shutdown().await;
            outputs.shutdown().await;
            return abandon(process, node.config.streaming.abandoned()).await;
        }
    };
    over.send_replace(Some(Instant::now()));
    let delivered = async { while let Some(Ok(Ok(()))) = outputs.join_next().await {} };
    tokio::select! {
        () = delivered => {}
        () = control.gone() => return,
    }
    drop(inputs);
    let outcome = match ended {
        Ok(exit) => Outcome::Exited(exit.code),
        Err(error) => Outcome::Failed(call_error(container, error).to_string()),
    };
    control.end(&outcome).await;
}

/// The client is gone: the process may end by itself for a while.
async fn abandon(mut process: Process, grace: Duration) {
    if tokio::time::timeout(grace, process.wait()).await.is_err() {
        process.kill().await;
    }
}

/// Writes what the client sends to a process, until the client has no more or the process does not read it.
pub async fn copy_in(mut source: Incoming, sink: &Descriptor) {
    while let Ok(Some(bytes)) = source.next().await {
        if let Err(error) = sink.write_all(&bytes).await {
            tracing::trace!(%error, "a process does not take its input any more");
            return;
        }
    }
}

/// Tells a terminal the sizes that the client tells.
pub async fn follow_sizes(mut sizes: Sizes, terminal: Descriptor) {
    while let Some(size) = sizes.next().await {
        terminal.resize(size);
    }
}

/// One stream of a process's output.
struct Output {
    source: Descriptor,
    sink: Outgoing,
    /// When the process has ended.
    over: watch::Receiver<Option<Instant>>,
    /// How long after that somebody else may hold the stream open.
    drain: Duration,
}

impl Output {
    /// Copies the stream to its end: everything that was written before the process ended.
    async fn copy(mut self) -> Result<(), Gone> {
        let mut after_end = 0;
        while after_end < LAST_OUTPUT {
            let bytes = tokio::select! {
                biased;
                read = self.source.read() => read.unwrap_or_default(),
                () = passed(self.over.clone(), self.drain) => return Ok(()),
            };
            if bytes.is_empty() {
                return Ok(());
            }
            if self.over.borrow().is_some_and(|at| at.elapsed() > self.drain) {
                after_end += bytes.len();
            }
            tokio::select! {
                sent = self.sink.send(bytes) => sent?,
                // The client is not read to as long as the process runs; but it cannot keep the session for ever.
                () = passed(self.over.clone(), LAST_WORDS) => return Err(Gone),
            }
        }
        Ok(())
    }
}

/// Resolves when the process has been over for this long.
async fn passed(mut over: watch::Receiver<Option<Instant>>, time: Duration) {
    let at = over.wait_for(Option::is_some).await.ok().and_then(|at| *at);
    match at {
        Some(at) => tokio::time::sleep_until(at + time).await,
        None => std::future::pending().await,
    }
}
