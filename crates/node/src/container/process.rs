//! A process run in a container, from before its start to its end.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use corten_host::mount;
use corten_monitor::protocol::{CallError, Exec, Exit};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Container, launch};
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::node::{Handler, Node};
use crate::seccomp::Compiled;
use crate::{id, spec};

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// How long after its container's end a process may still be reported.
const ORPHANED: Duration = Duration::from_secs(5);

/// What a process is connected to.
#[derive(Debug)]
pub enum Stdio {
    /// Its standard input, output and error.
    Streams([OwnedFd; 3]),
    /// A terminal, which is made for it.
    Terminal,
}

/// A process. It runs in a task of its own, which kills it, with its process group, when nobody waits for it any more, also if
/// it is still being started then.
#[derive(Debug)]
pub struct Process {
    task: JoinHandle<Result<Exit, CallError>>,
    started: Option<oneshot::Receiver<Option<OwnedFd>>>,
    abandon: Option<oneshot::Sender<()>>,
}

impl Process {
    /// Starts `command` in a running container, as its own process would be run.
    ///
    /// # Errors
    /// [`Error::Precondition`] if the container does not run; what keeps the plan from being made. That it could not be
    /// started is for [`Process::wait`] to tell.
    pub async fn start(node: &Arc<Node>, container: &Arc<Container>, command: &[String], stdio: Stdio) -> Result<Self> {
        let monitor = running(container)?;
        let (plan_container, plan_command) = (container.clone(), command.to_vec());
        let terminal = matches!(stdio, Stdio::Terminal);
        let (exec, filter) = node.blocking(move |node| plan(node, &plan_container, &plan_command, terminal)).await?;
        let (abandon, abandoned) = oneshot::channel();
        let (tell_started, started) = oneshot::channel();
        let (container, id) = (container.clone(), id::generate()?);
        let task = tokio::spawn(async move {
            let fds: Vec<OwnedFd> = match stdio {
                Stdio::Streams(streams) => streams.into(),
                Stdio::Terminal => Vec::new(),
            };
            let stdio: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            let filter = filter.as_ref().map(|filter| filter.memfd.as_fd());
            let running = monitor.exec(container.id(), &id, &exec, &stdio, filter).await?;
            drop(fds);
            // Nobody may want to know.
            let _ = tell_started.send(running.terminal);
            follow(&container, &monitor, &id, running.exit, abandoned).await
        });
        Ok(Self { task, started: Some(started), abandon: Some(abandon) })
    }

    /// Waits for it to run; its terminal's master, if it has a terminal.
    ///
    /// # Errors
    /// Why it could not be started.
    pub async fn started(&mut self) -> Result<Option<OwnedFd>, CallError> {
        if let Some(started) = self.started.take()
            && let Ok(terminal) = started.await
        {
            return Ok(terminal);
        }
        self.wait().await?;
        Err(CallError::Node { step: "exec".into(), error: "it was waited for twice".into() })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it could not be started, or that nobody saw how it ended.
    pub async fn wait(&mut self) -> Result<Exit, CallError> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) => Err(CallError::Node { step: "exec".into(), error: error.to_string() }),
        }
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(mut self) {
        drop(self.abandon.take());
        let _ = tokio::time::timeout(GONE, self.wait()).await;
    }
}

/// The monitor of a container that runs.
///
/// # Errors
/// [`Error::Precondition`] if it does not.
pub fn running(container: &Container) -> Result<Arc<Monitor>> {
    match (container.pod.ready(), container.state().run()) {
        (Some(ready), Some(_)) => Ok(ready.monitor),
        _ => {
            let (id, state) = (container.id(), container.state());
            Err(Error::Precondition(format!("container {id:?} is {}, not running", state.name())))
        }
    }
}

/// A pipe's read end and write end.
///
/// # Errors
/// What pipe(2) says.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::node("pipe", error))?;
    Ok((reader.into(), writer.into()))
}

/// `/dev/null`, for a process's stdin, or for output that nobody wants.
///
/// # Errors
/// What the kernel says.
pub fn open_null() -> Result<OwnedFd> {
    mount::null_device().map_err(|error| Error::node("open /dev/null", error))
}

fn plan(
    node: &Node,
    container: &Container,
    command: &[String],
    terminal: bool,
) -> Result<(Exec, Option<Arc<Compiled>>)> {
    let whole = launch::read_spec(node, container)?;
    let filter = match node.handler(&container.pod.handler)? {
        Handler::BuiltIn => launch::seccomp_filter(node, &whole)?,
        Handler::External { .. } => None,
    };
    let process = spec::exec_process(&whole, command, terminal)?;
    let seccomp_flags = filter.as_ref().and_then(|filter| filter.flags);
    Ok((Exec { process, terminal, seccomp: filter.is_some(), seccomp_flags }, filter))
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
