#![allow(clippy::unwrap_used, clippy::panic)]

use corten_cri::v1;

use super::*;
use crate::manifest;

const FULL: &str = include_str!("../../tests/full-pod.yaml");

fn named(text: &str) -> NamedPod {
    NamedPod::new(manifest::parse(text).unwrap().remove(0), "fresh".to_owned())
}

fn directories() -> Directories {
    Directories { logs: "/var/log/pods".into(), data: "/var/lib/corten-run".into() }
}

fn container_of(pod: &NamedPod, index: usize) -> v1::ContainerConfig {
    let container = &pod.manifest.spec.containers[index];
    let image = Image { reference: "sha256:abc".into() };
    container_config(pod, container, &image, Vec::new(), 1 << 30).unwrap()
}

#[test]
fn a_full_pod_becomes_a_sandbox() {
    let pod = named(FULL);
    let config = sandbox_config(&pod, &directories(), "/pods", "nameserver 1.1.1.1").unwrap();
    let uid = "0b3f2b1e-0000-4000-8000-000000000001";
    assert_eq!(config.log_directory, format!("/var/log/pods/apps_full_{uid}"));
    assert_eq!(config.hostname, "box");
    assert_eq!(config.dns_config.unwrap().servers, ["10.0.0.10", "fd00::a"]);
    assert_eq!(config.port_mappings.len(), 1, "a port without a host port is not mapped");
    assert_eq!((config.port_mappings[0].protocol(), config.port_mappings[0].host_port), (v1::Protocol::Udp, 10053));
    assert_eq!(config.labels[kubelet::POD_UID], uid);
    assert_eq!(config.labels["app"], "full");
    assert_eq!(config.annotations[MADE_BY_RUN], "true");
    let linux = config.linux.unwrap();
    assert_eq!(linux.cgroup_parent, "/pods");
    assert_eq!(linux.sysctls["net.core.somaxconn"], "1024");
    let security = linux.security_context.unwrap();
    assert_eq!(security.supplemental_groups, [3000, 2000]);
    assert_eq!(security.namespace_options.unwrap().pid(), v1::NamespaceMode::Pod);
    assert!(!security.privileged);
}

#[test]
fn a_full_container_becomes_a_configuration() {
    let config = container_of(&named(FULL), 0);
    assert_eq!(config.args, ["--listen=0.0.0.0:8080", "--literal=$(LISTEN)", "--unknown=$(NOBODY)"]);
    assert_eq!(config.log_path, "main/0.log");
    assert_eq!(config.image.unwrap().user_specified_image, "example.org/web:1");
    assert_eq!(config.annotations[kubelet::GRACE_PERIOD], "5");
    assert_eq!(config.labels[kubelet::CONTAINER_NAME], "main");
    assert!(config.tty && config.stdin && !config.stdin_once);
    let linux = config.linux.unwrap();
    let security = linux.security_context.unwrap();
    assert_eq!(security.run_as_user.unwrap().value, 1001, "the container's own user");
    assert_eq!(security.run_as_group.unwrap().value, 1000, "the pod's group");
    assert!(security.no_new_privs && security.readonly_rootfs);
    assert_eq!(security.capabilities.unwrap().drop_capabilities, ["ALL"]);
    assert!(security.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert_eq!(linux.resources.unwrap().memory_limit_in_bytes, 128 << 20);
}

#[test]
fn a_plain_pod_gets_the_defaults() {
    let pod = named("{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: i}]}}");
    assert_eq!((pod.namespace.as_str(), pod.uid.as_str()), ("default", "fresh"));
    let config = sandbox_config(&pod, &directories(), "", "").unwrap();
    assert_eq!((config.hostname.as_str(), config.dns_config), ("web", None));
    let container = container_of(&pod, 0);
    assert_eq!(container.annotations[kubelet::GRACE_PERIOD], "30");
    let security = container.linux.unwrap().security_context.unwrap();
    assert_eq!(security.seccomp.unwrap().profile_type(), v1::security_profile::ProfileType::RuntimeDefault);
    assert!(!security.no_new_privs);
}

#[test]
fn a_privileged_host_pod_keeps_nothing_back() {
    let pod = named(
        "{apiVersion: v1, kind: Pod, metadata: {name: root}, spec: {hostNetwork: true, hostPID: true, hostIPC: true,
          containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 80}],
            securityContext: {privileged: true}}]}}",
    );
    let config = sandbox_config(&pod, &directories(), "", "").unwrap();
    assert_eq!((config.hostname.as_str(), config.port_mappings.len()), ("", 0));
    let sandbox = config.linux.unwrap().security_context.unwrap();
    assert!(sandbox.privileged);
    let namespaces = sandbox.namespace_options.unwrap();
    for mode in [namespaces.network(), namespaces.pid(), namespaces.ipc()] {
        assert_eq!(mode, v1::NamespaceMode::Node);
    }
    let security = container_of(&pod, 0).linux.unwrap().security_context.unwrap();
    assert!(security.masked_paths.is_empty() && security.readonly_paths.is_empty());
    assert_eq!(security.seccomp.unwrap().profile_type(), v1::security_profile::ProfileType::Unconfined);
}

#[test]
fn run_as_non_root_looks_at_the_image() {
    let text = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {securityContext: {runAsNonRoot: true},
        containers: [{name: c, image: i}, {name: d, image: i, securityContext: {runAsUser: 5}},
            {name: e, image: i, securityContext: {runAsUser: 0}}]}}";
    let spec = named(text).manifest.spec;
    let image = |uid: Option<i64>, username: &str| v1::Image {
        uid: uid.map(|value| v1::Int64Value { value }),
        username: username.to_owned(),
        ..v1::Image::default()
    };
    let check = |index: usize, image: &v1::Image| check_non_root(&spec.containers[index], &spec, image);
    assert!(check(0, &image(Some(1000), "")).is_ok());
    assert!(check(0, &image(Some(0), "")).is_err());
    assert!(check(0, &image(None, "")).is_err(), "no user means root");
    assert!(check(0, &image(None, "web")).unwrap_err().to_string().contains("\"web\""));
    assert!(check(1, &image(None, "")).is_ok());
    assert!(check(2, &image(Some(1000), "")).is_err());
}

#[test]
fn directories_stay_below_their_base() {
    let directories = directories();
    for uid in ["", ".", "..", "a/b", "../x", "a\0"] {
        assert_eq!(directories.pod_data(uid), None, "{uid:?}");
    }
    assert_eq!(directories.pod_logs("a/b", "c", "d"), None);
    assert_eq!(directories.pod_data("u1").unwrap(), Path::new("/var/lib/corten-run/u1"));
}
