//! What a pod has of its own: hostname, IPC, /dev/shm, sysctls, a PID namespace.

use std::fs;

use corten_monitor::protocol::{HeldState, POD_SHM};
use serde_json::json;

use crate::harness::{Pod, change, plan, until};

#[test]
fn the_host_keeps_its_hostname() {
    let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut pod = Pod::start_with(corten_monitor::protocol::PodPlan { hostname: Some("web-0".to_owned()), ..plan() });
    let container = pod.container("c", "hostname");
    pod.client.run(&container);
    assert_eq!(pod.lines("c"), ["web-0"]);
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    pod.leave();
}

#[test]
fn containers_share_the_pods_shm_and_the_host_does_not_see_it() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut pod = Pod::start_with(corten_monitor::protocol::PodPlan { private_ipc: true, ..plan() });
    let before = mounts();
    for (name, script) in [("w", "echo hello > /dev/shm/x"), ("r", "cat /dev/shm/x")] {
        let mut container = pod.container(name, script);
        change(&mut container, |spec| {
            let shm = json!({"destination": "/dev/shm", "type": "bind", "source": POD_SHM, "options": ["rbind"]});
            spec["mounts"].as_array_mut().unwrap().push(shm);
        });
        assert_eq!(pod.client.run(&container).code, 0);
    }
    assert_eq!(pod.lines("r"), ["hello"]);
    // Other tests may mount meanwhile: only what is the pod's matters.
    assert_eq!(before.contains(&pod.id), mounts().contains(&pod.id));
    pod.leave();
}

#[test]
fn sysctls_are_the_pods_own() {
    let read = || fs::read_to_string("/proc/sys/kernel/shmmax").unwrap();
    let before = read();
    let sysctls = vec![("kernel.shmmax".to_owned(), "123456".to_owned())];
    let mut pod = Pod::start_with(corten_monitor::protocol::PodPlan { private_ipc: true, sysctls, ..plan() });
    let container = pod.container("c", "cat /proc/sys/kernel/shmmax");
    pod.client.run(&container);
    assert_eq!(pod.lines("c"), ["123456"]);
    assert_eq!(read(), before);
    pod.leave();
}

#[test]
fn a_set_up_that_fails_names_its_step() {
    let fails = |plan| Pod::try_start(plan).err().expect("it failed");
    let base = || corten_monitor::protocol::PodPlan { private_ipc: true, ..plan() };
    let netns = Some("/nowhere/ns".into());
    let error = fails(corten_monitor::protocol::PodPlan { netns, ..base() });
    assert!(error.starts_with("network namespace: "), "{error}");
    let sysctls = vec![("kernel.panic".to_owned(), "1".to_owned())];
    let error = fails(corten_monitor::protocol::PodPlan { sysctls, ..base() });
    assert!(error.starts_with("sysctl: kernel.panic"), "{error}");
    let error = fails(corten_monitor::protocol::PodPlan { hostname: Some("x".repeat(100)), ..base() });
    assert!(error.starts_with("uts namespace: "), "{error}");
    let error = fails(corten_monitor::protocol::PodPlan { cgroup: Some("a/../../b".to_owned()), ..base() });
    assert!(error.starts_with("cgroup: "), "{error}");
}

#[test]
fn containers_share_a_pid_namespace_whose_init_outlives_them() {
    let mut pod = Pod::start_with(corten_monitor::protocol::PodPlan { shared_pid: true, ..plan() });
    let init = pod.init_pid.expect("an init");
    let one = pod.container("one", "exec sleep 1000");
    pod.client.launch(&one).unwrap();
    // It sees the init and the other container, and leaves an orphan behind.
    let two = pod.container("two", "ps; (sleep 1001 &) ; exit 4");
    assert_eq!(pod.client.run(&two).code, 4);
    let lines = pod.lines("two").join("\n");
    assert!(lines.contains("sleep 1000"), "{lines}");
    until("the orphan is killed", || pod.cgroup("two").processes().unwrap().is_empty());
    assert!(matches!(pod.client.state_of(&one.id), Some(HeldState::Running { .. })));
    let root = fs::read_dir(format!("/proc/{init}/root/")).unwrap().count();
    assert_eq!(root, 0, "the init's root is empty");
    pod.leave();
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists());
}
