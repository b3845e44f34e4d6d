//! Namespaces, cgroups, names, limits, and what is left of a container.

use std::fs;

use serde_json::json;

use crate::harness::Fixture;

fn host_mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains("overlay") || line.contains("/tmp/.tmp")).map(str::to_owned).collect()
}

/// The script runs as init of namespaces of its own, on its overlay, and its output and exit code come back.
#[test]
fn a_container_runs() {
    let fixture = Fixture::new("echo $$ $(hostname) $(pwd); touch /data/written; exit 7");
    let ended = fixture.run();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(7), "1 box /\n"), "{ended:?}");
    assert!(fixture.dir.path().join("upper/data/written").exists());
    assert!(!fixture.file("data/written").exists());
}

/// A running container is in no mount table but its own, and can be launched again on the same upper layer at once.
#[test]
fn the_host_has_no_mount_of_it() {
    let fixture = Fixture::new("echo up; sleep 100");
    let before = host_mounts();
    for _ in 0..3 {
        let mut running = fixture.launch().unwrap();
        assert_eq!(running.line(), "up");
        assert_eq!(host_mounts(), before);
        running.kill();
        assert_eq!(running.wait().signal, Some(libc::SIGKILL));
        fixture.remove_cgroup();
    }
    assert_eq!(host_mounts(), before);
}

/// Every namespace asked for is another than the host's, and one that is not asked for is the host's.
#[test]
fn namespaces_are_as_asked() {
    let script = "for n in pid ipc uts mnt net cgroup; do readlink /proc/self/ns/$n; done";
    let mut fixture = Fixture::new(script);
    let host = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    for line in fixture.output().lines() {
        let name = line.split(':').next().unwrap();
        assert_ne!(line, host(name));
    }
    fixture.spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}]);
    fixture.spec.as_object_mut().unwrap().remove("hostname");
    let lines = fixture.output();
    for name in ["ipc", "uts", "net", "cgroup"] {
        assert!(lines.contains(&host(name)), "{name}: {lines}");
    }
}

/// Namespaces given by path are joined: those of another container here.
#[test]
fn namespaces_are_joined_by_path() {
    let first = Fixture::new("echo up; sleep 100");
    let mut running = first.launch().unwrap();
    assert_eq!(running.line(), "up");
    let mut second = Fixture::new("for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; cat /proc/1/comm");
    let path = |name: &str| format!("/proc/{}/ns/{name}", running.pid);
    second.spec["linux"]["namespaces"] = json!([
        {"type": "mount"}, {"type": "pid", "path": path("pid")}, {"type": "ipc", "path": path("ipc")},
        {"type": "uts", "path": path("uts")}, {"type": "network", "path": path("net")}
    ]);
    let output = second.output();
    for name in ["pid", "ipc", "uts", "net"] {
        let expected = fs::read_link(path(name)).unwrap().display().to_string();
        assert!(output.contains(&expected), "{name}: {output}");
    }
    assert!(output.ends_with("sleep\n"), "procfs is of the joined PID namespace: {output}");
    running.kill();
    running.wait();
    first.remove_cgroup();
}

/// The container is in its cgroup in every hierarchy, which it sees as the root, and its limits are set.
#[test]
fn cgroups_are_joined_limited_and_mounted() {
    let mut fixture = Fixture::new("cat /proc/self/cgroup; ls /sys/fs/cgroup; echo up; sleep 100");
    fixture.spec["linux"]["resources"] = json!({"memory": {"limit": 50_000_000}, "pids": {"limit": 50}});
    let mut running = fixture.launch().unwrap();
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "up") {
        lines.push(running.line());
    }
    let seen: Vec<_> = lines.iter().filter(|line| line.contains(':')).collect();
    assert!(!seen.is_empty() && seen.iter().all(|line| line.ends_with(":/")), "{lines:?}");
    let host = fs::read_to_string(format!("/proc/{}/cgroup", running.pid)).unwrap();
    assert!(host.lines().all(|line| line.ends_with(&fixture.cgroup)), "{host}");
    let controllers = fs::read_dir("/sys/fs/cgroup").unwrap().count();
    if host.lines().count() > 1 {
        assert_eq!(lines.len() - seen.len() - 1, controllers, "{lines:?}");
    }
    let limit = fs::read_to_string(format!("/sys/fs/cgroup/pids{}/pids.max", fixture.cgroup))
        .or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup{}/pids.max", fixture.cgroup)));
    assert_eq!(limit.unwrap().trim(), "50");
    running.kill();
    running.wait();
    fixture.remove_cgroup();
}

