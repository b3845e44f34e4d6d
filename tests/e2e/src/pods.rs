//! Pod and container configurations, as the kubelet would send them.

use corten_cri::v1::*;

use crate::{cri, daemon::Paths};

/// A pod of this name with a uid made of it, its log directory and its cgroup where this lab keeps them.
pub fn pod(paths: &Paths, name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("{name}-uid"),
            namespace: "e2e".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: paths.logs().join(name).display().to_string(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        annotations: [("note".to_owned(), format!("this is {name}"))].into(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: paths.cgroup_below(&format!("pod-{name}")),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What the kubelet asks for by default: network and IPC of the pod, a PID namespace for each container.
pub fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod as i32,
        pid: NamespaceMode::Container as i32,
        ipc: NamespaceMode::Pod as i32,
        ..Default::default()
    }
}

/// Changes a pod's namespaces.
pub fn with_namespaces(mut pod: PodSandboxConfig, change: impl FnOnce(&mut NamespaceOption)) -> PodSandboxConfig {
    let linux = pod.linux.get_or_insert_default();
    change(linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default());
    pod
}

/// A container of this name running a command, logging to `<name>.log`.
pub fn container(name: &str, image: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(cri::spec(image)),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        labels: [("container".to_owned(), name.to_owned())].into(),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources { oom_score_adj: 1000, ..Default::default() }),
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

/// A container running a shell script.
pub fn script(name: &str, image: &str, text: &str) -> ContainerConfig {
    container(name, image, &["/bin/sh", "-c", text])
}

/// A container that does nothing until it is told to end.
pub fn sleeper(name: &str, image: &str) -> ContainerConfig {
    script(name, image, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
}

/// Changes a container's security context.
pub fn with_security(
    mut container: ContainerConfig,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> ContainerConfig {
    change(container.linux.get_or_insert_default().security_context.get_or_insert_default());
    container
}

/// Changes a container's resources.
pub fn with_resources(
    mut container: ContainerConfig,
    change: impl FnOnce(&mut LinuxContainerResources),
) -> ContainerConfig {
    change(container.linux.get_or_insert_default().resources.get_or_insert_default());
    container
}

/// A container with a host path mounted.
pub fn with_mount(mut container: ContainerConfig, host: &str, inside: &str, readonly: bool) -> ContainerConfig {
    container.mounts.push(Mount {
        host_path: host.to_owned(),
        container_path: inside.to_owned(),
        readonly,
        ..Default::default()
    });
    container
}
