#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::security::{PidNamespace, PodNamespace};

fn minimal() -> v1::PodSandboxConfig {
    let metadata =
        v1::PodSandboxMetadata { name: "web".into(), namespace: "default".into(), uid: "u-1".into(), attempt: 2 };
    v1::PodSandboxConfig { metadata: Some(metadata), ..Default::default() }
}

fn linux(change: impl FnOnce(&mut v1::LinuxPodSandboxConfig)) -> v1::PodSandboxConfig {
    let mut linux = v1::LinuxPodSandboxConfig::default();
    change(&mut linux);
    v1::PodSandboxConfig { linux: Some(linux), ..minimal() }
}

fn security(change: impl FnOnce(&mut v1::LinuxSandboxSecurityContext)) -> v1::PodSandboxConfig {
    let mut context = v1::LinuxSandboxSecurityContext::default();
    change(&mut context);
    linux(|linux| linux.security_context = Some(context))
}

fn with(change: impl FnOnce(&mut v1::PodSandboxConfig)) -> v1::PodSandboxConfig {
    let mut config = minimal();
    change(&mut config);
    config
}

fn mapping(change: impl FnOnce(&mut v1::PortMapping)) -> v1::PodSandboxConfig {
    let mut mapping = v1::PortMapping { container_port: 80, ..Default::default() };
    change(&mut mapping);
    with(|config| config.port_mappings = vec![mapping])
}

#[test]
fn a_minimal_pod_is_all_defaults() {
    let pod = PodConfig::from_cri(minimal()).unwrap();
    let metadata = PodMetadata { name: "web".into(), namespace: "default".into(), uid: "u-1".into(), attempt: 2 };
    assert_eq!(pod, PodConfig { metadata, ..Default::default() });
}

#[test]
fn everything_said_is_kept() {
    let mut message = security(|s| {
        s.privileged = true;
        s.run_as_user = Some(v1::Int64Value { value: 0 });
        s.run_as_group = Some(v1::Int64Value { value: 9 });
        s.supplemental_groups = vec![1, 2];
        s.supplemental_groups_policy = 1;
        s.namespace_options = Some(v1::NamespaceOption { network: 2, pid: 1, ..Default::default() });
        s.seccomp = Some(v1::SecurityProfile { profile_type: 1, ..Default::default() });
    });
    message.hostname = "web-0.example".into();
    message.log_directory = "/var/log/pods/x".into();
    message.dns_config = Some(v1::DnsConfig { servers: vec!["10.0.0.10".into()], ..Default::default() });
    message.labels.insert("app".into(), "web".into());
    let port = v1::PortMapping { protocol: 1, container_port: 53, host_port: 5353, host_ip: "127.0.0.1".into() };
    message.port_mappings = vec![port, v1::PortMapping { container_port: 80, ..Default::default() }];
    if let Some(linux) = &mut message.linux {
        linux.cgroup_parent = "/kubepods/burstable/pod1".into();
        linux.overhead = Some(v1::LinuxContainerResources { cpu_shares: 2, ..Default::default() });
    }
    let pod = PodConfig::from_cri(message).unwrap();
    assert_eq!(pod.hostname.as_deref(), Some("web-0.example"));
    assert_eq!(pod.cgroup_parent.as_deref(), Some("/kubepods/burstable/pod1"));
    assert_eq!(pod.security.run_as_user, Some(0));
    assert_eq!(pod.security.supplemental_groups_policy, SupplementalGroupsPolicy::Strict);
    assert_eq!(pod.security.namespaces.network, PodNamespace::Node);
    assert_eq!(pod.security.namespaces.pid, PidNamespace::Container);
    assert_eq!(pod.security.seccomp, Some(SecurityProfile::Unconfined));
    assert_eq!(pod.overhead.as_ref().and_then(|overhead| overhead.cpu_shares), Some(2));
    let hosts: Vec<_> = pod.port_mappings.iter().filter_map(PortMapping::host).collect();
    assert_eq!(hosts.len(), 1, "a port that is only declared opens nothing");
    assert!(hosts.iter().all(|host| host.host_port == 5353 && host.container_port == 53));

    let record = serde_json::to_string(&pod).unwrap();
    assert_eq!(serde_json::from_str::<PodConfig>(&record).unwrap(), pod);
}

