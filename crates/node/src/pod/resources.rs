//! A pod's own limits: what its containers are allowed together, and what the pod costs beside them.
//!
//! The kubelet makes the cgroup that it names as a pod's parent, and sets its limits before it tells us of them: that one is left
//! alone. A pod whose parent nobody named has a cgroup of ours, which gets the sum of both.

use std::sync::Arc;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::Pod;
use crate::container::update::refused;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::resources::Resources;
use crate::spec;

/// A pod's limits; what is `None` was never told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodResources {
    /// What the pod itself costs.
    pub overhead: Option<Resources>,
    /// What its containers are allowed together.
    pub resources: Option<Resources>,
}

impl PodResources {
    /// These limits with those of `change` instead, where it has any.
    fn changed_by(&self, change: &Self) -> Self {
        Self {
            overhead: merged(self.overhead.as_ref(), change.overhead.as_ref()),
            resources: merged(self.resources.as_ref(), change.resources.as_ref()),
        }
    }

    /// Whether the values of each go together.
    fn check(&self) -> Result<()> {
        let parts = [("overhead", &self.overhead), ("resources", &self.resources)];
        parts.iter().try_for_each(|(field, part)| part.as_ref().map_or(Ok(()), |part| part.check(field)))
    }

    /// Both together, for the pod's cgroup. What the containers are not limited in, the pod is not.
    fn total(&self) -> Resources {
        let Some(resources) = &self.resources else { return Resources::default() };
        let Some(overhead) = &self.overhead else { return resources.clone() };
        let add = |limit: Option<i64>, more: Option<i64>| match limit {
            Some(limit @ 0..) => Some(limit.saturating_add(more.unwrap_or_default().max(0))),
            other => other,
        };
        Resources {
            cpu_quota: add(resources.cpu_quota, quota_in(resources.cpu_period, overhead)),
            cpu_shares: resources
                .cpu_shares
                .map(|shares| shares.saturating_add(overhead.cpu_shares.unwrap_or_default())),
            memory_limit: add(resources.memory_limit, overhead.memory_limit),
            memory_swap_limit: add(resources.memory_swap_limit, overhead.memory_swap_limit.or(overhead.memory_limit)),
            ..resources.clone()
        }
    }
}

/// The period where none is named, in microseconds: the kernel's.
const PERIOD: u64 = 100_000;

/// A quota in terms of another period.
fn quota_in(period: Option<u64>, of: &Resources) -> Option<i64> {
    let (to, from) = (period.unwrap_or(PERIOD), of.cpu_period.unwrap_or(PERIOD).max(1));
    let quota = u128::try_from(of.cpu_quota?).ok()?;
    i64::try_from(quota * u128::from(to) / u128::from(from)).ok()
}

fn merged(before: Option<&Resources>, change: Option<&Resources>) -> Option<Resources> {
    match (before, change) {
        (Some(before), Some(change)) => Some(before.changed_by(change)),
        (before, change) => change.or(before).cloned(),
    }
}

/// What a new pod's cgroup is limited to, if it is ours.
pub(super) fn limits_of_new(node: &Node, pod: &Pod) -> Result<LinuxResources> {
    match pod.config.cgroup_parent {
        Some(_) => Ok(LinuxResources::default()),
        None => spec::linux_resources(&pod.resources().total(), &node.host, "config.linux.resources", &mut Vec::new()),
    }
}

/// Limits a new pod's cgroup, if it is ours.
pub(super) fn apply(node: &Node, pod: &Pod) -> Result<()> {
    set(node, pod, &pod.resources(), "config.linux.resources")
}

/// Changes a pod's limits.
///
/// # Errors
/// [`Error::Precondition`] if the pod is not ready, [`Error::Invalid`] naming the field of a value that cannot be.
pub async fn update(node: &Arc<Node>, pod: &Arc<Pod>, change: PodResources) -> Result<()> {
    let guard = pod.updating.clone().lock_owned().await;
    if pod.ready().is_none() {
        return Err(Error::Precondition(format!("pod sandbox {:?} is {}", pod.id, pod.state().name())));
    }
    let pod = pod.clone();
    node.blocking(move |node| {
        // Held also when the caller gives up meanwhile.
        let _guard = guard;
        let after = pod.resources().changed_by(&change);
        after.check()?;
        set(node, &pod, &after, "resources")?;
        pod.set_resources(node, after)
    })
    .await
}

fn set(node: &Node, pod: &Pod, resources: &PodResources, field: &str) -> Result<()> {
    if pod.config.cgroup_parent.is_some() {
        return Ok(());
    }
    let mut withheld = Vec::new();
    let limits = spec::linux_resources(&resources.total(), &node.host, field, &mut withheld)?;
    for what in withheld {
        tracing::info!(pod = pod.id, what, "withheld: this node cannot do it");
    }
    let place = pod.place(node);
    let cgroup = node.cgroup(place.path())?;
    if node.driver.is_unit(place) {
        let told = cgroup.update_with(&limits, || node.driver.limit(place, &limits));
        told.map_err(|error| refused(field, error))??;
        // It rounds quotas: they are written again.
    }
    cgroup.update(&limits).map_err(|error| refused(field, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits(memory: i64, quota: i64, period: u64) -> Resources {
        let (memory_limit, cpu_quota, cpu_period) = (Some(memory), Some(quota), Some(period));
        Resources { memory_limit, cpu_quota, cpu_period, cpu_shares: Some(100), ..Resources::default() }
    }

    #[test]
    fn overhead_is_added_to_what_is_limited() {
        let overhead = Some(limits(10, 5_000, 50_000));
        let total = |resources| PodResources { overhead: overhead.clone(), resources }.total();
        let both = total(Some(limits(100, 20_000, 100_000)));
        assert_eq!((both.memory_limit, both.cpu_quota, both.cpu_shares), (Some(110), Some(30_000), Some(200)));
        let free = total(Some(limits(-1, -1, 100_000)));
        assert_eq!((free.memory_limit, free.cpu_quota), (Some(-1), Some(-1)));
        assert_eq!(total(None), Resources::default());
        assert_eq!(total(Some(Resources::default())), Resources::default());
    }

    #[test]
    fn a_change_names_one_or_both() {
        let before = PodResources { overhead: None, resources: Some(limits(100, 20_000, 100_000)) };
        let more = Resources { memory_limit: Some(200), ..Resources::default() };
        let after = before.changed_by(&PodResources { overhead: Some(more.clone()), resources: Some(more.clone()) });
        assert_eq!(after.overhead, Some(more));
        assert_eq!(after.resources, Some(limits(200, 20_000, 100_000)));
        assert_eq!(after.changed_by(&PodResources::default()), after);
    }
}
