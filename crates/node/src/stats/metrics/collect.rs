//! Looking at a pod and its containers. The work for each is bounded: no filesystem is walked, a layer's usage is the one
//! last measured (the first time somebody waits for it, but not for long).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_host::cgroup::Cgroup;
use futures::future::join_all;

use super::super::{Layer, Processes, is_gone, layer, pod::traffic};
use super::{Filesystem, Sample, Subject};
use crate::container::Container;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::Pod;
use crate::timeline::now;

/// How long the first usage of a pod's layers is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// How old a layer's usage may be before it is measured again, in the background.
const FRESH: Duration = Duration::from_secs(10);

/// The samples of a pod.
pub struct PodMetrics {
    /// The pod's own.
    pub pod: Sample,
    /// Those of its containers that run.
    pub containers: Vec<Sample>,
}

/// Looks at a ready pod and its running containers. `None` if it is not ready, or is being stopped.
///
/// # Errors
/// If the pod's cgroup is there and cannot be read.
pub async fn pod(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<Option<PodMetrics>> {
    if pod.ready().is_none() {
        return Ok(None);
    }
    let mut containers = node.containers.of_pod(&pod.id);
    containers.retain(|container| container.state().run().is_some());
    let measured = containers.iter().map(|container| refresh(node, container));
    join_all(measured).await;
    let pod = pod.clone();
    node.blocking(move |node| read(node, &pod, &containers)).await
}

/// Has the layer measured if that was long ago; waits for it only if it never was.
async fn refresh(node: &Arc<Node>, container: &Arc<Container>) {
    let known = Layer::known(&container.remembered.layer);
    if known.is_none_or(|known| known.age() >= FRESH) {
        let patience = if known.is_none() { PATIENCE } else { Duration::ZERO };
        layer::usage(node, container, patience).await;
    }
}

fn read(node: &Node, pod: &Pod, containers: &[Arc<Container>]) -> Result<Option<PodMetrics>> {
    let Some(of_pod) = cgroup(&node.cgroup(&pod.cgroup_parent(node))?)? else { return Ok(None) };
    let filesystem = filesystem(node.images.snapshots_in());
    let of_pod = Sample {
        subject: subject(pod, None),
        interfaces: traffic(node, pod).map(|traffic| traffic.all()).unwrap_or_default(),
        created_at: pod.created_at,
        started_at: pod.created_at,
        ..of_pod
    };
    let mut samples = Vec::with_capacity(containers.len());
    for container in containers {
        match of_container(node, container, filesystem.clone()) {
            Ok(sample) => samples.extend(sample),
            Err(error) => tracing::debug!(container = container.id(), %error, "no metrics"),
        }
    }
    Ok(Some(PodMetrics { pod: of_pod, containers: samples }))
}

/// A running container; `None` if it has just ended.
fn of_container(node: &Node, container: &Container, filesystem: Option<Filesystem>) -> Result<Option<Sample>> {
    let Some(run) = container.state().run().cloned() else { return Ok(None) };
    let found = node.cgroup(&container.cgroup(node))?;
    let Some(sample) = cgroup(&found)? else { return Ok(None) };
    let pids = found.processes().map_err(|error| Error::node("list the container's processes", error))?;
    Ok(Some(Sample {
        subject: subject(&container.pod, Some(container)),
        processes: Some(Processes::read(&pids, run.pid)),
        filesystem,
        layer: container.remembered.layer.known(),
        created_at: container.facts.created_at,
        started_at: run.started_at,
        ..sample
    }))
}

/// What a cgroup tells; `None` if it has gone.
fn cgroup(cgroup: &Cgroup) -> Result<Option<Sample>> {
    let at = now();
    let read = cgroup.stats().and_then(|stats| Ok((stats, cgroup.details()?)));
    match read {
        Ok((stats, details)) => {
            let device_names = details.devices.iter().map(|device| device_name(device.device)).collect();
            Ok(Some(Sample { stats, details, device_names, at, ..Sample::default() }))
        }
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(Error::node("read the cgroup", error)),
    }
}

fn subject(pod: &Pod, container: Option<&Container>) -> Subject {
    let metadata = &pod.config.metadata;
    let of_pod = Subject {
        id: pod.id.clone(),
        container: "POD".to_owned(),
        image: String::new(),
        pod: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
    };
    let Some(container) = container else { return of_pod };
    let spec = &container.config().image;
    let image = if spec.user_specified_image.is_empty() { &spec.image } else { &spec.user_specified_image };
    let name = container.config().metadata.name.clone();
    Subject { id: container.id().to_owned(), container: name, image: image.clone(), ..of_pod }
}

fn filesystem(path: &Path) -> Option<Filesystem> {
    let found = rustix::fs::statvfs(path).ok()?;
    let device = rustix::fs::stat(path).ok()?.st_dev;
    Some(Filesystem {
        device: device_name((rustix::fs::major(device), rustix::fs::minor(device))),
        size: found.f_blocks.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}

/// A block device's name, `/dev/sda`; its number if it has none.
fn device_name((major, minor): (u32, u32)) -> String {
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map_or_else(|| format!("{major}:{minor}"), |name| format!("/dev/{name}"))
}
