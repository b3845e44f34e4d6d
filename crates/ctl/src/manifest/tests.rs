#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::{schema::*, *};

const MINIMAL: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: main
    image: example.org/web:1
";

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok(pods) => panic!("accepted: {pods:?}"),
        Err(error) => error.to_string(),
    }
}

/// The minimal pod with more lines in its container.
fn with_container(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("{MINIMAL}{indented}")
}

/// The minimal pod with more lines in its spec.
fn with_spec(lines: &str) -> String {
    let indented: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("{MINIMAL}{indented}")
}

#[test]
fn a_minimal_pod() {
    let pods = parse(MINIMAL).unwrap();
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].metadata.name, "web");
    assert_eq!(pods[0].spec.containers[0].image, "example.org/web:1");
}

#[test]
fn a_full_pod() {
    let pods = parse(include_str!("../../tests/full-pod.yaml")).unwrap();
    let spec = &pods[0].spec;
    assert_eq!(spec.init_containers.len(), 1);
    assert!(spec.share_process_namespace);
    assert_eq!(spec.security_context.fs_group, Some(2000));
    let main = &spec.containers[0];
    assert_eq!(main.resources.limits["cpu"].milli(), Some(1500));
    assert_eq!(main.resources.requests["memory"].value(), Some(64 << 20));
    assert_eq!(main.ports[0].protocol, Protocol::Udp);
    assert_eq!(main.volume_mounts[1].mount_propagation, Propagation::HostToContainer);
    assert_eq!(main.security_context.capabilities.drop, ["ALL"]);
    assert_eq!(spec.volumes[1].host_path.as_ref().unwrap().kind, HostPathType::DirectoryOrCreate);
    assert_eq!(spec.dns_config.as_ref().unwrap().options[0].value.as_deref(), Some("2"));
}

#[test]
fn several_documents_and_json() {
    let text = format!("---\n{MINIMAL}\n---\n# only a comment\n---\n{}", MINIMAL.replace("web}", "db}"));
    let names: Vec<_> = parse(&text).unwrap().into_iter().map(|pod| pod.metadata.name).collect();
    assert_eq!(names, ["web", "db"]);
    let json =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"j"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
    assert_eq!(parse(json).unwrap()[0].metadata.name, "j");
}

#[test]
fn an_explicit_null_is_nothing() {
    assert!(parse(&with_container("command: null\nsecurityContext: ~")).is_ok());
}

#[test]
fn unknown_fields_are_named_with_their_path() {
    let at = "document 1: spec.containers[0]";
    assert_eq!(refusal(&with_container("imgae: x")), format!("{at}.imgae: unknown field"));
    assert_eq!(
        refusal(&with_container("livenessProbe: {exec: {command: [x]}}")),
        format!("{at}.livenessProbe: not supported by corten run")
    );
    assert_eq!(
        refusal(&with_container("env:\n- name: A\n  valueFrom: {fieldRef: {fieldPath: x}}")),
        format!("{at}.env[0].valueFrom: not supported by corten run")
    );
    assert_eq!(refusal(&with_spec("hostAliases: []")), "document 1: spec.hostAliases: not supported by corten run");
    assert_eq!(
        refusal(&with_spec("volumes:\n- name: v\n  configMap: {name: x}")),
        "document 1: spec.volumes[0].configMap: not supported by corten run"
    );
}

