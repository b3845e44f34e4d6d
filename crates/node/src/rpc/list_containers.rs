//! ListContainers

use corten_cri::v1;

use super::{container_message, selected};
use crate::check;
use crate::error::Result;
use crate::node::Node;

/// The containers that a filter lets through, newest first, from memory.
pub async fn handle(node: &Node, request: v1::ListContainersRequest) -> Result<v1::ListContainersResponse> {
    let v1::ListContainersRequest { filter } = request;
    Ok(v1::ListContainersResponse { containers: items(node, filter)? })
}

/// The containers that a filter lets through, newest first.
pub(super) fn items(node: &Node, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
    let v1::ContainerFilter { id, state, pod_sandbox_id, label_selector } = filter.unwrap_or_default();
    let state = state
        .map(|v1::ContainerStateValue { state }| check::known::<v1::ContainerState>("filter.state.state", state))
        .transpose()?;
    let mut containers: Vec<v1::Container> = node
        .containers
        .all()
        .iter()
        .filter(|container| container.id().starts_with(&id) && container.facts.pod_id.starts_with(&pod_sandbox_id))
        .filter(|container| selected(&label_selector, &container.config().labels))
        .filter_map(|container| container_message::listed(container))
        .filter(|container| state.is_none_or(|state| container.state() == state))
        .collect();
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    Ok(containers)
}
