//! What a manifest's types cannot say. Needs nothing but the manifest.

use std::{collections::BTreeSet, net::IpAddr, path::Component, path::Path};

use super::{
    FieldError,
    schema::{Container, Pod, Profile, ProfileKind, Propagation, Spec, Volume, VolumeMount},
};

type Check = Result<(), FieldError>;

/// Checks everything about a pod.
pub(super) fn pod(pod: &Pod) -> Check {
    let metadata = &pod.metadata;
    name("metadata.name", &metadata.name, 253)?;
    metadata.namespace.as_deref().map_or(Ok(()), |namespace| name("metadata.namespace", namespace, 63))?;
    metadata.uid.as_deref().map_or(Ok(()), |uid| name("metadata.uid", uid, 63))?;
    let spec = &pod.spec;
    spec.hostname.as_deref().map_or(Ok(()), |hostname| name("spec.hostname", hostname, 63))?;
    if spec.host_pid && spec.share_process_namespace {
        return refuse("spec.shareProcessNamespace", "cannot be combined with hostPID");
    }
    profiles("spec.securityContext", &spec.security_context.seccomp_profile, &spec.security_context.app_armor_profile)?;
    dns(spec)?;
    volumes(&spec.volumes)?;
    if spec.containers.is_empty() {
        return refuse("spec.containers", "there must be at least one");
    }
    let mut names = BTreeSet::new();
    for (path, one) in each(spec) {
        if !names.insert(&one.name) {
            return refuse(format!("{path}.name"), format!("{:?} is there twice", one.name));
        }
        container(&path, one, spec)?;
    }
    host_ports(spec)
}

/// Every container with its path, the init containers first.
fn each(spec: &Spec) -> impl Iterator<Item = (String, &Container)> {
    let paths = |field: &'static str| move |(index, container)| (format!("spec.{field}[{index}]"), container);
    let init = spec.init_containers.iter().enumerate().map(paths("initContainers"));
    init.chain(spec.containers.iter().enumerate().map(paths("containers")))
}

fn container(path: &str, container: &Container, spec: &Spec) -> Check {
    name(&format!("{path}.name"), &container.name, 63)?;
    if container.image.trim().is_empty() {
        return refuse(format!("{path}.image"), "is required");
    }
    for (index, variable) in container.env.iter().enumerate() {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || variable.value.contains('\0') {
            return refuse(format!("{path}.env[{index}]"), format!("{:?} is not a variable name", variable.name));
        }
    }
    for (index, port) in container.ports.iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        if port.container_port == 0 {
            return refuse(format!("{path}.containerPort"), "must be from 1 to 65535");
        }
        if let Some(ip) = port.host_ip.as_deref().filter(|ip| ip.parse::<IpAddr>().is_err()) {
            return refuse(format!("{path}.hostIP"), format!("{ip:?} is not an IP address"));
        }
        if spec.host_network && port.host_port.is_some_and(|host| host != port.container_port) {
            return refuse(format!("{path}.hostPort"), "must be the containerPort when hostNetwork is true");
        }
    }
    security(path, container)?;
    let mut targets = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        volume_mount(&path, mount, container, spec)?;
        if !targets.insert(mount.mount_path.trim_end_matches('/')) {
            return refuse(format!("{path}.mountPath"), format!("{:?} is there twice", mount.mount_path));
        }
    }
    Ok(())
}

