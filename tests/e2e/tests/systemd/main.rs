//! The daemon as systemd's service, with systemd as the one who makes cgroups: the tests of the guest of `make test-systemd`, in
//! which systemd is the first process and has started Corten by its unit.

mod choice;
mod failures;
mod node;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use corten_cri::v1::*;
use corten_e2e::{cri::assert_refused, cri::until, pods, skip::skip};
use node::Node;
use tonic::Code;

const MIB: i64 = 1 << 20;

static TURN: Mutex<()> = Mutex::new(());

/// Runs a test on the machine's own daemon; afterwards no unit of its pods may be left.
fn test(name: &str, body: impl AsyncFnOnce(&Node)) {
    if !Path::new("/run/systemd/system").exists() || !Path::new("/run/corten/corten.sock").exists() {
        skip(name, "the machine has no systemd that runs Corten");
        return;
    }
    // The daemon is the only one.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::connect().await;
        // What a test that has failed left is not the next one's.
        for pod in node.cri.list_pods(None).await.unwrap() {
            node.cri.end_pod(&pod).await;
        }
        body(&node).await;
        node.assert_nothing_left().await;
    });
}

fn limited(image: &str) -> ContainerConfig {
    pods::with_resources(pods::sleeper("limited", image), |r| {
        r.memory_limit_in_bytes = 64 * MIB;
        r.cpu_shares = 512;
        (r.cpu_quota, r.cpu_period) = (50_000, 100_000);
        r.cpuset_cpus = "0".into();
        r.unified = [("pids.max".to_owned(), "50".to_owned())].into();
    })
}

/// What a scope is to be as systemd tells it.
const PROPERTIES: [(&str, &str); 9] = [
    ("ActiveState", "active"),
    ("Delegate", "yes"),
    ("CollectMode", "inactive-or-failed"),
    ("DefaultDependencies", "no"),
    ("MemoryMax", "67108864"),
    ("CPUWeight", "59"),
    ("CPUQuotaPerSecUSec", "500ms"),
    ("AllowedCPUs", "0"),
    ("TasksMax", "50"),
];

/// What its files have.
const FILES: [(&str, &str); 5] = [
    ("memory.max", "67108864"),
    ("cpu.weight", "59"),
    ("cpu.max", "50000 100000"),
    ("cpuset.cpus", "0"),
    ("pids.max", "50"),
];

fn assert_files(directory: &str, files: &[(&str, &str)]) {
    for (file, value) in files {
        let has =
            fs::read_to_string(format!("{directory}/{file}")).unwrap_or_else(|e| panic!("{directory}/{file}: {e}"));
        assert_eq!(has.trim(), *value, "{file}");
    }
}

#[test]
fn the_unit_is_active_and_the_kubelet_is_told_of_systemd() {
    test("the_unit_is_active_and_the_kubelet_is_told_of_systemd", async |node| {
        for (property, value) in [("ActiveState", "active"), ("Type", "notify"), ("WatchdogUSec", "3min")] {
            assert_eq!(node::show("corten.service", property), value, "{property}");
        }
        let answer = node.cri.runtime().runtime_config(RuntimeConfigRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.linux.unwrap().cgroup_driver(), CgroupDriver::Systemd);
        let mut pod = node.pod("wrong");
        pod.linux.as_mut().unwrap().cgroup_parent = "/kubepods/pod1".into();
        assert_refused(
            node.cri.run_pod(&pod, "").await,
            Code::InvalidArgument,
            &["config.linux.cgroup_parent", "slice"],
        );
    });
}

