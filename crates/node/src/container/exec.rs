//! ExecSync: a process in a running container, its output collected up to a limit.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use corten_monitor::protocol::{CallError, Exec, Exit};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::start::call_error;
use super::{Container, launch};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::node::{Handler, Node};
use crate::{id, spec};

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

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// How long after its container's end a process may still be reported.
const ORPHANED: Duration = Duration::from_secs(5);

/// Runs `command` in `container` and waits for its end, at most `timeout` (`None`: without limit). A process that does
/// not end in time is killed, with its process group, before this returns; so is one that nobody waits for any more.
pub async fn exec_sync(
    node: &Arc<Node>,
    container: &Arc<Container>,
    command: &[String],
    timeout: Option<Duration>,
) -> Result<Outcome> {
    let limit = Limit { at: timeout.and_then(|timeout| Instant::now().checked_add(timeout)), after: timeout };
    let (Some(ready), Some(_)) = (container.pod.ready(), container.state().run().cloned()) else {
        let (id, state) = (container.id(), container.state());
        return Err(Error::Precondition(format!("container {id:?} is {}: nothing can be run in it", state.name())));
    };
    let (task_container, task_command) = (container.clone(), command.to_vec());
    let (exec, filter) = node.blocking(move |node| plan(node, &task_container, &task_command)).await?;
    let (stdout, stdout_writer) = pipe_pair()?;
    let (stderr, stderr_writer) = pipe_pair()?;
    let streams = [open_null()?, stdout_writer, stderr_writer];
    let mut process = Process::start(container, ready.monitor, exec, streams, filter)?;
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

fn plan(node: &Node, container: &Container, command: &[String]) -> Result<(Exec, Option<Arc<OwnedFd>>)> {
    let whole = launch::read_spec(node, container)?;
    let filter = match node.handler(&container.pod.handler)? {
        Handler::BuiltIn => launch::seccomp_filter(node, &whole)?,
        Handler::External { .. } => None,
    };
    let process = spec::exec_process(&whole, command, false)?;
    Ok((Exec { process, terminal: false, seccomp: filter.is_some() }, filter))
}

/// A process, from before its start to its end. It runs in a task of its own, which kills it when nobody waits for it any
/// more, also if it is still being started then.
struct Process {
    task: JoinHandle<Result<Exit, CallError>>,
    abandon: Option<oneshot::Sender<()>>,
}

impl Process {
    fn start(
        container: &Arc<Container>,
        monitor: Arc<Monitor>,
        exec: Exec,
        streams: [OwnedFd; 3],
        filter: Option<Arc<OwnedFd>>,
    ) -> Result<Self> {
        let (abandon, abandoned) = oneshot::channel();
        let (container, id) = (container.clone(), id::generate()?);
        let task = tokio::spawn(async move {
            let stdio = streams.each_ref().map(AsFd::as_fd);
            let filter = filter.as_ref().map(|filter| filter.as_fd());
            let running = monitor.exec(container.id(), &id, &exec, stdio, filter).await?;
            drop(streams);
            follow(&container, &monitor, &id, running.exit, abandoned).await
        });
        Ok(Self { task, abandon: Some(abandon) })
    }

    async fn wait(&mut self) -> Result<Exit, CallError> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => Err(CallError::Node { step: "exec".into(), error: error.to_string() }),
        }
    }

    /// Kills it and waits until it is gone.
    async fn kill(mut self) {
        drop(self.abandon.take());
        let _ = tokio::time::timeout(GONE, self.wait()).await;
    }
}

/// Waits for a process's end. It is killed when it is abandoned; when its container ended it is not waited for much longer.
async fn follow(
    container: &Container,
    monitor: &Monitor,
    id: &str,
    mut exit: oneshot::Receiver<Exit>,
    abandoned: oneshot::Receiver<()>,
) -> Result<Exit, CallError> {
    let gone =
        || CallError::Node { step: "exec".into(), error: "the process is gone and nobody saw how it ended".into() };
    let orphaned = async {
        let _ = container.watch().wait_for(|state| state.run().is_none()).await;
        tokio::time::sleep(ORPHANED).await;
    };
    tokio::select! {
        ended = &mut exit => return ended.map_err(|_| gone()),
        () = orphaned => return Err(gone()),
        _ = abandoned => {}
    }
    monitor.kill_exec(container.id(), id).await?;
    exit.await.map_err(|_| gone())
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

fn pipe_pair() -> Result<(pipe::Receiver, OwnedFd)> {
    let failed = |error: std::io::Error| Error::node("pipe", error);
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let reader: OwnedFd = reader.into();
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
    Ok((pipe::Receiver::from_owned_fd(reader).map_err(failed)?, writer.into()))
}

fn open_null() -> Result<OwnedFd> {
    std::fs::File::open("/dev/null").map(Into::into).map_err(|error| Error::node("open /dev/null", error))
}
