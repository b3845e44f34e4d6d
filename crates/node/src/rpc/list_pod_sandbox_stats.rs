//! ListPodSandboxStats

use std::sync::Arc;

use corten_cri::v1;
use futures::StreamExt;

use super::{selected, stats_message};
use crate::error::Result;
use crate::node::Node;
use crate::stats::{self, AT_ONCE};

/// The stats of the ready pods that a filter lets through.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ListPodSandboxStatsRequest,
) -> Result<v1::ListPodSandboxStatsResponse> {
    let v1::ListPodSandboxStatsRequest { filter } = request;
    Ok(v1::ListPodSandboxStatsResponse { stats: items(node, filter).await })
}

/// The same as items. A pod that stops meanwhile is left out.
pub async fn items(node: &Arc<Node>, filter: Option<v1::PodSandboxStatsFilter>) -> Vec<v1::PodSandboxStats> {
    let v1::PodSandboxStatsFilter { id, label_selector } = filter.unwrap_or_default();
    let mut pods = node.pods.all();
    pods.retain(|pod| {
        pod.id.starts_with(&id) && selected(&label_selector, &pod.config.labels) && pod.ready().is_some()
    });
    let items = futures::stream::iter(pods).map(|pod| async move {
        match stats::pod(node, &pod).await {
            Ok(usage) => Some(stats_message::pod(node, &pod, &usage)),
            Err(error) => {
                tracing::debug!(pod = pod.id, %error, "no stats");
                None
            }
        }
    });
    items.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}
