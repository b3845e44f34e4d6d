//! Containers in a user namespace.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corten_host::user_namespace::{self, IdMapping, Mappings};
use corten_monitor::launcher::PodHandles;
use corten_monitor::protocol::CallError;
use serde_json::{Value, json};

use crate::harness::{Ended, Fixture, Running};

const OUTSIDE: u32 = 1_000_000;

/// A container in a user namespace whose ids begin at [`OUTSIDE`].
fn fixture(script: &str) -> Fixture {
    let mut fixture = Fixture::new(script);
    let ids = ids(OUTSIDE);
    let linux = &mut fixture.spec["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    linux["uidMappings"] = ids.clone();
    linux["gidMappings"] = ids;
    // As the image store does.
    std::os::unix::fs::chown(fixture.dir.path().join("upper"), Some(OUTSIDE), Some(OUTSIDE)).unwrap();
    fixture
}

fn ids(outside: u32) -> Value {
    json!([{"containerID": 0, "hostID": outside, "size": 65536}])
}

fn launch(fixture: &Fixture) -> Result<Running, CallError> {
    let range = vec![IdMapping { inside: 0, outside: OUTSIDE, length: 65536 }];
    let users = user_namespace::make(&Mappings { uids: range.clone(), gids: range }).unwrap();
    fixture.launch_in(&PodHandles { users: Some(users.as_fd()), ..PodHandles::default() })
}

fn run(fixture: &Fixture) -> Ended {
    let ended = launch(fixture).unwrap().wait();
    fixture.remove_cgroup();
    ended
}

fn output(fixture: &Fixture) -> String {
    let ended = run(fixture);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

#[test]
fn its_root_is_nobody_on_the_host() {
    let fixture = fixture(
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c %u:%g / /bin/busybox /proc/1 /dev /dev/null /dev/pts; \
         touch /made /dev/made; stat -c %u:%g /made /dev/made; cat /proc/self/status | grep -e ^Groups -e ^CapBnd; \
         echo to-null > /dev/null; [ -c /dev/null ] && echo null",
    );
    let output = output(&fixture);
    let lines: Vec<String> = output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let map = format!("0 {OUTSIDE} 65536");
    assert_eq!(lines[..3], [map.clone(), map, "0".to_owned()]);
    assert!(lines[3..11].iter().all(|line| line == "0:0"), "{output}");
    assert_eq!(lines[11..], ["Groups:", "CapBnd: 00000000a80425fb", "null"]);
    assert_eq!(owner(&fixture.dir.path().join("upper/made")), (OUTSIDE, OUTSIDE));
    assert_eq!(owner(&fixture.file("bin/busybox")), (0, 0));
}

#[test]
fn files_of_the_image_that_it_changes_become_its_own() {
    let mut fixture =
        fixture("echo more >> /data/file; stat -c %u:%g /data/file; chown 7:8 /data/file; cat /data/file");
    fs::write(fixture.file("data/file"), "old\n").unwrap();
    std::os::unix::fs::chown(fixture.file("data/file"), Some(5), Some(6)).unwrap();
    fixture.process()["user"] = json!({"uid": 0, "gid": 0});
    assert_eq!(output(&fixture), "5:6\nold\nmore\n");
    assert_eq!(owner(&fixture.dir.path().join("upper/data/file")), (OUTSIDE + 7, OUTSIDE + 8));
    assert_eq!(owner(&fixture.file("data/file")), (5, 6));
}

#[test]
fn a_mapped_volume_stores_the_ids_of_the_inside() {
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("old"), "").unwrap();
    let plain = tempfile::tempdir().unwrap();
    fs::set_permissions(plain.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mut fixture = fixture(
        "stat -c %u:%g /mapped /mapped/old /plain; touch /mapped/new /plain/new; chown 7:8 /mapped/new; \
         stat -c %u:%g /mapped/new",
    );
    fixture.mount("/mapped", "bind", volume.path(), &["rbind", "rw"]);
    fixture.mount("/plain", "bind", plain.path(), &["rbind", "rw"]);
    let mount = &mut fixture.spec["mounts"][6];
    mount["uidMappings"] = ids(OUTSIDE);
    mount["gidMappings"] = ids(OUTSIDE);
    assert_eq!(output(&fixture), "0:0\n0:0\n65534:65534\n7:8\n");
    assert_eq!(owner(&volume.path().join("new")), (7, 8));
    assert_eq!(owner(&plain.path().join("new")), (OUTSIDE, OUTSIDE));
}

/// The host's root is no volume's owner in a container that maps it to somebody else, user namespace or not.
#[test]
fn a_volume_can_be_mapped_without_a_user_namespace() {
    let volume = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new("stat -c %u:%g /v; touch /v/new 2>/dev/null || echo no");
    fixture.mount("/v", "bind", volume.path(), &["rbind", "rw"]);
    let mount = &mut fixture.spec["mounts"][6];
    mount["uidMappings"] = ids(OUTSIDE);
    mount["gidMappings"] = ids(OUTSIDE);
    assert_eq!(fixture.output(), format!("{OUTSIDE}:{OUTSIDE}\nno\n"));
}

#[test]
fn what_cannot_be_mapped_is_named() {
    let mut fixture = fixture("true");
    fixture.mount("/v", "bind", Path::new("/proc/sys"), &["rbind"]);
    let mount = &mut fixture.spec["mounts"][6];
    mount["uidMappings"] = ids(OUTSIDE);
    mount["gidMappings"] = ids(OUTSIDE);
    let error = launch(&fixture).map(Running::wait).unwrap_err().to_string();
    assert_eq!(error, "mount /v: mount source /proc/sys: its file system cannot be mounted with mapped ids");
    fixture.spec["mounts"][6]["gidMappings"] = json!([]);
    let error = launch(&fixture).map(Running::wait).unwrap_err().to_string();
    assert!(error.contains("mount /v: gidMappings: there is no id mapping"), "{error}");
    assert!(!fixture.cgroup_exists());
}

#[test]
fn without_the_pods_user_namespace_it_is_not_launched() {
    let error = fixture("true").error().to_string();
    assert!(error.contains("the pod has no user namespace"), "{error}");
}

#[test]
fn a_process_run_in_it_is_as_confined() {
    let mut fixture = fixture("echo ready; sleep 1000");
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    let mut running = launch(&fixture).unwrap();
    assert_eq!(running.line(), "ready");
    assert_eq!(owner(Path::new(&format!("/proc/{}", running.pid))), (OUTSIDE + 1000, OUTSIDE + 1000));
    let script = "id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user; readlink /proc/1/ns/user";
    let exec = fixture.exec(&running, |process| process["args"] = json!(["/bin/sh", "-c", script])).unwrap();
    let host = fs::read_link(format!("/proc/{}/ns/user", exec.pid)).ok();
    let ended = exec.wait();
    let lines: Vec<&str> = ended.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[0], "1000", "{ended:?}");
    assert!(lines[1].ends_with("65536"));
    assert_eq!(lines[2], lines[3]);
    assert_ne!(host, fs::read_link("/proc/self/ns/user").ok());
    running.kill();
    running.wait();
    fixture.remove_cgroup();
}

/// It may mount in its own namespaces with the capability, and nothing that is the host's.
#[test]
fn capabilities_end_at_its_namespaces() {
    let mut fixture = fixture(
        "mount -t tmpfs none /data && echo mounted; hostname inside && hostname; mknod /dev/x b 8 0 2>/dev/null || echo no node; \
         echo 1 2>/dev/null > /proc/sys/kernel/panic || echo no sysctl; ls /sys/class/net; \
         mount -o remount,rw /sys/fs/cgroup/memory 2>/dev/null; echo x 2>/dev/null > /sys/fs/cgroup/memory/tasks || echo no cgroup",
    );
    std::os::unix::fs::symlink("busybox", fixture.file("bin/mknod")).unwrap();
    for set in ["bounding", "effective", "permitted"] {
        let set = fixture.process()["capabilities"][set].as_array_mut().unwrap();
        set.push(json!("CAP_SYS_ADMIN"));
    }
    fixture.spec["linux"]["readonlyPaths"] = json!([]);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/data");
    assert_eq!(output(&fixture), "mounted\ninside\nno node\nno sysctl\nlo\nno cgroup\n");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/data"), before);
}

#[test]
fn masks_and_a_read_only_root_hold() {
    let mut fixture = fixture(
        "cat /proc/kcore; ls -A /sys/firmware; touch /x 2>/dev/null || echo read-only; touch /proc/sys/kernel/hostname 2>&1 | grep -c Read-only; \
         ls /dev/pts; ls -d /dev/mqueue",
    );
    fixture.spec["root"]["readonly"] = json!(true);
    assert_eq!(output(&fixture), "read-only\n1\nptmx\n/dev/mqueue\n");
}
