//! StopContainer: the stop signal, a grace period, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admit::admit;
use super::{Container, Operation, State};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::admit::Admission;
use crate::pod::{self, Pod};

/// How long a killed container may take to be gone: longer than any exit of a process that is not stuck in the kernel.
const GONE: Duration = Duration::from_secs(30);

/// Stops a container, killing it `grace` after its stop signal.
pub async fn stop(node: &Arc<Node>, container: &Arc<Container>, grace: Duration) -> Result<()> {
    // A grace that overflows the clock is as good as none.
    let deadline = Instant::now().checked_add(grace).unwrap_or_else(|| Instant::now() + Duration::from_secs(1 << 30));
    let joined = container.stop_deadline.send_if_modified(|current| match current {
        Some(earlier) if *earlier <= deadline => false,
        _ => {
            *current = Some(deadline);
            true
        }
    });
    tracing::debug!(container = container.id(), ?grace, brought_forward = joined, "stop");
    let (task_node, task_container) = (node.clone(), container.clone());
    container.slot.run(Operation::Stop, || async move { operation(&task_node, &task_container).await }).await
}

async fn operation(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    let outcome = match admit(container.id(), &container.state(), Operation::Stop) {
        Admission::Do => signal_then_kill(node, container).await,
        Admission::Done => Ok(()),
        Admission::Refuse(error) => Err(error),
    };
    container.stop_deadline.send_replace(None);
    outcome
}

async fn signal_then_kill(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    container.change(node, |state| match state {
        State::Running(run) => Some(State::Stopping(run.clone())),
        _ => None,
    })?;
    if grace_left(container) {
        let signal = container.resolved().map_or(libc::SIGTERM, |resolved| resolved.stop_signal);
        if send(container, signal, false).await.is_ok() && ended_in_grace(container).await {
            return Ok(());
        }
    }
    kill(node, container).await
}

fn grace_left(container: &Container) -> bool {
    container.stop_deadline.borrow().is_some_and(|deadline| deadline > Instant::now())
}

/// Waits for the end, or for the deadline, which may be brought forward meanwhile.
async fn ended_in_grace(container: &Container) -> bool {
    let mut deadlines = container.stop_deadline.subscribe();
    loop {
        let deadline = deadlines.borrow_and_update().unwrap_or_else(Instant::now);
        tokio::select! {
            () = ended(container) => return true,
            () = tokio::time::sleep_until(deadline) => return false,
            _ = deadlines.changed() => {}
        }
    }
}

async fn ended(container: &Container) {
    let _ = container.watch().wait_for(|state| state.run().is_none() && *state != State::Starting).await;
}

/// Kills a container with all its processes and waits until it is gone.
pub async fn kill(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    if let Err(error) = send(container, libc::SIGKILL, true).await {
        tracing::debug!(container = container.id(), %error, "killed without its monitor");
        kill_cgroup(node, container).await?;
        return super::remove::end_unseen(node, container, State::Exited, "its monitor was gone when it was killed");
    }
    match tokio::time::timeout(GONE, ended(container)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Timeout(format!("container {:?} is still there {GONE:?} after SIGKILL", container.id()))),
    }
}

async fn send(container: &Container, signal: i32, all: bool) -> Result<()> {
    use corten_monitor::protocol::CallError;
    let Some(monitor) = container.pod.monitor() else {
        return Err(Error::Precondition(format!("pod sandbox {:?} has no monitor", container.pod.id)));
    };
    match monitor.signal(container.id(), signal, all).await {
        Ok(()) | Err(CallError::NotRunning { .. } | CallError::NotFound { .. }) => Ok(()),
        Err(error) => Err(Error::node(format!("signal {signal} to container {}", container.id()), error)),
    }
}

/// Kills whatever is in the container's cgroup.
pub async fn kill_cgroup(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    let container = container.clone();
    node.blocking(move |node| {
        let cgroup = node.cgroup(&container.cgroup(node))?;
        cgroup.kill(libc::SIGKILL).map_err(|error| Error::node("kill the container's cgroup", error))
    })
    .await
}

/// Kills every container of a pod that is being stopped and undoes what they have on the host.
pub async fn kill_all(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let each = node.containers.of_pod(&pod.id).into_iter().map(|container| kill_one(node, container));
    pod::stop::all(futures::future::join_all(each).await)
}

/// A create or start that hangs is not waited for beyond [`GONE`]: it fails when the monitor leaves, which comes next.
async fn kill_one(node: &Arc<Node>, container: Arc<Container>) -> Result<()> {
    let stopped = match tokio::time::timeout(GONE, stop(node, &container, Duration::ZERO)).await {
        Ok(stopped) => stopped,
        Err(_) => Err(Error::Timeout(format!("container {:?} is not stopped in {GONE:?}", container.id()))),
    };
    stopped.and(super::remove::cgroup(node, &container).await)
}
