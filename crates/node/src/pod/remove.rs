//! RemovePodSandbox: stopped if need be, then its containers and records go.

use std::sync::Arc;

use corten_cri::v1::ContainerEventType;

use super::admit::{Admission, admit};
use super::{Operation, Pod, State, stop};
use crate::container;
use crate::error::Result;
use crate::node::Node;
use crate::record;

/// Removes a pod and everything it had.
pub async fn remove(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let (task_node, task_pod) = (node.clone(), pod.clone());
    pod.slot.run(Operation::Remove, || async move { operation(&task_node, &task_pod).await }).await
}

async fn operation(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    match admit(&pod.id, &pod.state(), Operation::Remove) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    if !node.pods.holds(&pod.id) {
        return Ok(());
    }
    if !matches!(pod.state(), State::Stopped | State::Removing) {
        stop::bring_down(node, pod).await?;
    }
    pod.set(node, State::Removing)?;
    pod.timeline.step("remove/containers", container::remove::remove_all(node, pod)).await?;
    pod.timeline.step("remove/files", async { record::remove_directory(&node.pod_directory(&pod.id)) }).await?;
    node.pods.remove(&pod.id);
    node.events.pod(pod, ContainerEventType::ContainerDeletedEvent);
    Ok(())
}
