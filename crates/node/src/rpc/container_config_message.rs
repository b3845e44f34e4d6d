//! A container's configuration in the CRI's message, for verbose information: what was asked for, in the spelling that
//! everybody's tools read. The inverse of [`ContainerConfig::from_cri`].

use corten_cri::v1;

use super::container_message::{container_metadata, image, mount, text};
use super::security_message::{groups_policy, id, ids, namespaces, profile, selinux};
use crate::container::config::{ContainerConfig, Device, RunAs, Security, Stdin, StopSignal};

/// The whole configuration.
pub fn container_config(config: &ContainerConfig) -> v1::ContainerConfig {
    let ContainerConfig {
        metadata,
        image: spec,
        command,
        args,
        working_dir,
        envs,
        mounts,
        devices,
        labels,
        annotations,
        log_path,
        stdin,
        tty,
        resources,
        security,
        stop_signal,
    } = config;
    v1::ContainerConfig {
        metadata: Some(container_metadata(metadata)),
        image: Some(image(spec)),
        command: command.clone(),
        args: args.clone(),
        working_dir: working_dir.as_deref().map(text).unwrap_or_default(),
        envs: envs.iter().map(environment_variable).collect(),
        mounts: mounts.iter().map(mount).collect(),
        devices: devices.iter().map(device).collect(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        log_path: log_path.as_deref().map(text).unwrap_or_default(),
        stdin: *stdin != Stdin::Null,
        stdin_once: *stdin == Stdin::Once,
        tty: *tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources.to_cri()),
            security_context: Some(security_context(security)),
        }),
        windows: None,
        cdi_devices: Vec::new(),
        stop_signal: stop_signal.as_ref().map_or(v1::Signal::RuntimeDefault, StopSignal::to_cri).into(),
    }
}

fn environment_variable((key, value): &(String, String)) -> v1::KeyValue {
    v1::KeyValue { key: key.clone(), value: value.clone().into_bytes() }
}

fn device(device: &Device) -> v1::Device {
    let Device { container_path, host_path, permissions } = device;
    v1::Device { container_path: text(container_path), host_path: text(host_path), permissions: permissions.clone() }
}

fn security_context(security: &Security) -> v1::LinuxContainerSecurityContext {
    let Security {
        add_capabilities,
        drop_capabilities,
        add_ambient_capabilities,
        privileged,
        namespaces: options,
        selinux: label,
        run_as,
        run_as_group,
        supplemental_groups,
        supplemental_groups_policy,
        readonly_rootfs,
        no_new_privs,
        masked_paths,
        readonly_paths,
        seccomp,
        apparmor,
    } = security;
    let (run_as_user, run_as_username) = match run_as {
        None => (None, String::new()),
        Some(RunAs::Uid(uid)) => (Some(id(*uid)), String::new()),
        Some(RunAs::Name(name)) => (None, name.clone()),
    };
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: add_capabilities.clone(),
            drop_capabilities: drop_capabilities.clone(),
            add_ambient_capabilities: add_ambient_capabilities.clone(),
        }),
        privileged: *privileged,
        namespace_options: Some(namespaces(options)),
        selinux_options: label.as_ref().map(selinux),
        run_as_user,
        run_as_username,
        readonly_rootfs: *readonly_rootfs,
        supplemental_groups: ids(supplemental_groups),
        apparmor_profile: String::new(),
        seccomp_profile_path: String::new(),
        no_new_privs: *no_new_privs,
        run_as_group: run_as_group.map(id),
        masked_paths: masked_paths.iter().map(|path| text(path)).collect(),
        readonly_paths: readonly_paths.iter().map(|path| text(path)).collect(),
        seccomp: seccomp.as_ref().map(profile),
        apparmor: apparmor.as_ref().map(profile),
        supplemental_groups_policy: groups_policy(*supplemental_groups_policy).into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    /// Every field with a value of its own.
    fn full() -> v1::ContainerConfig {
        let map = |text: &str| BTreeMap::from([(text.to_owned(), "1".to_owned())]);
        let strings = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "name".into(), attempt: 7 }),
            image: Some(v1::ImageSpec {
                image: "sha256:1".into(),
                annotations: map("of-image"),
                user_specified_image: "busybox".into(),
                runtime_handler: "runc".into(),
                image_ref: "busybox@sha256:2".into(),
            }),
            command: strings("sh -c"),
            args: strings("exit 7"),
            working_dir: "/work".into(),
            envs: vec![v1::KeyValue { key: "KEY".into(), value: b"value".to_vec() }],
            mounts: vec![v1::Mount {
                container_path: "/in".into(),
                host_path: "/out".into(),
                readonly: true,
                selinux_relabel: true,
                uid_mappings: vec![v1::IdMapping { container_id: 0, host_id: 1, length: 2 }],
                gid_mappings: vec![v1::IdMapping { container_id: 0, host_id: 3, length: 4 }],
                recursive_read_only: true,
                mount_options: strings("noexec nosuid"),
                ..Default::default()
            }],
            devices: vec![v1::Device {
                container_path: "/dev/a".into(),
                host_path: "/dev/b".into(),
                permissions: "rw".into(),
            }],
            labels: map("label"),
            annotations: map("annotation"),
            log_path: "name/0.log".into(),
            stdin: true,
            stdin_once: true,
            tty: true,
            linux: Some(v1::LinuxContainerConfig {
                resources: Some(v1::LinuxContainerResources { cpu_shares: 2, ..Default::default() }),
                security_context: Some(full_security()),
            }),
            windows: None,
            cdi_devices: Vec::new(),
            stop_signal: v1::Signal::Sigrtminplus3.into(),
        }
    }

    fn full_security() -> v1::LinuxContainerSecurityContext {
        let localhost = |name: &str| v1::SecurityProfile { profile_type: 2, localhost_ref: name.into() };
        v1::LinuxContainerSecurityContext {
            capabilities: Some(v1::Capability {
                add_capabilities: vec!["NET_ADMIN".into()],
                drop_capabilities: vec!["CHOWN".into()],
                add_ambient_capabilities: vec!["KILL".into()],
            }),
            privileged: true,
            namespace_options: Some(v1::NamespaceOption {
                pid: v1::NamespaceMode::Target.into(),
                target_id: "target".into(),
                ..Default::default()
            }),
            selinux_options: Some(v1::SeLinuxOption { r#type: "t".into(), ..Default::default() }),
            run_as_user: None,
            run_as_username: "user".into(),
            readonly_rootfs: true,
            supplemental_groups: vec![3, 4],
            apparmor_profile: String::new(),
            seccomp_profile_path: String::new(),
            no_new_privs: true,
            run_as_group: Some(id(2)),
            masked_paths: vec!["/proc/keys".into()],
            readonly_paths: vec!["/proc/sys".into()],
            seccomp: Some(localhost("/profile.json")),
            apparmor: Some(localhost("profile")),
            supplemental_groups_policy: v1::SupplementalGroupsPolicy::Strict.into(),
        }
    }

    #[test]
    fn what_was_asked_for_comes_back() {
        assert_eq!(container_config(&ContainerConfig::from_cri(full()).unwrap()), full());
        let mut by_id = full();
        let security = by_id.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        (security.run_as_user, security.run_as_username) = (Some(id(1)), String::new());
        (by_id.stdin_once, by_id.stop_signal) = (false, v1::Signal::Sigkill.into());
        assert_eq!(container_config(&ContainerConfig::from_cri(by_id.clone()).unwrap()), by_id);
    }
}
