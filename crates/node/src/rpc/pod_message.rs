//! Pods in the CRI's messages.

use corten_cri::v1;
use v1::PodSandboxState::{SandboxNotready, SandboxReady};

use crate::pod::{Pod, State};
use crate::security::{NamespaceOptions, PidNamespace, PodNamespace};

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
    let metadata = pod.config.metadata.clone();
    v1::PodSandboxMetadata {
        name: metadata.name,
        uid: metadata.uid,
        namespace: metadata.namespace,
        attempt: metadata.attempt,
    }
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

fn namespaces(options: &NamespaceOptions) -> v1::NamespaceOption {
    let mode = |namespace: PodNamespace| match namespace {
        PodNamespace::Pod => v1::NamespaceMode::Pod.into(),
        PodNamespace::Node => v1::NamespaceMode::Node.into(),
    };
    let (pid, target_id) = match &options.pid {
        PidNamespace::Pod => (v1::NamespaceMode::Pod, String::new()),
        PidNamespace::Container => (v1::NamespaceMode::Container, String::new()),
        PidNamespace::Node => (v1::NamespaceMode::Node, String::new()),
        PidNamespace::Target(id) => (v1::NamespaceMode::Target, id.clone()),
    };
    v1::NamespaceOption {
        network: mode(options.network),
        pid: pid.into(),
        ipc: mode(options.ipc),
        target_id,
        userns_options: None,
    }
}