#[test]
fn wrong_values_are_named_with_their_path() {
    for (text, expected) in [
        (with_container("env:\n- {name: A, value: 8080}"), "spec.containers[0].env[0].value: invalid type"),
        (with_container("env:\n- {name: 'A=B', value: x}"), "spec.containers[0].env[0]: \"A=B\""),
        (with_container("imagePullPolicy: Sometimes"), "spec.containers[0].imagePullPolicy: unknown variant"),
        (with_container("ports: [{containerPort: 70000}]"), "spec.containers[0].ports[0].containerPort: invalid"),
        (with_container("ports: [{}]"), "spec.containers[0].ports[0].containerPort: must be"),
        (with_container("ports: [{containerPort: 1, hostIP: here}]"), "ports[0].hostIP: \"here\""),
        (with_container("resources: {limits: {cpu: fast}}"), "resources.limits.cpu: quantity \"fast\""),
        (with_container("securityContext: {runAsUser: -1}"), "securityContext.runAsUser: invalid value"),
        (with_container("volumeMounts: [{name: x, mountPath: /x}]"), "volumeMounts[0].name: there is no volume"),
        (with_spec("- name: main\n  image: x"), "spec.containers[1].name: \"main\" is there twice"),
        (with_spec("hostPID: true\nshareProcessNamespace: true"), "spec.shareProcessNamespace: cannot"),
        (with_spec("volumes: [{name: v}]"), "spec.volumes[0]: needs a source"),
        (with_spec("volumes: [{name: v, emptyDir: {medium: Memory}}]"), "emptyDir.medium: \"Memory\" is not supported"),
        (with_spec("volumes: [{name: v, hostPath: {path: a/b}}]"), "hostPath.path: \"a/b\" must be an absolute"),
        (with_spec("volumes: [{name: v, hostPath: {path: /a/../b}}]"), "hostPath.path"),
        (with_spec("dnsConfig: {nameservers: [dns.example]}"), "spec.dnsConfig.nameservers[0]: \"dns.example\""),
        (with_spec("dnsConfig: {searches: ['a b']}"), "spec.dnsConfig.searches: \"a b\""),
        (MINIMAL.replace("web}", "../etc}"), "metadata.name: \"../etc\""),
        (MINIMAL.replace("web}", "web, uid: ../../x}"), "metadata.uid: \"../../x\""),
        (MINIMAL.replace("web}", "web, labels: {a: 1}}"), "metadata.labels.a: invalid type"),
        (MINIMAL.replace("example.org/web:1", "''"), "spec.containers[0].image: is required"),
        (MINIMAL.replace("kind: Pod", "kind: Deployment"), "kind Deployment is not supported"),
    ] {
        let message = refusal(&text);
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}

#[test]
fn sub_paths_stay_inside_their_volume() {
    for sub in ["..", "a/../../b", "/etc"] {
        let text = with_container(&format!("volumeMounts: [{{name: v, mountPath: /v, subPath: {sub}}}]"));
        let text = format!("{text}  volumes: [{{name: v, emptyDir: {{}}}}]\n");
        assert!(refusal(&text).contains("volumeMounts[0].subPath"), "{sub}");
    }
}

#[test]
fn bidirectional_propagation_needs_privilege() {
    let mount = "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]";
    let volumes = "  volumes: [{name: v, emptyDir: {}}]\n";
    assert!(refusal(&format!("{}{volumes}", with_container(mount))).contains("mountPropagation: Bidirectional needs"));
    let privileged = format!("{mount}\nsecurityContext: {{privileged: true}}");
    assert!(parse(&format!("{}{volumes}", with_container(&privileged))).is_ok());
}

#[test]
fn what_is_no_manifest_is_refused() {
    assert_eq!(refusal(""), "no Pod in it");
    assert_eq!(refusal("---\n---\n"), "no Pod in it");
    assert!(refusal("a: [").starts_with("not YAML: "));
    assert!(refusal("just text").contains("kind (none)"));
    assert!(refusal("kind: Pod\nkind: Pod\n").starts_with("not YAML: "), "a key that is there twice");
}

#[test]
fn a_flood_of_aliases_is_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(refusal(&text).starts_with("not YAML: "));
}

#[test]
fn unsupported_fields_are_sorted_and_not_understood() {
    assert!(UNSUPPORTED.is_sorted());
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_in_a_field_panics(value in "[-a-zA-Z0-9:/.{}\\[\\]'\" ]{0,30}", field in "[a-zA-Z]{1,20}") {
        let _ = parse(&with_container(&format!("{field}: {value}")));
        let _ = parse(&with_spec(&format!("{field}: {value}")));
    }
}