#[test]
fn records_of_other_versions_are_read() {
    let text = r#"{"metadata":{"name":"a","namespace":"b","uid":"c","attempt":0},"from_the_future":1}"#;
    assert_eq!(serde_json::from_str::<PodConfig>(text).unwrap().metadata.name, "a");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let metadata = |change: fn(&mut v1::PodSandboxMetadata)| with(|c| change(c.metadata.as_mut().unwrap()));
    let dns = |dns| with(|c| c.dns_config = Some(dns));
    let windows = v1::WindowsSandboxSecurityContext { run_as_username: "x".into(), ..Default::default() };
    let cases = [
        ("config.metadata", v1::PodSandboxConfig::default()),
        ("config.metadata.name", metadata(|m| m.name.clear())),
        ("config.metadata.namespace", metadata(|m| m.namespace.clear())),
        ("config.metadata.uid", metadata(|m| m.uid = "a\nb".into())),
        ("config.metadata.name", metadata(|m| m.name = "x".repeat(2000))),
        ("config.hostname", with(|c| c.hostname = "a".repeat(65))),
        ("config.hostname", with(|c| c.hostname = "a\n127.0.0.1 evil".into())),
        ("config.hostname", with(|c| c.hostname = "-a".into())),
        ("config.log_directory", with(|c| c.log_directory = "logs".into())),
        ("config.log_directory", with(|c| c.log_directory = "/var/../etc".into())),
        (
            "config.dns_config.servers[0]",
            dns(v1::DnsConfig { servers: vec!["1.1.1.1\nsearch x".into()], ..Default::default() }),
        ),
        (
            "config.dns_config.searches[1]",
            dns(v1::DnsConfig { searches: vec!["a".into(), "b c".into()], ..Default::default() }),
        ),
        ("config.dns_config.options[0]", dns(v1::DnsConfig { options: vec![String::new()], ..Default::default() })),
        ("config.port_mappings[0].protocol", mapping(|m| m.protocol = 3)),
        ("config.port_mappings[0].container_port", mapping(|m| m.container_port = 0)),
        ("config.port_mappings[0].container_port", mapping(|m| m.container_port = 65536)),
        ("config.port_mappings[0].host_port", mapping(|m| m.host_port = -1)),
        ("config.port_mappings[0].host_ip", mapping(|m| m.host_ip = "localhost".into())),
        ("config.labels", with(|c| drop(c.labels.insert("k".into(), "v".repeat(5000))))),
        ("config.annotations", with(|c| drop(c.annotations.insert(String::new(), "v".into())))),
        ("config.linux.cgroup_parent", linux(|l| l.cgroup_parent = "/a/../../b".into())),
        ("config.linux.cgroup_parent", linux(|l| l.cgroup_parent = "/a\nb".into())),
        (
            "config.linux.resources.cpu_quota",
            linux(|l| l.resources = Some(v1::LinuxContainerResources { cpu_quota: -7, ..Default::default() })),
        ),
        ("config.linux.sysctls[kernel.panic]", linux(|l| drop(l.sysctls.insert("kernel.panic".into(), "1".into())))),
        ("config.linux.security_context.run_as_user", security(|s| s.run_as_user = Some(v1::Int64Value { value: -1 }))),
        (
            "config.linux.security_context.run_as_group",
            security(|s| s.run_as_group = Some(v1::Int64Value { value: 1 })),
        ),
        ("config.linux.security_context.supplemental_groups[0]", security(|s| s.supplemental_groups = vec![1 << 40])),
        ("config.linux.security_context.supplemental_groups_policy", security(|s| s.supplemental_groups_policy = 2)),
        (
            "config.linux.security_context.namespace_options.pid",
            security(|s| {
                s.namespace_options = Some(v1::NamespaceOption { pid: 3, target_id: "x".into(), ..Default::default() });
            }),
        ),
        (
            "config.linux.security_context.namespace_options.network",
            security(|s| s.namespace_options = Some(v1::NamespaceOption { network: 3, ..Default::default() })),
        ),
        (
            "config.linux.security_context.selinux_options.user",
            security(|s| s.selinux_options = Some(v1::SeLinuxOption { user: "a b".into(), ..Default::default() })),
        ),
        (
            "config.linux.security_context.seccomp.profile_type",
            security(|s| s.seccomp = Some(v1::SecurityProfile { profile_type: 3, ..Default::default() })),
        ),
        ("config.linux.security_context.seccomp_profile_path", security(|s| s.seccomp_profile_path = "mine".into())),
        (
            "config.linux.security_context.apparmor.localhost_ref",
            security(|s| s.apparmor = Some(v1::SecurityProfile { profile_type: 2, ..Default::default() })),
        ),
        (
            "config.linux.overhead.cpu_period",
            linux(|l| l.overhead = Some(v1::LinuxContainerResources { cpu_period: 1, ..Default::default() })),
        ),
        ("config.windows", with(|c| c.windows = Some(v1::WindowsPodSandboxConfig { security_context: Some(windows) }))),
    ];
    for (field, message) in cases {
        let error = PodConfig::from_cri(message).unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert!(error.to_string().starts_with(&format!("invalid {field} ")), "{field}: {error}");
    }
}

#[test]
fn an_empty_windows_part_is_nothing() {
    assert!(PodConfig::from_cri(with(|c| c.windows = Some(v1::WindowsPodSandboxConfig::default()))).is_ok());
}

#[test]
fn sysctls_of_both_spellings_become_dotted() {
    assert_eq!(dotted_sysctl("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
    assert_eq!(dotted_sysctl("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
    assert_eq!(dotted_sysctl("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.eth0/1.forwarding");
    assert_eq!(dotted_sysctl("net.ipv4.conf.eth0/1.forwarding"), "net.ipv4.conf.eth0/1.forwarding");
}

proptest! {
    #[test]
    fn no_text_gets_into_another_line(server in any::<String>(), hostname in any::<String>()) {
        let mut message = minimal();
        message.hostname = hostname;
        message.dns_config = Some(v1::DnsConfig { servers: vec![server], ..Default::default() });
        if let Ok(pod) = PodConfig::from_cri(message) {
            prop_assert!(pod.dns.unwrap().servers.iter().all(|server| !server.contains(char::is_whitespace)));
            prop_assert!(pod.hostname.unwrap_or_default().chars().all(|c| c.is_ascii_graphic()));
        }
    }

    #[test]
    fn no_sysctl_name_leads_out_of_its_directory(name in "[a-z./]{1,20}|net[./]{1,6}[a-z./]{0,12}") {
        let message = linux(|linux| drop(linux.sysctls.insert(name, "1".into())));
        if let Ok(pod) = PodConfig::from_cri(message) {
            for name in pod.sysctls.keys() {
                let path: String = name.chars().map(|c| if c == '.' { '/' } else if c == '/' { '.' } else { c }).collect();
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."), "{}", path);
                prop_assert!(!name.replace('.', "/").split('/').any(|part| part == ".."));
            }
        }
    }
}
