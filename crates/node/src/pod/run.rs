//! RunPodSandbox, as a straight list of steps. What undoes them is in `undo.rs`.

use std::sync::Arc;

use corten_cri::v1::ContainerEventType;
use corten_host::network::{Attached, PodNetwork, netns};
use corten_host::systemd::Placeholder;
use corten_monitor::protocol::PodPlan;
use tokio::sync::mpsc::{self, UnboundedSender};

use super::admit::{Admission, admit};
use super::config::PortMapping;
use super::{Operation, Pod, Ready, State, bandwidth, undo};
use crate::container::exits;
use crate::error::{Error, Result};
use crate::monitor::{Event, Monitor};
use crate::node::Node;
use crate::security::{PidNamespace, PodNamespace};
use crate::{record, resolv, spec};

/// The size limit of a pod's `/dev/shm`, as the kubelet and other runtimes have it.
const SHM_SIZE: u64 = 64 << 20;

/// The `oom_score_adj` that a monitor asks for, as other runtimes' monitors do.
const MONITOR_OOM_SCORE: i32 = -998;

/// Runs a pod, or joins or acknowledges the run that made it; returns its id.
pub async fn run(node: &Arc<Node>, config: super::config::PodConfig, handler: String) -> Result<String> {
    node.handler(&handler)?;
    node.driver.check_parent(config.cgroup_parent.as_deref())?;
    let pod = node.pods.claim(config, handler)?;
    let (task_node, task_pod) = (node.clone(), pod.clone());
    pod.slot.run(Operation::Run, || async move { operation(&task_node, &task_pod).await }).await?;
    Ok(pod.id.clone())
}

async fn operation(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    if !node.pods.holds(&pod.id) {
        return Err(Error::Precondition(format!("the run of pod sandbox {:?} has failed", pod.id)));
    }
    match admit(&pod.id, &pod.state(), Operation::Run) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    match ready(node, pod).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(pod = pod.id, %error, "the pod could not be run");
            if let Err(undo) = abandon(node, pod).await {
                tracing::error!(pod = pod.id, error = %undo, "what the failed run left could not all be undone");
            }
            Err(error)
        }
    }
}

/// Undoes a run that did not end well and forgets the pod. If not all can be undone, the pod stays, broken: whoever asked
/// for it can see it, and stop and remove it.
pub async fn abandon(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    match undo::everything(node, pod).await {
        Ok(()) => {
            node.pods.remove(&pod.id);
            Ok(())
        }
        Err(error) => {
            pod.set(node, State::Broken { why: error.to_string() })?;
            Err(error)
        }
    }
}

/// Makes the pod ready. Its monitor is listened to from then on: what it has said meanwhile is kept.
async fn ready(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let (events, receiver) = mpsc::unbounded_channel();
    let ready = steps(node, pod, events).await?;
    pod.set(node, State::Ready(ready))?;
    for event in [ContainerEventType::ContainerCreatedEvent, ContainerEventType::ContainerStartedEvent] {
        node.events.pod(pod, event);
    }
    exits::watch(node, pod, receiver);
    Ok(())
}

async fn steps(node: &Arc<Node>, pod: &Arc<Pod>, events: UnboundedSender<Event>) -> Result<Ready> {
    let timeline = &pod.timeline;
    timeline.step("run/files", files(node, pod)).await?;
    // Until the monitor is in it.
    let _scope = timeline.step("run/cgroup", cgroup(node, pod)).await?;
    let network = match pod.has_network() {
        true => {
            timeline.step("run/netns", network_namespace(node, pod)).await?;
            Some(timeline.step("run/network", network(node, pod)).await?)
        }
        false => None,
    };
    let monitor = timeline.step("run/monitor", monitor(node, pod, events)).await?;
    Ok(Ready { monitor, network })
}

async fn files(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let pod = pod.clone();
    node.blocking(move |node| {
        let directory = node.pod_directory(&pod.id);
        record::make_directory(&directory)?;
        super::cgroup::record(node, &pod)?;
        resolv::write_files(&directory, &pod.config)?;
        let Some(logs) = &pod.config.log_directory else { return Ok(()) };
        std::fs::create_dir_all(logs)
            .map_err(|error| Error::node(format!("make the log directory {}", logs.display()), error))
    })
    .await
}

async fn cgroup(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<Option<Placeholder>> {
    let pod = pod.clone();
    node.blocking(move |node| super::cgroup::create(node, &pod)).await
}

async fn network_namespace(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    let (path, users) = (node.netns_path(&pod.id), pod.config.security.namespaces.users.clone());
    node.blocking(move |_| {
        // A user namespace is made with it: its root shall administer the pod's network.
        let made = users.map_or_else(|| netns::create(&path), |users| netns::create_owned(&path, &users));
        made.map_err(|error| Error::node("network namespace", error))
    })
    .await
}

async fn network(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<Attached> {
    let request = pod_network(node, pod)?;
    node.blocking(move |node| node.network.attach(&request)).await
}

/// What the network is told of a pod.
fn pod_network(node: &Node, pod: &Pod) -> Result<PodNetwork> {
    let config = &pod.config;
    let dns = config.dns.clone().unwrap_or_default();
    Ok(PodNetwork {
        id: pod.id.clone(),
        netns: node.netns_path(&pod.id),
        name: config.metadata.name.clone(),
        namespace: config.metadata.namespace.clone(),
        uid: config.metadata.uid.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        cgroup_parent: config.cgroup_parent.clone().unwrap_or_default(),
        host_ports: config.port_mappings.iter().filter_map(PortMapping::host).collect(),
        dns: corten_host::network::Dns { servers: dns.servers, searches: dns.searches, options: dns.options },
        bandwidth: bandwidth::of(&config.annotations)?,
        mac: None,
    })
}

async fn monitor(node: &Arc<Node>, pod: &Arc<Pod>, events: UnboundedSender<Event>) -> Result<Arc<Monitor>> {
    // It is born in its cgroup of the v2 hierarchy, and joins the others itself.
    let cgroup = node.cgroup(&pod.monitor_cgroup(node))?.open_v2();
    let plan = plan(node, pod, cgroup.is_some())?;
    let directory = node.pod_directory(&pod.id);
    Ok(Arc::new(Monitor::start(&node.monitor, &directory, &plan, cgroup, events).await?))
}

fn plan(node: &Node, pod: &Pod, in_v2: bool) -> Result<PodPlan> {
    let namespaces = &pod.config.security.namespaces;
    Ok(PodPlan {
        id: pod.id.clone(),
        hostname: pod.has_network().then(|| resolv::hostname(&pod.config)),
        private_ipc: namespaces.ipc == PodNamespace::Pod,
        shared_pid: namespaces.pid == PidNamespace::Pod,
        netns: pod.has_network().then(|| node.netns_path(&pod.id)),
        users: namespaces.users.clone(),
        sysctls: spec::pod_sysctls(&pod.config)?,
        cgroup: Some(pod.monitor_cgroup(node)),
        in_v2,
        shm_size: SHM_SIZE,
        shm_label: spec::file_label(pod.config.security.selinux.as_ref(), &pod.id, &node.host),
        oom_score_adj: MONITOR_OOM_SCORE,
    })
}
