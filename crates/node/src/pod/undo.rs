//! Undoing what a run did. Every step is idempotent and takes its names from the pod's id, so the same list serves a
//! failed run, Stop and Remove, and a daemon that finds what another left. All steps are attempted; every error is told.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Pod;
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::node::Node;
use crate::{id, record};

/// Undoes everything, the pod's records included.
pub async fn everything(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    all([running_parts(node, pod, None).await, cgroup(node, pod).await])?;
    pod.timeline.step("undo/files", async { record::remove_directory(&node.pod_directory(&pod.id)) }).await
}

/// Undoes what a pod has while it runs, all but its cgroups: monitor, network, network namespace.
pub async fn running_parts(node: &Arc<Node>, pod: &Arc<Pod>, monitor: Option<Arc<Monitor>>) -> Result<()> {
    let timeline = &pod.timeline;
    let outcomes = [
        timeline.step("undo/monitor", leave(node, pod, monitor)).await,
        timeline.step("undo/network", network(node, pod)).await,
        timeline.step("undo/netns", netns(node, pod)).await,
    ];
    all(outcomes)
}

/// One error of several.
pub fn all(outcomes: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let errors: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
    match errors.len() {
        0 => Ok(()),
        1 => errors.into_iter().next().map_or(Ok(()), Err),
        _ => {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(Error::node("undo", all.join("; ")))
        }
    }
}

async fn leave(node: &Node, pod: &Pod, monitor: Option<Arc<Monitor>>) -> Result<()> {
    match monitor {
        Some(monitor) if monitor.is_open() => return monitor.leave().await,
        Some(monitor) => monitor.kill().await,
        None => {}
    }
    let (events, _) = mpsc::unbounded_channel();
    let directory = node.pod_directory(&pod.id);
    match Monitor::find(&directory, &pod.id, events).await {
        Ok(Some(monitor)) => monitor.leave().await,
        // No socket, or nobody behind it.
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::warn!(pod = id::short(&pod.id), %error, "the monitor does not answer; its cgroup is killed");
            Ok(())
        }
    }
}

async fn network(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    if !pod.has_network() {
        return Ok(());
    }
    let id = pod.id.clone();
    node.blocking(move |node| node.network.detach(&id)).await
}

async fn netns(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    if !pod.has_network() {
        return Ok(());
    }
    let path = node.netns_path(&pod.id);
    node.blocking(move |_| {
        corten_host::network::netns::remove(&path).map_err(|error| Error::node("network namespace", error))
    })
    .await
}

/// Removes the pod's cgroups; nothing of its containers is to be in them any more.
pub async fn cgroup(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let task_pod = pod.clone();
    let removed = node.blocking(move |node| super::cgroup::remove(node, &task_pod));
    pod.timeline.step("undo/cgroup", removed).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_error_is_told() {
        assert!(all([Ok(()), Ok(())]).is_ok());
        let both = all([Err(Error::node("a", "x")), Ok(()), Err(Error::node("b", "y"))]).unwrap_err().to_string();
        assert_eq!(both, "undo: a: x; b: y");
        assert_eq!(all([Ok(()), Err(Error::node("b", "y"))]).unwrap_err().to_string(), "b: y");
    }
}
