//! Hearing from a pod's monitor how its containers ended.

use std::sync::Arc;
use std::time::Duration;

use corten_cri::v1::ContainerEventType;
use corten_monitor::protocol::Exit;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Ended, State};
use crate::monitor::Event;
use crate::node::Node;
use crate::pod::{self, Pod};
use crate::recovery;

/// Follows a monitor's events in a task of its own, until the monitor is gone.
pub fn watch(node: &Arc<Node>, pod: &Arc<Pod>, mut events: UnboundedReceiver<Event>) {
    let (node, pod) = (node.clone(), pod.clone());
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                Event::Exited { container, started, exit } => exited(&node, &pod, &container, started, &exit).await,
                Event::Gone => return gone(&node, &pod).await,
            }
        }
    });
}

/// Notes that a container ended as its monitor saw it, and lets the monitor forget it.
pub async fn exited(node: &Arc<Node>, pod: &Arc<Pod>, id: &str, started: Option<i64>, exit: &Exit) {
    let Some(container) = node.containers.get(id) else { return };
    tracing::info!(container = id, code = exit.code, signal = exit.signal, oom = exit.oom, "container exited");
    let noted = container.change(node, |state| match state {
        State::Running(run) | State::Stopping(run) => Some(State::Exited(Ended::seen(run.started_at, exit))),
        // Faster than the answer to its own launch, which puts the start time right if it was not told.
        State::Starting => Some(State::Exited(Ended::seen(started.unwrap_or(exit.at), exit))),
        State::Creating | State::Created | State::Exited(_) | State::Lost(_) | State::Removing(_) => None,
    });
    match noted {
        Ok(()) => {
            if let Some(monitor) = pod.monitor() {
                let _ = monitor.forget(id).await;
            }
        }
        Err(error) => tracing::error!(container = id, %error, "an exit could not be recorded"),
    }
}

/// How long after its connection a dying monitor's process may end.
const DYING: Duration = Duration::from_millis(500);

/// The connection to a monitor ended. One that lives is found again; one that died while its pod was ready has its
/// containers killed. While its pod is being stopped it may go, but no container may then be waited for any longer.
async fn gone(node: &Arc<Node>, pod: &Arc<Pod>) {
    let Some(monitor) = pod.monitor() else { return };
    if pod.ready().is_some() && !monitor.ends_within(DYING).await {
        tracing::warn!(pod = pod.id, pid = monitor.pid, "the connection to the pod's monitor broke");
        let network = pod.ready().and_then(|ready| ready.network);
        match recovery::find(node, pod, network, pod::State::Ready).await {
            Ok(()) if pod.ready().is_some() => return,
            Ok(()) => {}
            Err(error) => tracing::error!(pod = pod.id, %error, "the monitor could not be found again"),
        }
    }
    let why = "its monitor died";
    let broken = pod.change(node, |state| match state {
        pod::State::Ready(_) => Some(pod::State::Broken { why: why.into() }),
        _ => None,
    });
    match broken {
        Ok(()) => {
            tracing::info!(pod = pod.id, pid = monitor.pid, "the pod's monitor is gone");
            if matches!(pod.state(), pod::State::Broken { .. }) {
                node.events.pod(pod, ContainerEventType::ContainerStoppedEvent);
            }
        }
        Err(error) => tracing::error!(pod = pod.id, %error, "the pod's state could not be recorded"),
    }
    monitor.kill().await;
    lose_containers(node, pod, why).await;
}

/// Kills what is left of a pod's containers after its monitor died, and notes that nobody saw how they ended.
pub async fn lose_containers(node: &Arc<Node>, pod: &Arc<Pod>, why: &str) {
    for container in node.containers.of_pod(&pod.id) {
        if let Err(error) = super::stop::kill_cgroup(node, &container).await {
            tracing::error!(container = container.id(), %error, "what is left of a lost container could not be killed");
        }
        let noted = super::remove::end_unseen(node, &container, State::Lost, why);
        if let Err(error) = noted {
            tracing::error!(container = container.id(), %error, "a lost container could not be recorded");
        }
    }
}
