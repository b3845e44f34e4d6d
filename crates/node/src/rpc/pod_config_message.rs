//! A pod sandbox's configuration in the CRI's message, for verbose information: what was asked for, in the spelling that
//! everybody's tools read. The inverse of [`PodConfig::from_cri`].

use corten_cri::v1;

use super::security_message::{groups_policy, id, ids, namespaces, profile, selinux};
use crate::pod::config::{DnsConfig, PodConfig, PodMetadata, PodSecurity, PortMapping, Protocol};

/// The whole configuration.
pub fn pod_config(config: &PodConfig) -> v1::PodSandboxConfig {
    let PodConfig {
        metadata,
        hostname,
        log_directory,
        dns,
        port_mappings,
        labels,
        annotations,
        cgroup_parent,
        sysctls,
        overhead,
        resources,
        security,
    } = config;
    v1::PodSandboxConfig {
        metadata: Some(pod_metadata(metadata)),
        hostname: hostname.clone().unwrap_or_default(),
        log_directory: log_directory.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        dns_config: dns.as_ref().map(dns_config),
        port_mappings: port_mappings.iter().map(port_mapping).collect(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.clone().unwrap_or_default(),
            security_context: Some(security_context(security)),
            sysctls: sysctls.clone(),
            overhead: overhead.as_ref().map(|resources| resources.to_cri()),
            resources: resources.as_ref().map(|resources| resources.to_cri()),
        }),
        windows: None,
    }
}

/// A pod's name, namespace, uid and attempt.
pub fn pod_metadata(metadata: &PodMetadata) -> v1::PodSandboxMetadata {
    let PodMetadata { name, namespace, uid, attempt } = metadata.clone();
    v1::PodSandboxMetadata { name, uid, namespace, attempt }
}

fn dns_config(config: &DnsConfig) -> v1::DnsConfig {
    let DnsConfig { servers, searches, options } = config.clone();
    v1::DnsConfig { servers, searches, options }
}

fn port_mapping(mapping: &PortMapping) -> v1::PortMapping {
    let PortMapping { protocol, container_port, host_port, host_ip } = mapping;
    let protocol = match protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
    };
    v1::PortMapping {
        protocol: protocol.into(),
        container_port: (*container_port).into(),
        host_port: host_port.unwrap_or_default().into(),
        host_ip: host_ip.map(|address| address.to_string()).unwrap_or_default(),
    }
}

fn security_context(security: &PodSecurity) -> v1::LinuxSandboxSecurityContext {
    let PodSecurity {
        namespaces: options,
        selinux: label,
        run_as_user,
        run_as_group,
        supplemental_groups,
        supplemental_groups_policy,
        readonly_rootfs,
        privileged,
        seccomp,
        apparmor,
    } = security;
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(options)),
        selinux_options: label.as_ref().map(selinux),
        run_as_user: run_as_user.map(id),
        readonly_rootfs: *readonly_rootfs,
        supplemental_groups: ids(supplemental_groups),
        privileged: *privileged,
        seccomp_profile_path: String::new(),
        run_as_group: run_as_group.map(id),
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
    fn full() -> v1::PodSandboxConfig {
        let map = |text: &str| BTreeMap::from([(text.to_owned(), "1".to_owned())]);
        let localhost = |name: &str| v1::SecurityProfile { profile_type: 2, localhost_ref: name.into() };
        let range = |host_id| vec![v1::IdMapping { container_id: 0, host_id, length: 65_536 }];
        let limits = |cpu_shares| Some(v1::LinuxContainerResources { cpu_shares, ..Default::default() });
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "name".into(),
                uid: "uid".into(),
                namespace: "namespace".into(),
                attempt: 7,
            }),
            hostname: "host".into(),
            log_directory: "/var/log/pods/it".into(),
            dns_config: Some(v1::DnsConfig {
                servers: vec!["10.0.0.10".into()],
                searches: vec!["svc".into()],
                options: vec!["ndots:5".into()],
            }),
            port_mappings: vec![v1::PortMapping {
                protocol: v1::Protocol::Sctp.into(),
                container_port: 80,
                host_port: 8080,
                host_ip: "::1".into(),
            }],
            labels: map("label"),
            annotations: map("annotation"),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/pod1".into(),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(v1::NamespaceOption {
                        network: v1::NamespaceMode::Node.into(),
                        pid: v1::NamespaceMode::Container.into(),
                        ipc: v1::NamespaceMode::Pod.into(),
                        target_id: String::new(),
                        userns_options: Some(v1::UserNamespace {
                            mode: v1::NamespaceMode::Pod.into(),
                            uids: range(100_000),
                            gids: range(200_000),
                        }),
                    }),
                    selinux_options: Some(v1::SeLinuxOption {
                        user: "u".into(),
                        role: "r".into(),
                        r#type: "t".into(),
                        level: "s0:c1,c2".into(),
                    }),
                    run_as_user: Some(id(1)),
                    readonly_rootfs: true,
                    supplemental_groups: vec![3, 4],
                    privileged: true,
                    seccomp_profile_path: String::new(),
                    run_as_group: Some(id(2)),
                    seccomp: Some(localhost("/profile.json")),
                    apparmor: Some(localhost("profile")),
                    supplemental_groups_policy: v1::SupplementalGroupsPolicy::Strict.into(),
                }),
                sysctls: map("kernel.shm_rmid_forced"),
                overhead: limits(2),
                resources: limits(3),
            }),
            windows: None,
        }
    }

    #[test]
    fn what_was_asked_for_comes_back() {
        let config = PodConfig::from_cri(full()).unwrap();
        assert_eq!(pod_config(&config), full());
    }
}
