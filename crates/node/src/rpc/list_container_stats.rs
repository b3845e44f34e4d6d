//! ListContainerStats

use std::sync::Arc;

use corten_cri::v1;
use futures::StreamExt;

use super::{selected, stats_message};
use crate::error::Result;
use crate::node::Node;
use crate::stats::{self, AT_ONCE};

/// The stats of the containers that a filter lets through.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ListContainerStatsRequest,
) -> Result<v1::ListContainerStatsResponse> {
    let v1::ListContainerStatsRequest { filter } = request;
    Ok(v1::ListContainerStatsResponse { stats: items(node, filter).await })
}

/// The same as items. A container that goes meanwhile is left out; one that does not run has only its writable layer.
pub async fn items(node: &Arc<Node>, filter: Option<v1::ContainerStatsFilter>) -> Vec<v1::ContainerStats> {
    let v1::ContainerStatsFilter { id, pod_sandbox_id, label_selector } = filter.unwrap_or_default();
    let mut containers = node.containers.all();
    containers.retain(|container| {
        container.id().starts_with(&id)
            && container.facts.pod_id.starts_with(&pod_sandbox_id)
            && selected(&label_selector, &container.config().labels)
            && stats::is_listed(&container.state())
    });
    let items = futures::stream::iter(containers).map(|container| async move {
        match stats::container(node, &container).await {
            Ok(usage) => Some(stats_message::container(node, &container, &usage)),
            Err(error) => {
                tracing::debug!(container = container.id(), %error, "no stats");
                None
            }
        }
    });
    items.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}
