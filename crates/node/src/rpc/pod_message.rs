//! Pods in the CRI's messages.

use corten_cri::v1;
use v1::PodSandboxState::{SandboxNotready, SandboxReady};

use super::pod_config_message::pod_metadata;
use super::security_message::namespaces;
use crate::pod::{Pod, State};

/// The pod in a list; `None` while it starts.
pub fn listed(pod: &Pod) -> Option<v1::PodSandbox> {
    Some(v1::PodSandbox {
        id: pod.id.clone(),
        metadata: Some(metadata(pod)),
        state: state(pod)?.into(),
        created_at: pod.created_at,
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    })
}

/// The pod's status; `None` while it starts.
pub fn status(pod: &Pod) -> Option<v1::PodSandboxStatus> {
    Some(v1::PodSandboxStatus {
        id: pod.id.clone(),
        metadata: Some(metadata(pod)),
        state: state(pod)?.into(),
        created_at: pod.created_at,
        network: Some(network(pod)),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace { options: Some(namespaces(&pod.config.security.namespaces)) }),
        }),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.clone(),
    })
}

fn state(pod: &Pod) -> Option<v1::PodSandboxState> {
    pod.with(|state| match state {
        State::Starting => None,
        State::Ready(_) => Some(SandboxReady),
        State::Stopping(_) | State::Stopped | State::Removing | State::Broken { .. } => Some(SandboxNotready),
    })
}

/// The pod's name, namespace, uid and attempt.
pub fn metadata(pod: &Pod) -> v1::PodSandboxMetadata {
    pod_metadata(&pod.config.metadata)
}

/// The addresses; none on the host's network, as the kubelet expects.
fn network(pod: &Pod) -> v1::PodSandboxNetworkStatus {
    let attached = pod.ready().and_then(|ready| ready.network);
    let mut ips = attached.into_iter().flat_map(|attached| attached.ips).map(|ip| ip.to_string());
    v1::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
    }
}
