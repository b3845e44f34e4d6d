//! StopPodSandbox: its containers are killed, its network and monitor go; its records and theirs stay.

use std::sync::Arc;

use corten_cri::v1::ContainerEventType;

use super::admit::{Admission, admit};
use super::{Operation, Pod, State, undo};
use crate::container;
use crate::error::Result;
use crate::node::Node;
pub use undo::all;

/// Stops a pod.
pub async fn stop(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let (task_node, task_pod) = (node.clone(), pod.clone());
    pod.slot.run(Operation::Stop, || async move { operation(&task_node, &task_pod).await }).await
}

async fn operation(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    match admit(&pod.id, &pod.state(), Operation::Stop) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    bring_down(node, pod).await
}

/// Stops a pod whatever state it is in.
pub(super) async fn bring_down(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let ready = pod.parts();
    let monitor = ready.as_ref().map(|ready| ready.monitor.clone());
    pod.set(node, State::Stopping(ready))?;
    let containers = pod.timeline.step("stop/containers", container::stop::kill_all(node, pod)).await;
    let rest = undo::running_parts(node, pod, monitor).await;
    // What a container still has in it would be forgotten with it.
    let cgroup = match containers.is_ok() {
        true => undo::cgroup(node, pod).await,
        false => Ok(()),
    };
    match all([containers, rest, cgroup]) {
        Ok(()) => {
            pod.set(node, State::Stopped)?;
            node.events.pod(pod, ContainerEventType::ContainerStoppedEvent);
            Ok(())
        }
        Err(error) => {
            pod.set(node, State::Broken { why: error.to_string() })?;
            Err(error)
        }
    }
}