#[test]
fn limits_are_systemds_too_and_outlive_it() {
    test("limits_are_systemds_too_and_outlive_it", async |node| {
        let config = node.pod("limits");
        let slice = node::slice("limits");
        node::systemctl(&["start", &slice]);
        let pod = node.cri.run_pod(&config, "").await.unwrap();
        let id = node.start(&pod, &config, &limited(&node.image)).await;
        let scope = format!("corten-{id}.scope");
        for (property, value) in PROPERTIES {
            assert_eq!(node::show(&scope, property), value, "{property}");
        }
        assert_eq!(node::show(&scope, "Slice"), slice);
        let monitor = format!("corten-monitor-{pod}.scope");
        assert_eq!([node::show(&monitor, "Slice"), node::show(&monitor, "ActiveState")], [slice.as_str(), "active"]);
        let directory = node::directory(&scope);
        assert!(directory.contains("/kubepods.slice/kubepods-burstable.slice/"), "{directory}");
        let processes = || fs::read_to_string(format!("{directory}/cgroup.procs")).unwrap().lines().count();
        assert_eq!(processes(), 2, "a shell and its sleep");
        let device = "mknod /tmp/d$1 b 254 0 && head -c1 /tmp/d$1 2>&1; true";
        for (number, command) in ["", "daemon-reload", "daemon-reexec"].iter().enumerate() {
            if !command.is_empty() {
                node::systemctl(&[command]);
            }
            assert_files(&directory, &FILES);
            let script = device.replace("$1", &number.to_string());
            assert!(node.cri.shell(&id, &script).await.contains("not permitted"), "after {command:?}");
        }
        let before = node::show("", "NInstalledJobs");
        for _ in 0..10 {
            node.cri.shell(&id, "true").await;
        }
        assert_eq!(node::show("", "NInstalledJobs"), before, "an exec is none of systemd's business");
        let linux =
            LinuxContainerResources { memory_limit_in_bytes: 96 * MIB, cpu_quota: 30_000, ..Default::default() };
        node.cri.update(&id, linux).await.unwrap();
        let changed =
            [("memory.max", "100663296"), ("cpu.max", "30000 100000"), ("cpu.weight", "59"), ("pids.max", "50")];
        assert_files(&directory, &changed);
        node::systemctl(&["daemon-reload"]);
        assert_files(&directory, &changed);
        let pid = node.pid(&id).await;
        node::systemctl(&["restart", "corten.service"]);
        let node = Node::connect().await;
        assert_eq!(node.pid(&id).await, pid);
        assert_eq!(node.cri.shell(&id, "echo still here").await.trim(), "still here");
        assert_files(&directory, &changed);
        node.cri.stop(&id, 5).await.unwrap();
        node.cri.remove(&id).await.unwrap();
        until("the scope is gone", async || node::units(&scope).is_empty().then_some(())).await;
        node.cri.end_pod(&pod).await;
        assert_eq!(node::show(&slice, "ActiveState"), "active", "the kubelet's own is the kubelet's to end");
        node::systemctl(&["stop", "kubepods.slice"]);
    });
}

#[test]
fn a_pod_that_names_no_parent_has_a_slice_of_its_own() {
    test("a_pod_that_names_no_parent_has_a_slice_of_its_own", async |node| {
        let mut config = node.pod("own");
        let linux = config.linux.as_mut().unwrap();
        linux.cgroup_parent.clear();
        linux.resources = Some(LinuxContainerResources { memory_limit_in_bytes: 128 * MIB, ..Default::default() });
        let pod = node.cri.run_pod(&config, "").await.unwrap();
        let slice = format!("corten-pod{pod}.slice");
        assert_eq!(node::show(&slice, "MemoryMax"), "134217728");
        node::systemctl(&["daemon-reload"]);
        assert_files(&node::directory(&slice), &[("memory.max", "134217728")]);
        node.cri.end_pod(&pod).await;
        until("its parent is gone", async || node::units("corten.slice").is_empty().then_some(())).await;
    });
}

#[test]
fn a_container_out_of_memory_is_said_to_be() {
    test("a_container_out_of_memory_is_said_to_be", async |node| {
        let config = node.pod("oom");
        let pod = node.cri.run_pod(&config, "").await.unwrap();
        for attempt in 0..2 {
            // A shell keeps what it reads; it is the container's only process.
            let script = pods::script("oom", &node.image, "x=$(cat /dev/zero | tr '\\0' x)");
            let mut container = pods::with_resources(script, |r| {
                (r.memory_limit_in_bytes, r.memory_swap_limit_in_bytes) = (8 * MIB, 8 * MIB);
                r.unified = [("memory.oom.group".to_owned(), "1".to_owned())].into();
            });
            container.metadata.as_mut().unwrap().attempt = attempt;
            let id = node.start(&pod, &config, &container).await;
            assert_eq!(node.cri.wait_exited(&id).await.reason, "OOMKilled", "attempt {attempt}");
            until("the scope is gone", async || node::units(&format!("corten-{id}.scope")).is_empty().then_some(()))
                .await;
            node.cri.remove(&id).await.unwrap();
        }
        node.cri.end_pod(&pod).await;
    });
}

#[test]
fn a_socket_of_systemds_starts_the_daemon_and_outlives_it() {
    test("a_socket_of_systemds_starts_the_daemon_and_outlives_it", async |_| {
        node::systemctl(&["stop", "corten.service"]);
        node::systemctl(&["start", "corten.socket"]);
        for _ in 0..2 {
            assert_eq!(node::show("corten.service", "ActiveState"), "inactive");
            let node = Node::connect().await;
            assert_eq!(node.cri.list_pods(None).await.unwrap(), [""; 0]);
            assert_eq!(node::show("corten.service", "ActiveState"), "active");
            node::systemctl(&["stop", "corten.service"]);
        }
        node::systemctl(&["stop", "corten.socket"]);
        node::systemctl(&["start", "corten.service"]);
    });
}

