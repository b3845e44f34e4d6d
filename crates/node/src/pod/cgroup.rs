//! A pod's cgroup, which other pods may be in too: it is removed with the last of them, whichever it was made for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use corten_host::cgroup::{Cgroup, Created};
use corten_host::systemd::Placeholder;
use oci_spec::runtime::LinuxResources;

use super::{Pod, resources, undo};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::operation::lock;

/// A lock for each cgroup that pods are in, for as long as somebody has it.
#[derive(Default)]
pub struct Locks(Mutex<BTreeMap<Option<String>, Weak<Mutex<()>>>>);

impl Locks {
    /// The lock of the cgroup that the kubelet named, or of those that pods have of their own.
    fn of(&self, node: &Node, pod: &Pod) -> Arc<Mutex<()>> {
        let mut locks = lock(&self.0);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let entry = locks.entry(is_shared(pod).then(|| pod.cgroup_parent(node))).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *entry = Arc::downgrade(&new);
            new
        })
    }
}

/// Says in the pod's record what [`create`] is about to make, so that it is known to whoever undoes it.
pub fn record(node: &Node, pod: &Pod) -> Result<()> {
    let heirs = node.cgroup_locks.of(node, pod);
    let _heirs = lock(&heirs);
    pod.set_cgroup(Some(node.cgroup(&pod.cgroup_parent(node))?.missing()));
    pod.record(node)
}

/// Makes the pod's cgroup with its limits, and the monitor's, which lasts as long as what is returned is held.
pub fn create(node: &Node, pod: &Pod) -> Result<Option<Placeholder>> {
    let failed = |error| Error::node("create the pod's cgroup", error);
    let heirs = node.cgroup_locks.of(node, pod);
    // Until the monitor's is in it, the end of another pod that shares it would remove it.
    let held = is_shared(pod).then(|| lock(&heirs));
    let _entering = node.driver.enter();
    let cgroup = node.cgroup(pod.place(node).path())?;
    if !cgroup.exists() {
        node.driver.start_pod(pod.place(node), &resources::limits_of_new(node, pod)?)?;
    }
    let made = cgroup.create().map_err(failed)?;
    let held = held.unwrap_or_else(|| lock(&heirs));
    // What was removed since it was recorded.
    pod.adopt_cgroup(node, &made)?;
    let _held = is_shared(pod).then_some(held);
    resources::apply(node, pod)?;
    let monitor = pod.monitor_place(node);
    let description = format!("monitor of pod {}/{}", pod.config.metadata.namespace, pod.config.metadata.name);
    let scope = node.driver.start_scope(node, &monitor, &description, &LinuxResources::default())?;
    node.cgroup(monitor.path())?.create().map_err(failed)?;
    Ok(scope)
}

/// Removes the monitor's cgroup with whatever is in it, and the pod's unless others are in it.
pub fn remove(node: &Node, pod: &Pod) -> Result<()> {
    let failed = |error| Error::node("remove the pod's cgroup", error);
    if pod.cgroup().is_none() {
        return Ok(());
    }
    let monitor = node.cgroup(&pod.monitor_cgroup(node))?;
    let killed = monitor.kill(libc::SIGKILL).map_err(failed);
    let ended = killed.and_then(|()| node.driver.stop(&pod.monitor_place(node)));
    let own = ended.and_then(|()| monitor.remove().map_err(failed));
    let heirs = node.cgroup_locks.of(node, pod);
    loop {
        let held = lock(&heirs);
        let Some(created) = pod.cgroup() else { return Ok(()) };
        let handed_over = hand_over(node, pod, &created);
        let held = is_shared(pod).then_some(held);
        let leaving = node.driver.leave();
        let undone = Cgroup::undo(&created).map_err(failed);
        let undone = undone.and_then(|()| node.driver.stop_removed(node, pod.place(node), &created));
        drop(leaving);
        undo::all([own.clone(), handed_over, undone])?;
        let _held = held.unwrap_or_else(|| lock(&heirs));
        // Else another pod has handed its own over meanwhile. One that has come meanwhile found some of it there: what
        // is gone already does no harm to it.
        hand_over(node, pod, &created)?;
        if pod.give_up_cgroup(&created) {
            return Ok(());
        }
    }
}

/// Whether other pods may be in the very same cgroup. Those with one of their own share what is above it, in which
/// each makes a place for itself at once.
fn is_shared(pod: &Pod) -> bool {
    pod.config.cgroup_parent.is_some()
}

/// Gives what was made for a pod to another that is still somewhere in it: in the pod's own cgroup, or below one of those
/// above it that were made too.
fn hand_over(node: &Node, pod: &Pod, created: &Created) -> Result<()> {
    let others = node.pods.all();
    let is_in = |other: &Pod| node.cgroup(&other.cgroup_parent(node)).is_ok_and(|cgroup| cgroup.is_below(created));
    for heir in others.iter().filter(|other| other.id != pod.id && is_in(other)) {
        if heir.adopt_cgroup(node, created)? {
            break;
        }
    }
    Ok(())
}