/// Limits, umask, scheduling and scores are set; what the node may not raise is clamped and does not fail.
#[test]
fn limits_are_set_or_clamped() {
    let mut fixture =
        Fixture::new("ulimit -n; ulimit -Hn; umask; cat /proc/self/oom_score_adj; ulimit -Hu; cat /proc/self/stat");
    fixture.process()["user"]["umask"] = json!(0o027);
    fixture.process()["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 5});
    fixture.process()["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    fixture.process()["rlimits"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "RLIMIT_NPROC", "soft": 18446744073709551614_u64, "hard": 18446744073709551614_u64}));
    let output = fixture.output();
    let lines: Vec<_> = output.lines().collect();
    let nice = lines[5].split(' ').nth(18);
    assert_eq!((&lines[..4], nice), (&["512", "1024", "0027", "500"][..], Some("5")), "{output}");
    fixture.process()["oomScoreAdj"] = json!(-1000);
    fixture.output();
}

/// Signals that the monitor ignores or blocks are not so in the container.
#[test]
fn signals_have_their_defaults() {
    // SAFETY: no handler; tests do not rely on SIGUSR2.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let mut fixture = Fixture::new("");
    fixture.process()["args"] = json!(["cat", "/proc/self/status"]);
    let output = fixture.output();
    for line in output.lines().filter(|line| line.starts_with("SigIgn") || line.starts_with("SigBlk")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
}

/// Sysctls of the container's own namespaces are written there, and the node's stay as they are.
#[test]
fn sysctls_are_the_containers_own() {
    let mut fixture = Fixture::new("cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced");
    fixture.spec["linux"]["sysctl"] =
        json!({"net.ipv4.ip_local_port_range": "1024 2048", "kernel.shm_rmid_forced": "1"});
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    assert_eq!(fixture.output(), "1024\t2048\n1\n");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap(), before);
}

/// Layers lie over each other in order, names with separators included.
#[test]
fn layers_are_in_order() {
    let mut fixture = Fixture::new("cat /data/name; cat /data/other");
    let dir = fixture.dir.path().to_owned();
    for (layer, text) in [("top:a,b\\c", "top\n"), ("middle", "middle\n")] {
        fs::create_dir_all(dir.join(layer).join("data")).unwrap();
        fs::write(dir.join(layer).join("data/name"), text).unwrap();
    }
    fs::write(dir.join("middle/data/other"), "other\n").unwrap();
    fixture.lower = vec![dir.join("top:a,b\\c"), dir.join("middle"), dir.join("lower")];
    assert_eq!(fixture.output(), "top\nother\n");
}

/// Many layers work. Before Linux 6.7 all their names together have one page.
#[test]
fn a_hundred_layers_work() {
    let mut fixture = Fixture::new("ls /data");
    let dir = fixture.dir.path().to_owned();
    let mut layers = Vec::new();
    for number in 0..100 {
        let layer = dir.join(format!("a-layer-with-a-long-name-{number}"));
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join("data").join(number.to_string()), "").unwrap();
        layers.push(layer);
    }
    layers.push(dir.join("lower"));
    fixture.lower = layers;
    assert_eq!(fixture.output().lines().count(), 100);
}
