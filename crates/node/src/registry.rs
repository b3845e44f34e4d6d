//! The pods and containers there are: by id, by unique prefix of an id, and by name for creating.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use crate::container::config::ContainerConfig;
use crate::container::{Container, Facts, Record, State};
use crate::error::{Error, Result};
use crate::id;
use crate::operation::lock;
use crate::pod::Pod;
use crate::pod::config::PodConfig;
use crate::timeline::now;

/// All pods.
#[derive(Default)]
pub struct Pods {
    by_id: Mutex<BTreeMap<String, Arc<Pod>>>,
}

/// All containers.
#[derive(Default)]
pub struct Containers {
    by_id: Mutex<BTreeMap<String, Arc<Container>>>,
}

impl Pods {
    /// The pod of this name, namespace, uid and attempt: the one there is, if it was asked for with the same words, or a
    /// new one that is starting.
    pub fn claim(&self, config: PodConfig, handler: String) -> Result<Arc<Pod>> {
        let id = id::generate()?;
        let mut pods = lock(&self.by_id);
        if let Some(pod) = pods.values().find(|pod| pod.config.metadata == config.metadata) {
            if pod.config == config && pod.handler == handler {
                return Ok(pod.clone());
            }
            let (name, state) = (&config.metadata.name, pod.state());
            return Err(Error::Exists(format!(
                "pod {name:?} of this namespace, uid and attempt exists with another configuration: sandbox {:?} is {}",
                pod.id,
                state.name()
            )));
        }
        let pod = Arc::new(Pod::new(id.clone(), config, handler));
        pods.insert(id, pod.clone());
        Ok(pod)
    }

    /// Adds a pod found on disk.
    pub fn insert(&self, pod: Arc<Pod>) {
        lock(&self.by_id).insert(pod.id.clone(), pod);
    }

    /// Whether there is a pod of this very id.
    pub fn holds(&self, id: &str) -> bool {
        lock(&self.by_id).contains_key(id)
    }

    /// Forgets a pod.
    pub fn remove(&self, id: &str) {
        lock(&self.by_id).remove(id);
    }

    /// The pod whose id is, or alone begins with, `id`.
    pub fn find(&self, id: &str) -> Result<Arc<Pod>> {
        find(&lock(&self.by_id), "pod sandbox", id)
    }

    /// All pods, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        lock(&self.by_id).values().cloned().collect()
    }
}

impl Containers {
    /// The container of this name and attempt in the pod: the one there is, if it was asked for with the same words, or
    /// a new one. Only a ready pod can have new containers.
    pub fn claim(&self, pod: &Arc<Pod>, config: ContainerConfig) -> Result<Arc<Container>> {
        let id = id::generate()?;
        // While the pod's state is held still, so that a stop either sees the container or forbids it.
        pod.with(|state| {
            let mut containers = lock(&self.by_id);
            let same = |c: &&Arc<Container>| c.facts.pod_id == pod.id && c.config().metadata == config.metadata;
            if let Some(container) = containers.values().find(same) {
                if *container.config() == config {
                    return Ok(container.clone());
                }
                let (name, other) = (&config.metadata.name, container.id());
                return Err(Error::Exists(format!(
                    "container {name:?} of this attempt exists in the pod with another configuration: {other:?}"
                )));
            }
            if !matches!(state, crate::pod::State::Ready(_)) {
                return Err(Error::Precondition(format!("pod sandbox {:?} is {}", pod.id, state.name())));
            }
            let facts = Facts { id: id.clone(), pod_id: pod.id.clone(), config, created_at: now() };
            let record = Record { facts, resolved: None, resources: None, state: State::Creating };
            let container = Arc::new(Container::new(record, pod.clone()));
            containers.insert(id, container.clone());
            Ok(container)
        })
    }

    /// Adds a container found on disk.
    pub fn insert(&self, container: Arc<Container>) {
        lock(&self.by_id).insert(container.facts.id.clone(), container);
    }

    /// Whether there is a container of this very id.
    pub fn holds(&self, id: &str) -> bool {
        lock(&self.by_id).contains_key(id)
    }

    /// Forgets a container.
    pub fn remove(&self, id: &str) {
        lock(&self.by_id).remove(id);
    }

    /// The container of this very id.
    pub fn get(&self, id: &str) -> Option<Arc<Container>> {
        lock(&self.by_id).get(id).cloned()
    }

    /// The container whose id is, or alone begins with, `id`.
    pub fn find(&self, id: &str) -> Result<Arc<Container>> {
        find(&lock(&self.by_id), "container", id)
    }

    /// All containers, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Container>> {
        lock(&self.by_id).values().cloned().collect()
    }

    /// A pod's containers.
    pub fn of_pod(&self, pod: &str) -> Vec<Arc<Container>> {
        lock(&self.by_id).values().filter(|container| container.facts.pod_id == pod).cloned().collect()
    }
}

fn find<T>(by_id: &BTreeMap<String, Arc<T>>, kind: &'static str, id: &str) -> Result<Arc<T>> {
    let missing = || Error::NotFound { kind, id: id.to_owned() };
    if id.is_empty() {
        return Err(Error::invalid(format!("{}_id", kind.replace(' ', "_")), id, "must not be empty"));
    }
    let mut candidates = by_id
        .range::<str, _>((Bound::Included(id), Bound::Unbounded))
        .take_while(|(candidate, _)| candidate.starts_with(id));
    let (_, found) = candidates.next().ok_or_else(missing)?;
    match candidates.next() {
        None => Ok(found.clone()),
        Some(_) => Err(Error::invalid("id", id, format!("more than one {kind}'s id begins so"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_found_whole_and_by_unique_prefix_only() {
        let by_id: BTreeMap<String, Arc<u8>> =
            [("abc1", 1), ("abc2", 2), ("b", 3)].into_iter().map(|(id, n)| (id.to_owned(), Arc::new(n))).collect();
        assert_eq!(*find(&by_id, "thing", "b").unwrap(), 3);
        assert_eq!(*find(&by_id, "thing", "abc2").unwrap(), 2);
        assert!(matches!(find(&by_id, "thing", "abc"), Err(Error::Invalid { .. })));
        assert!(matches!(find(&by_id, "thing", "x"), Err(Error::NotFound { .. })));
        assert!(matches!(find(&by_id, "thing", ""), Err(Error::Invalid { .. })));
    }
}
