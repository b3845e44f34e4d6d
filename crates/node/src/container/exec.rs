//! ExecSync: a process in a running container, its output collected up to a limit.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Container;
use super::process::{self, Process, Stdio, open_null, running};
use super::start::call_error;
use crate::error::{Error, Result};
use crate::node::Node;

/// What a process printed and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit code; 128 + signal if a signal ended it.
    pub code: i32,
}

/// Runs `command` in `container` and waits for its end, at most `timeout` (`None`: without limit). A process that does
/// not end in time is killed, with its process group, before this returns; so is one that nobody waits for any more.
pub async fn exec_sync(
    node: &Arc<Node>,
    container: &Arc<Container>,
    command: &[String],
    timeout: Option<Duration>,
) -> Result<Outcome> {
    let limit = Limit { at: timeout.and_then(|timeout| Instant::now().checked_add(timeout)), after: timeout };
    running(container)?;
    let (stdout, stdout_writer) = pipe_pair()?;
    let (stderr, stderr_writer) = pipe_pair()?;
    let streams = Stdio::Streams([open_null()?, stdout_writer, stderr_writer]);
    let mut process = Process::start(node, container, command, streams).await?;
    let output = Arc::new(Output::new(node.config.exec.max_output));
    let mut reading = JoinSet::new();
    reading.spawn(output.clone().read(stdout, 0));
    reading.spawn(output.clone().read(stderr, 1));
    let ended = tokio::select! {
        ended = process.wait() => ended.map_err(|error| call_error(container, error))?,
        () = limit.passed() => {
            process.kill().await;
            return Err(limit.error(command));
        }
    };
    let read = async { while reading.join_next().await.is_some() {} };
    if tokio::time::timeout(node.config.exec.drain(), read).await.is_err() {
        tracing::debug!(container = container.id(), "a child of an exec'd process holds its output open");
    }
    let [stdout, stderr] = output.take();
    Ok(Outcome { stdout, stderr, code: ended.code })
}

/// How long a process may take, its start included.
struct Limit {
    at: Option<Instant>,
    after: Option<Duration>,
}

impl Limit {
    async fn passed(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn error(&self, command: &[String]) -> Error {
        let (program, after) = (command.first().map_or("", String::as_str), self.after.unwrap_or_default());
        Error::Timeout(format!("command {program:?} timed out after {after:?} and was killed"))
    }
}

/// Both streams, bounded together.
struct Output {
    limit: usize,
    kept: std::sync::Mutex<[Vec<u8>; 2]>,
}

impl Output {
    fn new(limit: usize) -> Self {
        // A little of the message is for the fields' own bytes.
        Self { limit: limit.saturating_sub(64), kept: std::sync::Mutex::default() }
    }

    /// Reads a stream to its end; what is over the limit is dropped.
    async fn read(self: Arc<Self>, mut stream: pipe::Receiver, which: usize) {
        let mut chunk = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            let mut kept = crate::operation::lock(&self.kept);
            let room = self.limit.saturating_sub(kept[0].len() + kept[1].len());
            if let (Some(buffer), Some(bytes)) = (kept.get_mut(which), chunk.get(..length.min(room))) {
                buffer.extend_from_slice(bytes);
            }
        }
    }

    fn take(&self) -> [Vec<u8>; 2] {
        std::mem::take(&mut crate::operation::lock(&self.kept))
    }
}

/// A pipe: what is read here, and what is written to elsewhere.
fn pipe_pair() -> Result<(pipe::Receiver, OwnedFd)> {
    let failed = |error: std::io::Error| Error::node("pipe", error);
    let (reader, writer) = process::pipe()?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
    Ok((pipe::Receiver::from_owned_fd(reader).map_err(failed)?, writer))
}
