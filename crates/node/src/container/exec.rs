//! ExecSync: a process in a running container, its output collected up to a limit.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use corten_monitor::protocol::{CallError, Exec, Exit};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

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

/// Runs `command` in `container` and waits for its end, at most `timeout` (`None`: without limit). A process that does
/// not end in time is killed, with its process group, before this returns.
pub async fn exec_sync(
    node: &Arc<Node>,
    container: &Arc<Container>,
    command: &[String],
    timeout: Option<Duration>,
) -> Result<Outcome> {
    let (Some(ready), Some(_)) = (container.pod.ready(), container.state().run().cloned()) else {
        let (id, state) = (container.id(), container.state());
        return Err(Error::Precondition(format!("container {id:?} is {}: nothing can be run in it", state.name())));
    };
    let (task_container, task_command) = (container.clone(), command.to_vec());
    let (exec, filter) = node.blocking(move |node| plan(node, &task_container, &task_command)).await?;
    let exec_id = id::generate()?;
    let null = open_null()?;
    let (stdout, stdout_writer) = pipe_pair()?;
    let (stderr, stderr_writer) = pipe_pair()?;
    let stdio = [null.as_fd(), stdout_writer.as_fd(), stderr_writer.as_fd()];
    let filter = filter.as_ref().map(|filter| filter.as_fd());
    let running = ready.monitor.exec(container.id(), &exec_id, &exec, stdio, filter).await;
    let running = running.map_err(|error| call_error(container, error))?;
    drop((stdout_writer, stderr_writer));
    let process = Process { monitor: ready.monitor, container: container.id().to_owned(), id: exec_id, ended: false };
    collect(node, process, running.exit, stdout, stderr, timeout, command).await
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

/// A process that is killed when nobody waits for it any more.
struct Process {
    monitor: Arc<Monitor>,
    container: String,
    id: String,
    ended: bool,
}

impl Process {
    async fn kill(&self) -> Result<(), CallError> {
        self.monitor.kill_exec(&self.container, &self.id).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (monitor, container, id) = (self.monitor.clone(), self.container.clone(), self.id.clone());
        tokio::spawn(async move { monitor.kill_exec(&container, &id).await });
    }
}

async fn collect(
    node: &Node,
    mut process: Process,
    mut exit: oneshot::Receiver<Exit>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    timeout: Option<Duration>,
    command: &[String],
) -> Result<Outcome> {
    let output = Output::new(node.config.exec.max_output);
    let mut reading = Box::pin(async { tokio::join!(output.read(stdout, 0), output.read(stderr, 1)) });
    let mut read = false;
    let limit = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let ended = loop {
        tokio::select! {
            ended = &mut exit => break ended.map_err(|_| Error::node("exec", "the pod's monitor is gone"))?,
            _ = &mut reading, if !read => read = true,
            () = &mut limit => {
                let _ = process.kill().await;
                let _ = tokio::time::timeout(GONE, &mut exit).await;
                process.ended = true;
                let (program, after) = (command.first().map_or("", String::as_str), timeout.unwrap_or_default());
                return Err(Error::Timeout(format!("command {program:?} timed out after {after:?} and was killed")));
            }
        }
    };
    process.ended = true;
    if !read && tokio::time::timeout(node.config.exec.drain(), &mut reading).await.is_err() {
        tracing::debug!(container = process.container, "a child of an exec'd process holds its output open");
    }
    drop(reading);
    let [stdout, stderr] = output.take();
    Ok(Outcome { stdout, stderr, code: ended.code })
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
    async fn read(&self, mut stream: pipe::Receiver, which: usize) {
        let mut chunk = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            let mut kept = crate::operation::lock(&self.kept);
            let room = self.limit.saturating_sub(kept[0].len() + kept[1].len());
            if let (Some(buffer), Some(bytes)) = (kept.get_mut(which), chunk.get(..length.min(room))) {
                buffer.extend_from_slice(bytes);
            }
        }
    }

    fn take(self) -> [Vec<u8>; 2] {
        self.kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
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
