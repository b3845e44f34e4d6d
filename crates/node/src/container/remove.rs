//! RemoveContainer: killed if it runs, then everything of it goes but its log.

use std::sync::Arc;

use corten_cri::v1::ContainerEventType;

use super::admit::admit;
use super::{Container, Ended, Operation, State, launch, stop};
use crate::error::{Error, Result};
use crate::node::{Handler, Node};
use crate::pod::admit::Admission;
use crate::pod::{self, Pod};
use crate::record;

/// Removes a container.
pub async fn remove(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    // A stop that runs must not be waited for: removal kills.
    container.stop_deadline.send_if_modified(|deadline| match deadline {
        Some(deadline) => {
            *deadline = tokio::time::Instant::now();
            true
        }
        None => false,
    });
    let (task_node, task_container) = (node.clone(), container.clone());
    container.slot.run(Operation::Remove, || async move { operation(&task_node, &task_container).await }).await
}

async fn operation(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    match admit(container.id(), &container.state(), Operation::Remove) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    if !node.containers.holds(container.id()) {
        return Ok(());
    }
    if container.state().run().is_some() {
        stop::kill(node, container).await?;
    }
    container.change(node, |state| match state {
        State::Removing(_) => None,
        other => Some(State::Removing(other.ended().cloned())),
    })?;
    everything(node, container).await?;
    node.containers.remove(container.id());
    node.events.container(&container.pod, container.id(), ContainerEventType::ContainerDeletedEvent);
    Ok(())
}

/// Undoes everything a container has; each part is idempotent, all are attempted.
pub async fn everything(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    if let Some(monitor) = container.pod.monitor() {
        let _ = monitor.forget(container.id()).await;
    }
    pod::stop::all([cgroup(node, container).await, external(node, container).await, snapshot(node, container).await])?;
    record::remove_directory(&node.container_directory(container.id()))
}

/// Removes the container's cgroup, with whatever is still in it.
pub async fn cgroup(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    let container = container.clone();
    node.blocking(move |node| {
        let failed = |error| Error::node("remove the container's cgroup", error);
        let place = container.place(node);
        let cgroup = node.cgroup(place.path())?;
        cgroup.kill(libc::SIGKILL).map_err(failed)?;
        node.driver.stop(&place)?;
        cgroup.remove().map_err(failed)
    })
    .await
}

/// Removes what an external runtime keeps of the container, and where its root was mounted.
async fn external(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    match node.handler(&container.pod.handler) {
        Ok(Handler::External { name, .. }) => pod::stop::all([
            record::remove_directory(&launch::external_state(node, &name).join(container.id())),
            record::remove_directory(&node.external_mounts().join(container.id())),
        ]),
        Ok(Handler::BuiltIn) | Err(_) => Ok(()),
    }
}

async fn snapshot(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    node.images.remove_snapshot(container.id()).await.map_err(Into::into)
}

/// Removes all containers of a pod.
pub async fn remove_all(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let containers = node.containers.of_pod(&pod.id);
    let each = containers.iter().map(|container| remove(node, container));
    pod::stop::all(futures::future::join_all(each).await)
}

/// Takes a container for ended, `into` Exited or Lost, whose end nobody saw. One that does not run stays as it is.
pub fn end_unseen(node: &Node, container: &Container, into: fn(Ended) -> State, why: &str) -> Result<()> {
    container.change(node, |state| match state {
        State::Running(run) | State::Stopping(run) => Some(into(Ended::unseen(Some(run.started_at), why))),
        State::Starting => Some(into(Ended::unseen(None, why))),
        State::Creating | State::Created | State::Exited(_) | State::Lost(_) | State::Removing(_) => None,
    })
}
