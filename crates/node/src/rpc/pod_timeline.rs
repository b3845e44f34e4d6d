//! PodTimeline of `corten.v1.Node`: what was done to a pod, step by step.

use std::sync::Arc;

use corten_cri::node as api;

use crate::error::Result;
use crate::node::Node;

/// The newest steps of a pod, oldest first.
pub async fn handle(node: &Arc<Node>, request: api::PodTimelineRequest) -> Result<api::PodTimelineResponse> {
    let api::PodTimelineRequest { pod_sandbox_id } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let steps = pod.timeline.steps().into_iter().map(|step| api::Step {
        name: step.name,
        start_unix_nanos: step.start,
        duration_nanos: step.duration,
        error: step.error.unwrap_or_default(),
    });
    Ok(api::PodTimelineResponse { steps: steps.collect() })
}
