//! What cannot be launched: a clear error, whose fault it is, and nothing left.

use std::path::Path;

use corten_monitor::protocol::CallError;
use serde_json::json;

use crate::harness::Fixture;

fn text_of_containers_fault(fixture: &Fixture) -> String {
    match fixture.error() {
        error @ CallError::Container { .. } => error.to_string(),
        error => panic!("not the container's fault: {error}"),
    }
}

/// Programs that cannot be executed are reported as users of other runtimes know it.
#[test]
fn programs_that_cannot_run() {
    let mut fixture = Fixture::new("");
    std::fs::write(fixture.file("bin/text"), "not a program").unwrap();
    std::fs::set_permissions(fixture.file("bin/text"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (program, expected) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        ("/bin/foo", "exec: \"/bin/foo\": stat /bin/foo: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("text", "exec: \"/bin/text\": exec format error"),
    ] {
        fixture.process()["args"] = json!([program]);
        assert_eq!(text_of_containers_fault(&fixture), expected);
    }
}

/// A volume that does not exist, or of the wrong kind, is named.
#[test]
fn volumes_that_cannot_be_mounted() {
    for (source, destination, expected) in [
        ("/no/such/volume", "/v", "mount /v: mount source /no/such/volume does not exist"),
        ("/etc/passwd", "/data", "mount /data: the source is a file, the destination is a directory"),
        ("/tmp", "/etc/passwd", "mount /etc/passwd: the source is a directory, the destination is a file"),
    ] {
        let mut fixture = Fixture::new("");
        fixture.mount(destination, "bind", Path::new(source), &["rbind"]);
        assert_eq!(text_of_containers_fault(&fixture), expected);
    }
}

/// A working directory that is a file is the container's fault.
#[test]
fn a_working_directory_that_is_a_file() {
    let mut fixture = Fixture::new("");
    fixture.process()["cwd"] = json!("/etc/passwd");
    let text = text_of_containers_fault(&fixture);
    assert!(text.contains("/etc/passwd") && text.contains("Not a directory"), "{text}");
}

/// What the node lacks is the node's fault, with the reason.
#[test]
fn what_the_node_lacks() {
    let mut fixture = Fixture::new("");
    fixture.lower.push("/no/such/layer".into());
    let error = fixture.error();
    assert!(matches!(&error, CallError::Node { .. }) && error.to_string().contains("/no/such/layer"), "{error}");
    fixture.lower.pop();
    fixture.spec["linux"]["namespaces"][4]["path"] = json!("/no/such/netns");
    let error = fixture.error();
    assert!(matches!(&error, CallError::Node { .. }) && error.to_string().contains("/no/such/netns"), "{error}");
    let mut fixture = Fixture::new("");
    if !Path::new("/sys/module/apparmor").exists() {
        fixture.process()["apparmorProfile"] = json!("x");
        let error = fixture.error().to_string();
        assert!(error.contains("AppArmor is not enabled"), "{error}");
        fixture.process().as_object_mut().unwrap().remove("apparmorProfile");
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        fixture.spec["linux"]["mountLabel"] = json!("u:r:t:s0:c1,c2");
        let error = fixture.error().to_string();
        assert!(error.contains("mount the root") || error.contains("attach the root"), "{error}");
        fixture.spec["linux"].as_object_mut().unwrap().remove("mountLabel");
    }
    fixture.spec["mounts"][0]["options"] = json!(["colour=red"]);
    let error = fixture.error().to_string();
    assert!(error.contains("/proc") && error.contains("colour=red"), "{error}");
}

/// What this launcher does not do is refused by the field's name, and so is what makes no sense.
#[test]
fn requests_that_are_refused() {
    let cases = [
        ("/hooks", json!({"poststop": [{"path": "/bin/true"}]}), "hooks"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1, "size": 1}]), "uidMappings"),
        ("/linux/namespaces/0", json!({"type": "user"}), "user namespace"),
        ("/linux/namespaces/0", json!({"type": "mount"}), "twice"),
        ("/linux/sysctl", json!({"vm.swappiness": "1"}), "vm.swappiness"),
        ("/linux/sysctl", json!({"net.../kernel": "1"}), "not a parameter"),
        ("/linux/rootfsPropagation", json!("sideways"), "sideways"),
        ("/process/args", json!([]), "process.args"),
        ("/process/env", json!(["A"]), "process.env"),
        ("/process/cwd", json!("relative"), "relative"),
        ("/process/user", json!({"uid": 4294967295_u32, "gid": 0}), "4294967295"),
        ("/mounts/0/options", json!(["tmpcopyup"]), "tmpcopyup"),
    ];
    for (pointer, value, expected) in cases {
        let mut fixture = Fixture::new("");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match fixture.spec.pointer_mut(parent).unwrap() {
            serde_json::Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            object => object[key] = value,
        }
        let error = fixture.error();
        assert!(matches!(error, CallError::BadRequest { .. }), "{pointer}: {error:?}");
        assert!(error.to_string().contains(expected), "{pointer}: {error}");
    }
}
