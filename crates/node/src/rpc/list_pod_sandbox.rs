//! ListPodSandbox

use corten_cri::v1;

use super::{pod_message, selected};
use crate::check;
use crate::error::Result;
use crate::node::Node;

/// The pod sandboxes that a filter lets through, newest first, from memory.
pub async fn handle(node: &Node, request: v1::ListPodSandboxRequest) -> Result<v1::ListPodSandboxResponse> {
    let v1::ListPodSandboxRequest { filter } = request;
    Ok(v1::ListPodSandboxResponse { items: items(node, filter)? })
}

/// The pod sandboxes that a filter lets through, newest first.
pub(super) fn items(node: &Node, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
    let v1::PodSandboxFilter { id, state, label_selector } = filter.unwrap_or_default();
    let state = state
        .map(|v1::PodSandboxStateValue { state }| check::known::<v1::PodSandboxState>("filter.state.state", state))
        .transpose()?;
    let mut items: Vec<v1::PodSandbox> = node
        .pods
        .all()
        .iter()
        .filter(|pod| pod.id.starts_with(&id) && selected(&label_selector, &pod.config.labels))
        .filter_map(|pod| pod_message::listed(pod))
        .filter(|pod| state.is_none_or(|state| pod.state() == state))
        .collect();
    items.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
    Ok(items)
}