#[test]
fn an_external_runtime_has_systemd_make_its_scopes() {
    test("an_external_runtime_has_systemd_make_its_scopes", async |node| {
        let config = node.pod("runc");
        let pod = node.cri.run_pod(&config, "runc").await.unwrap();
        let id = node.start(&pod, &config, &limited(&node.image)).await;
        let scope = format!("corten-{id}.scope");
        assert_eq!(
            [node::show(&scope, "Slice"), node::show(&scope, "ActiveState")],
            [node::slice("runc").as_str(), "active"]
        );
        assert_files(&node::directory(&scope), &[("memory.max", "67108864"), ("cpu.max", "50000 100000")]);
        assert_eq!(node.cri.shell(&id, "echo hello").await.trim(), "hello");
        node.cri.end_pod(&pod).await;
    });
}

/// Pods that are started and stopped at once, while systemd is told to read its units again and executes itself anew.
#[test]
fn many_come_and_go_while_systemd_is_busy() {
    test("many_come_and_go_while_systemd_is_busy", async |node| {
        let disturb = std::thread::spawn(|| {
            for command in ["daemon-reload", "daemon-reexec"] {
                node::systemctl(&[command]);
            }
        });
        let lives = (0..8).map(async |number| {
            let config = node.pod(&format!("many{number}"));
            let pod = node.cri.run_pod(&config, "").await.unwrap();
            let id = node.start(&pod, &config, &pods::sleeper("one", &node.image)).await;
            assert_eq!(node.cri.shell(&id, "echo $0").await.trim(), "/bin/sh");
            node.cri.stop(&id, 0).await.unwrap();
            // The same again, as the kubelet restarts one.
            node.cri.remove(&id).await.unwrap();
            let id = node.start(&pod, &config, &pods::sleeper("one", &node.image)).await;
            assert_eq!(node::show(&format!("corten-{id}.scope"), "ActiveState"), "active");
            node.cri.end_pod(&pod).await;
        });
        futures::future::join_all(lives).await;
        disturb.join().unwrap();
    });
}

/// Another time after which the daemon is taken for one that hangs, until this is dropped.
struct Watchdog;

const WATCHDOG: &str = "/run/systemd/system/corten.service.d/watchdog.conf";

impl Watchdog {
    fn of(seconds: u32) -> Self {
        fs::create_dir_all(Path::new(WATCHDOG).parent().unwrap()).unwrap();
        fs::write(WATCHDOG, format!("[Service]\nWatchdogSec={seconds}s\n")).unwrap();
        // Taken away also if this fails.
        let watchdog = Self;
        read_again();
        watchdog
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let removed = fs::remove_file(WATCHDOG);
        if std::thread::panicking() {
            // A second panic would end all tests.
            let _ = Command::new("systemctl").arg("daemon-reload").status();
            let _ = Command::new("systemctl").args(["restart", "corten.service"]).status();
            return;
        }
        removed.unwrap();
        read_again();
    }
}

fn read_again() {
    node::systemctl(&["daemon-reload"]);
    node::systemctl(&["restart", "corten.service"]);
}

#[test]
fn a_daemon_that_hangs_is_started_again() {
    test("a_daemon_that_hangs_is_started_again", async |_| {
        let _watchdog = Watchdog::of(10);
        let node = Node::connect().await;
        let config = node.pod("watched");
        let pod = node.cri.run_pod(&config, "").await.unwrap();
        let id = node.start(&pod, &config, &pods::sleeper("one", &node.image)).await;
        let told = || node::show("corten.service", "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
        let (first, daemon) = (told(), node::show("corten.service", "MainPID"));
        until("the daemon to have told that it lives", async || (told() > first + 15_000_000).then_some(())).await;
        assert_eq!(node::show("corten.service", "MainPID"), daemon);
        let stopped = rustix::process::Pid::from_raw(daemon.parse().unwrap()).unwrap();
        rustix::process::kill_process(stopped, rustix::process::Signal::STOP).unwrap();
        let node = Node::connect_to_another(&daemon).await;
        assert_eq!(node.cri.shell(&id, "echo still here").await, "still here\n");
        node.cri.end_pod(&pod).await;
    });
}

#[test]
fn a_bus_that_is_started_again_is_used_again() {
    test("a_bus_that_is_started_again_is_used_again", async |node| {
        let (first, second) = (node.pod("first"), node.pod("second"));
        let before = node.cri.run_pod(&first, "").await.unwrap();
        node::systemctl(&["restart", "dbus.service"]);
        let id = node.start(&before, &first, &pods::sleeper("one", &node.image)).await;
        assert_eq!(node::show(&format!("corten-{id}.scope"), "ActiveState"), "active");
        let after = node.cri.run_pod(&second, "").await.unwrap();
        node.cri.end_pod(&before).await;
        node.cri.end_pod(&after).await;
    });
}
