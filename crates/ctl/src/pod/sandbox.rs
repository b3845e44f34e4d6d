//! The sandbox's configuration.

use corten_cri::v1;

use super::{Directories, MADE_BY_RUN, NamedPod, dns, resources, security};
use crate::manifest::{
    FieldError,
    schema::{Container, Port, Protocol, Spec},
};

/// What RunPodSandbox gets for a pod. `host_resolv_conf` is the node's `/etc/resolv.conf`.
///
/// # Errors
/// [`FieldError`] for a resource that does not exist or does not fit.
pub fn config(
    pod: &NamedPod,
    directories: &Directories,
    cgroup_parent: &str,
    host_resolv_conf: &str,
) -> Result<v1::PodSandboxConfig, FieldError> {
    let spec = &pod.manifest.spec;
    let metadata = &pod.manifest.metadata;
    let log_directory = directories
        .pod_logs(&pod.namespace, pod.name(), &pod.uid)
        .ok_or_else(|| FieldError::new("metadata", "the names do not make a log directory"))?;
    let mut annotations = metadata.annotations.clone();
    annotations.insert(MADE_BY_RUN.to_owned(), "true".to_owned());
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        }),
        hostname: if spec.host_network { String::new() } else { hostname(spec, pod.name()) },
        log_directory: log_directory.display().to_string(),
        dns_config: dns::config(spec, host_resolv_conf),
        port_mappings: if spec.host_network { Vec::new() } else { spec.containers.iter().flat_map(ports).collect() },
        labels: metadata.labels.clone().into_iter().chain(pod.labels()).collect(),
        annotations,
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(security::sandbox(spec)),
            sysctls: sysctls(spec),
            overhead: None,
            resources: Some(resources::pod(spec)?),
        }),
        windows: None,
    })
}

/// The pod's name cut to what a hostname may be, unless the manifest names one.
fn hostname(spec: &Spec, pod_name: &str) -> String {
    let name = spec.hostname.as_deref().unwrap_or(pod_name);
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn sysctls(spec: &Spec) -> std::collections::BTreeMap<String, String> {
    // Kubernetes allows slashes between the parts of a name; the kernel's own form has dots.
    let dots = |name: &str| name.replace('/', ".");
    spec.security_context.sysctls.iter().map(|sysctl| (dots(&sysctl.name), sysctl.value.clone())).collect()
}

fn ports(container: &Container) -> impl Iterator<Item = v1::PortMapping> {
    container.ports.iter().filter(|port| port.host_port.is_some_and(|host| host != 0)).map(mapping)
}

fn mapping(port: &Port) -> v1::PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
    };
    v1::PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port.into(),
        host_port: port.host_port.unwrap_or_default().into(),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    }
}
