//! `corten stop`

use corten_cri::v1;

use super::{Each, known};
use crate::{
    args::Stop,
    error::Error,
    pod::{DEFAULT_GRACE, kubelet},
    resolve::{Known, Target},
    runtime::Runtime,
};

/// Stops pods and containers, and prints what was stopped.
pub async fn run(runtime: &Runtime, args: Stop) -> Result<(), Error> {
    let known = known(runtime).await?;
    let mut each = Each::new();
    for word in &args.targets {
        let result = match known.target(word) {
            Ok(target) => stop(runtime, &known, &target, args.time).await,
            Err(error) => Err(error.into()),
        };
        each.add(word, result)?;
    }
    each.end()
}

/// Stops a container, or a pod's containers and then the pod.
pub(super) async fn stop(runtime: &Runtime, known: &Known, target: &Target, grace: Option<u32>) -> Result<(), Error> {
    let pod = match target {
        Target::Container(container) => return stop_container(runtime, container, grace).await,
        Target::Pod(pod) => pod,
    };
    let containers = known.containers.iter().filter(|container| container.pod_sandbox_id == pod.id);
    let running = containers.filter(|container| container.state() == v1::ContainerState::ContainerRunning);
    // All at once: their grace periods pass together.
    let mut stops = tokio::task::JoinSet::new();
    for container in running {
        let (runtime, container) = (runtime.clone(), container.clone());
        stops.spawn(async move { stop_container(&runtime, &container, grace).await });
    }
    for stopped in stops.join_all().await {
        stopped?;
    }
    runtime.stop_pod(&pod.id).await
}

async fn stop_container(runtime: &Runtime, container: &v1::Container, grace: Option<u32>) -> Result<(), Error> {
    let declared = container.annotations.get(kubelet::GRACE_PERIOD).and_then(|grace| grace.parse().ok());
    runtime.stop_container(&container.id, grace.or(declared).unwrap_or(DEFAULT_GRACE).into()).await
}
