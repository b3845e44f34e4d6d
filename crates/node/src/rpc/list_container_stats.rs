//! ListContainerStats

use std::sync::Arc;

use corten_cri::v1;

use super::{selected, stats_message};
use crate::container::State;
use crate::error::Result;
use crate::node::Node;

/// The stats of the containers that a filter lets through. A container that goes meanwhile is left out.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ListContainerStatsRequest,
) -> Result<v1::ListContainerStatsResponse> {
    let v1::ListContainerStatsRequest { filter } = request;
    let v1::ContainerStatsFilter { id, pod_sandbox_id, label_selector } = filter.unwrap_or_default();
    let mut stats = Vec::new();
    for container in node.containers.all() {
        let wanted = container.id().starts_with(&id)
            && container.facts.pod_id.starts_with(&pod_sandbox_id)
            && selected(&label_selector, &container.config().labels)
            && !matches!(container.state(), State::Creating | State::Removing(_));
        if !wanted {
            continue;
        }
        match stats_message::of(node, &container).await {
            Ok(message) => stats.push(message),
            Err(error) => tracing::debug!(container = container.id(), %error, "no stats"),
        }
    }
    Ok(v1::ListContainerStatsResponse { stats })
}
