//! What one pod uses.

use std::sync::Arc;

use corten_host::cgroup::Stats;
use corten_host::network::POD_INTERFACE;
use corten_host::network::interfaces::{Interface, interfaces};

use super::container::{age, is_listed};
use super::{ContainerUsage, container, is_gone};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::Pod;
use crate::timeline::now;

/// What a pod uses.
pub struct PodUsage {
    /// When it was read, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// The usage of the pod's cgroup: its containers', its monitor's, and what else the kubelet lets be in it.
    pub cgroup: Stats,
    /// The rate of CPU time, in nanoseconds per second.
    pub nano_cores: Option<u64>,
    /// Its network; `None` on the host's.
    pub network: Option<PodTraffic>,
    /// Its containers.
    pub containers: Vec<(Arc<Container>, ContainerUsage)>,
}

/// The traffic of a pod's interfaces, without loopback.
#[derive(Debug, Clone, Default)]
pub struct PodTraffic {
    /// The pod's own interface; the first if it has none of that name.
    pub default: Option<Interface>,
    /// The others.
    pub others: Vec<Interface>,
}

impl PodUsage {
    /// How many processes the containers have.
    pub fn processes(&self) -> u64 {
        let counts = self.containers.iter().filter_map(|(_, usage)| Some(usage.running.as_ref()?.processes));
        counts.fold(0, u64::saturating_add)
    }
}

impl PodTraffic {
    fn new(mut all: Vec<Interface>, default: &str) -> Self {
        let index = all.iter().position(|interface| interface.name == default).unwrap_or_default();
        let default = (index < all.len()).then(|| all.remove(index));
        Self { default, others: all }
    }

    /// All interfaces, the pod's own first.
    pub fn all(self) -> Vec<Interface> {
        self.default.into_iter().chain(self.others).collect()
    }
}

/// Measures a ready pod and its containers. A container that goes meanwhile is left out.
///
/// # Errors
/// If the pod is not ready, or its cgroup cannot be read.
pub async fn pod(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<PodUsage> {
    let reading = pod.clone();
    let (at, cgroup, nano_cores, network) = node.blocking(move |node| read(node, &reading)).await?;
    let mut containers = Vec::new();
    for of_pod in node.containers.of_pod(&pod.id).into_iter().filter(|container| is_listed(&container.state())) {
        match container(node, &of_pod).await {
            Ok(usage) => containers.push((of_pod, usage)),
            Err(error) => tracing::debug!(container = of_pod.id(), %error, "no stats"),
        }
    }
    Ok(PodUsage { at, cgroup, nano_cores, network, containers })
}

type Read = (i64, Stats, Option<u64>, Option<PodTraffic>);

fn read(node: &Node, pod: &Pod) -> Result<Read> {
    let not_ready = || Error::Precondition(format!("pod sandbox {:?} is {}", pod.id, pod.state().name()));
    if pod.ready().is_none() {
        return Err(not_ready());
    }
    let at = now();
    let stats = node.cgroup(&pod.cgroup_parent(node))?.stats().map_err(|error| match is_gone(&error) {
        true => not_ready(),
        false => Error::node("read the pod's cgroup", error),
    })?;
    let nano_cores = stats.cpu.and_then(|cpu| pod.cpu.rate(cpu.usage, age(at, pod.created_at)));
    Ok((at, stats, nano_cores, traffic(node, pod)))
}

/// The traffic of a pod that has a network of its own; `None` too if it cannot be read: the pod is just being stopped, say.
pub(super) fn traffic(node: &Node, pod: &Pod) -> Option<PodTraffic> {
    if !pod.has_network() {
        return None;
    }
    let default = pod.parts().and_then(|parts| parts.network).map(|attached| attached.interface);
    match interfaces(&node.netns_path(&pod.id)) {
        Ok(all) => Some(PodTraffic::new(all, default.as_deref().unwrap_or(POD_INTERFACE))),
        Err(error) => {
            tracing::debug!(pod = pod.id, %error, "no network stats");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_own_interface_is_the_default_and_not_among_the_others() {
        let of = |name: &str| Interface { name: name.to_owned(), ..Interface::default() };
        let traffic = PodTraffic::new(vec![of("net1"), of("eth0"), of("net2")], "eth0");
        assert_eq!(traffic.default, Some(of("eth0")));
        assert_eq!(traffic.others, [of("net1"), of("net2")]);
        assert_eq!(PodTraffic::new(vec![of("net1")], "eth0").default, Some(of("net1")));
        assert_eq!(PodTraffic::new(Vec::new(), "eth0").default, None);
    }
}