fn security(path: &str, container: &Container) -> Check {
    let security = &container.security_context;
    let path = format!("{path}.securityContext");
    profiles(&path, &security.seccomp_profile, &security.app_armor_profile)?;
    let powerful = |name: &String| matches!(name.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN");
    if security.allow_privilege_escalation == Some(false)
        && (security.privileged || security.capabilities.add.iter().any(powerful))
    {
        return refuse(format!("{path}.allowPrivilegeEscalation"), "cannot be false with privileged or CAP_SYS_ADMIN");
    }
    Ok(())
}

fn profiles(path: &str, seccomp: &Option<Profile>, apparmor: &Option<Profile>) -> Check {
    for (field, profile) in [("seccompProfile", seccomp), ("appArmorProfile", apparmor)] {
        let Some(profile) = profile else { continue };
        let path = format!("{path}.{field}.localhostProfile");
        match (profile.kind, profile.localhost_profile.as_str()) {
            (ProfileKind::Localhost, "") => return refuse(path, "is required with type Localhost"),
            (ProfileKind::Localhost, file) if field == "seccompProfile" => relative(&path, file)?,
            (ProfileKind::RuntimeDefault | ProfileKind::Unconfined, file) if !file.is_empty() => {
                return refuse(path, "is only for type Localhost");
            }
            _ => {}
        }
    }
    Ok(())
}

fn volume_mount(path: &str, mount: &VolumeMount, container: &Container, spec: &Spec) -> Check {
    if !spec.volumes.iter().any(|volume| volume.name == mount.name) {
        return refuse(format!("{path}.name"), format!("there is no volume {:?}", mount.name));
    }
    if !Path::new(&mount.mount_path).is_absolute() || mount.mount_path.contains([':', '\0']) {
        return refuse(
            format!("{path}.mountPath"),
            format!("{:?} is not an absolute path without colons", mount.mount_path),
        );
    }
    if mount.mount_propagation == Propagation::Bidirectional && !container.security_context.privileged {
        return refuse(format!("{path}.mountPropagation"), "Bidirectional needs a privileged container");
    }
    if mount.sub_path.is_empty() { Ok(()) } else { relative(&format!("{path}.subPath"), &mount.sub_path) }
}

fn volumes(volumes: &[Volume]) -> Check {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("spec.volumes[{index}]");
        name(&format!("{path}.name"), &volume.name, 63)?;
        if !names.insert(&volume.name) {
            return refuse(format!("{path}.name"), format!("{:?} is there twice", volume.name));
        }
        match (&volume.host_path, &volume.empty_dir) {
            (Some(host), None) => absolute(&format!("{path}.hostPath.path"), &host.path)?,
            (None, Some(empty)) if empty.medium.is_empty() => {}
            (None, Some(empty)) => {
                return refuse(format!("{path}.emptyDir.medium"), format!("{:?} is not supported", empty.medium));
            }
            (None, None) => return refuse(path, "needs a source: hostPath or emptyDir"),
            (Some(_), Some(_)) => return refuse(path, "has two sources"),
        }
    }
    Ok(())
}

fn dns(spec: &Spec) -> Check {
    let Some(config) = &spec.dns_config else { return Ok(()) };
    for (index, server) in config.nameservers.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() {
            return refuse(format!("spec.dnsConfig.nameservers[{index}]"), format!("{server:?} is not an IP address"));
        }
    }
    let words = config.searches.iter().map(|search| ("searches", search));
    let words = words.chain(config.options.iter().map(|option| ("options", &option.name)));
    let bad = |word: &str| word.is_empty() || word.contains(char::is_whitespace);
    words
        .filter(|(_, word)| bad(word))
        .try_for_each(|(field, word)| refuse(format!("spec.dnsConfig.{field}"), format!("{word:?} is not one word")))
}

/// Two containers of a pod cannot have the same port of the node.
fn host_ports(spec: &Spec) -> Check {
    let mut taken = BTreeSet::new();
    for (path, container) in each(spec) {
        for (index, port) in container.ports.iter().enumerate() {
            let Some(host) = port.host_port.filter(|host| *host != 0) else { continue };
            if !taken.insert((host, format!("{:?}", port.protocol), port.host_ip.as_deref())) {
                return refuse(format!("{path}.ports[{index}].hostPort"), format!("{host} is there twice"));
            }
        }
    }
    Ok(())
}

/// A DNS subdomain: what Kubernetes takes for names, and safe as part of a path.
fn name(path: &str, name: &str, longest: usize) -> Check {
    if name.is_empty() {
        return refuse(path, "is required");
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > longest || !name.split('.').all(label) {
        let reason = format!("{name:?} must be lowercase letters, digits, '-' and '.', at most {longest} of them");
        return refuse(path, reason);
    }
    Ok(())
}

fn absolute(path: &str, value: &str) -> Check {
    let value = Path::new(value);
    if !value.is_absolute() || value.components().any(|part| part == Component::ParentDir) {
        return refuse(path, format!("{value:?} must be an absolute path without '..'"));
    }
    Ok(())
}

fn relative(path: &str, value: &str) -> Check {
    let normal = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if value.contains('\0') || !Path::new(value).components().all(normal) {
        return refuse(path, format!("{value:?} must be a relative path without '..'"));
    }
    Ok(())
}

fn refuse(path: impl Into<String>, reason: impl Into<String>) -> Check {
    Err(FieldError::new(path, reason))
}
