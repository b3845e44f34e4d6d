#![allow(clippy::unwrap_used, clippy::panic)]
//! On this machine's own cgroups, as root, each below a path of its own.

use std::{
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxHugepageLimitBuilder,
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

use super::*;

/// A cgroup of a test, gone with everything in it when dropped.
struct Scratch(Cgroup);

impl Scratch {
    fn new(hierarchies: &Hierarchies) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = format!("/corten-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(hierarchies.cgroup(&path).unwrap())
    }

    fn below(&self, hierarchies: &Hierarchies, path: &str) -> Cgroup {
        hierarchies.cgroup(&format!("{}/{path}", self.0.name())).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.kill(libc::SIGKILL).unwrap();
        self.0.remove().unwrap();
        assert!(!self.0.exists(), "{} is left", self.0.name());
    }
}

/// Runs a shell script in a cgroup.
fn sh(cgroup: &Cgroup, script: &str) -> Child {
    let cgroup = cgroup.clone();
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: runs in the forked child, which has one thread; it opens and writes files, and allocates, which glibc allows there.
    unsafe { command.pre_exec(move || cgroup.join_self().map_err(std::io::Error::other)) };
    command.spawn().unwrap()
}

fn value(cgroup: &Cgroup, controller: Controller, v1: &str, v2: &str) -> String {
    let file = match cgroup.v1(controller) {
        Some(place) => place.dir.join(v1),
        None => cgroup.v2().unwrap().dir.join(v2),
    };
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
}

#[test]
fn a_process_joins_is_seen_measured_and_killed_and_nothing_stays() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    let cgroup = scratch.below(&hierarchies, "pod/container");
    assert!(!cgroup.create().unwrap().is_empty());
    let mut child = sh(&cgroup, "echo ready; exec sleep 1000");
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = i32::try_from(child.id()).unwrap();

    assert_eq!(cgroup.processes().unwrap(), [pid]);
    assert_eq!(scratch.0.processes().unwrap(), [pid], "the parent counts its descendants' processes");
    let of_process = hierarchies.of_process(pid).unwrap();
    let dirs = |c: &Cgroup| c.places.iter().map(|p| p.dir.clone()).collect::<Vec<_>>();
    assert_eq!(dirs(&of_process), dirs(&cgroup), "it is in that cgroup in every hierarchy");
    let stats = cgroup.stats().unwrap();
    assert!(stats.cpu.unwrap().usage > 0);
    assert!(stats.memory.unwrap().usage > 0);
    // The kernel adds these up now and then.
    let deadline = Instant::now() + Duration::from_secs(120);
    while cgroup.stats().unwrap().memory.unwrap().page_faults == 0 {
        assert!(Instant::now() < deadline, "no page fault is counted");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stats.pids.unwrap().current, 1);

    scratch.0.kill(libc::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert_eq!(cgroup.oom_kills(), 0);
    scratch.0.remove().unwrap();
    assert!(!cgroup.exists() && !scratch.0.exists());
    scratch.0.remove().unwrap();
    assert_eq!(cgroup.processes().unwrap(), [] as [i32; 0], "none in one that does not exist");
}

#[test]
fn undo_removes_what_this_caller_made_and_nothing_else() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    let parent = scratch.0.create().unwrap();
    let cgroup = scratch.below(&hierarchies, "a/b");
    let missing = cgroup.missing();
    let created = cgroup.create().unwrap();
    let mut sorted = created.directories().to_vec();
    sorted.sort();
    assert_eq!(missing.directories(), sorted, "what is about to be made is known before");
    assert!(cgroup.missing().is_empty());
    assert_eq!(created.directories().len(), 2 * cgroup.places.len());
    assert!(cgroup.create().unwrap().is_empty(), "the second time everything is there");
    let other = scratch.below(&hierarchies, "a/other");
    let others = other.create().unwrap();

    let created: Created = serde_json::from_str(&serde_json::to_string(&created).unwrap()).unwrap();
    Cgroup::undo(&created).unwrap();
    assert!(!cgroup.exists());
    assert!(other.exists(), "the shared parent stays while somebody uses it");
    Cgroup::undo(&others).unwrap();
    Cgroup::undo(&created).unwrap();
    Cgroup::undo(&created).unwrap();
    assert!(!scratch.below(&hierarchies, "a").exists());
    assert!(scratch.0.exists());
    Cgroup::undo(&parent).unwrap();
    assert!(!scratch.0.exists());
}

#[test]
fn removal_waits_for_a_process_that_is_just_ending_and_refuses_a_living_one() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let mut child = sh(&scratch.0, "sleep 1000");
    let refused = scratch.0.remove().unwrap_err();
    assert!(
        matches!(&refused, Error::Remove { source, .. } if source.raw_os_error() == Some(libc::EBUSY)),
        "{refused}"
    );
    let ending = thread::spawn({
        let cgroup = scratch.0.clone();
        move || {
            thread::sleep(Duration::from_millis(20));
            cgroup.kill(libc::SIGKILL).unwrap();
            child.wait().unwrap();
        }
    });
    scratch.0.remove().unwrap();
    ending.join().unwrap();
}

#[test]
fn limits_arrive_and_can_be_raised_and_lowered() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let cpu = |quota: i64| LinuxCpuBuilder::default().shares(512u64).period(50_000u64).quota(quota).cpus("0").mems("0");
    for (mib, quota) in [(64i64, 20_000i64), (128, 60_000), (32, 10_000), (-1, -1), (48, 5_000)] {
        let bytes = if mib < 0 { -1 } else { mib << 20 };
        let resources = LinuxResourcesBuilder::default()
            .memory(LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build().unwrap())
            .cpu(cpu(quota).build().unwrap())
            .pids(LinuxPidsBuilder::default().limit(17i64).build().unwrap())
            .hugepage_limits(vec![LinuxHugepageLimitBuilder::default().page_size("2MB").limit(0i64).build().unwrap()])
            .build()
            .unwrap();
        scratch.0.apply(&resources).unwrap();
        let stats = scratch.0.stats().unwrap();
        assert_eq!(stats.memory.unwrap().limit, u64::try_from(bytes).ok());
        assert_eq!(stats.pids.unwrap().limit, Some(17));
        let quota_now = value(&scratch.0, Controller::Cpu, "cpu.cfs_quota_us", "cpu.max");
        let v2_quota = if quota < 0 { "max 50000".to_owned() } else { format!("{quota} 50000") };
        assert!(quota_now == quota.to_string() || quota_now == v2_quota, "{quota_now}");
    }
    assert_eq!(value(&scratch.0, Controller::Cpuset, "cpuset.cpus", "cpuset.cpus"), "0");
    let shares = value(&scratch.0, Controller::Cpu, "cpu.shares", "cpu.weight");
    assert!(shares == "512" || shares == "59", "{shares}");
    scratch.0.apply(&LinuxResources::default()).unwrap();
    assert_eq!(value(&scratch.0, Controller::Cpu, "cpu.shares", "cpu.weight"), shares, "nothing set, nothing changed");
}

#[test]
fn a_value_the_kernel_refuses_is_named_with_its_file() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let cpu = LinuxCpuBuilder::default().cpus("4000-5000").build().unwrap();
    let error = scratch.0.apply(&LinuxResourcesBuilder::default().cpu(cpu).build().unwrap()).unwrap_err().to_string();
    assert!(
        error.contains("cpuset.cpus") && error.contains("4000-5000") && error.contains(scratch.0.name()),
        "{error}"
    );
    let period = LinuxCpuBuilder::default().period(5u64).build().unwrap();
    let error = scratch.0.apply(&LinuxResourcesBuilder::default().cpu(period).build().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}

#[test]
fn an_update_that_the_kernel_refuses_changes_nothing() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let memory = |bytes: i64| LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build().unwrap();
    let resources = |bytes: i64, shares: u64, cpus: &str| {
        let cpu = LinuxCpuBuilder::default().shares(shares).quota(50_000i64).period(100_000u64).cpus(cpus);
        LinuxResourcesBuilder::default().memory(memory(bytes)).cpu(cpu.build().unwrap()).build().unwrap()
    };
    let now = || {
        let files = [
            (Controller::Memory, "memory.limit_in_bytes", "memory.max"),
            (Controller::Cpu, "cpu.shares", "cpu.weight"),
            (Controller::Cpu, "cpu.cfs_quota_us", "cpu.max"),
            (Controller::Cpuset, "cpuset.cpus", "cpuset.cpus"),
        ];
        files.map(|(controller, v1, v2)| value(&scratch.0, controller, v1, v2))
    };
    scratch.0.update(&resources(64 << 20, 512, "0")).unwrap();
    let before = now();
    assert!(before[0] == (64 << 20).to_string(), "{before:?}");
    for bytes in [32i64 << 20, 128 << 20, -1] {
        scratch.0.update(&resources(bytes, 2048, "4000")).unwrap_err();
        assert_eq!(now(), before, "{bytes}");
    }
    scratch.0.update(&resources(128 << 20, 2048, "0")).unwrap();
    assert_ne!(now(), before);
}

#[test]
fn the_oom_killer_is_noticed() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let memory = LinuxMemoryBuilder::default().limit(16i64 << 20).swap(16i64 << 20).build().unwrap();
    scratch.0.apply(&LinuxResourcesBuilder::default().memory(memory).build().unwrap()).unwrap();
    let status = sh(&scratch.0, "exec tail /dev/zero").wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert_eq!(scratch.0.oom_kills(), 1);
}

#[test]
fn frozen_processes_can_be_killed() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let mut child = sh(&scratch.0, "while :; do :; done");
    scratch.0.freeze().unwrap();
    scratch.0.thaw().unwrap();
    scratch.0.freeze().unwrap();
    scratch.0.kill(libc::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn a_process_that_forks_all_the_time_does_not_escape() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    let nested = scratch.below(&hierarchies, "nested");
    nested.create().unwrap();
    // Each of a few loops starts one process after another; no loop ever fails to fork, which would end its shell.
    let mut child = sh(&nested, "for i in 1 2 3 4; do (while :; do (:); done) & done; echo on; wait");
    let mut on = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut on).unwrap();
    scratch.0.kill_one_by_one().unwrap();
    child.wait().unwrap();
    scratch.0.remove().unwrap();
}

#[test]
fn a_signal_other_than_kill_goes_to_every_process() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let mut children = [sh(&scratch.0, "exec sleep 1000"), sh(&scratch.0, "exec sleep 1000")];
    scratch.0.kill(libc::SIGTERM).unwrap();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}

/// Everything denied but /dev/null (1:3), the pseudo-terminals, and reading /dev/zero (1:5).
fn device_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |allow, major: i64, minor: Option<i64>, access: &str| {
        let b = LinuxDeviceCgroupBuilder::default().allow(allow).typ(LinuxDeviceType::C).major(major).access(access);
        match minor {
            Some(minor) => b.minor(minor).build().unwrap(),
            None => b.build().unwrap(),
        }
    };
    let deny_all = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    vec![deny_all, rule(true, 1, Some(3), "rwm"), rule(true, 136, None, "rw"), rule(true, 1, Some(5), "r")]
}

/// Prints which of the accesses are allowed.
const DEVICE_PROBE: &str = "exec 2>/dev/null
    try() { if (eval \"$2\"); then echo $1; fi; }
    try null-write 'echo x >/dev/null'; try zero-read 'head -c1 /dev/zero >/dev/null'; try zero-write 'echo x >/dev/zero'
    try random-read 'head -c1 /dev/urandom >/dev/null'";

fn output(mut child: Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn only_the_devices_allowed_can_be_opened() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    scratch.0.apply(&LinuxResourcesBuilder::default().devices(device_rules()).build().unwrap()).unwrap();
    assert_eq!(output(sh(&scratch.0, DEVICE_PROBE)), "null-write zero-read");
}

#[test]
fn the_v2_device_filter_does_the_same_and_is_replaced_by_a_new_one() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    scratch.0.create().unwrap();
    let place = scratch.0.v2().expect("a v2 hierarchy is mounted, as on every supported machine with device filters");
    let policy = |rules: &[LinuxDeviceCgroup]| {
        devices::Policy::of(&rules.iter().map(|r| devices::Rule::of(r).unwrap()).collect::<Vec<_>>())
    };
    device_filter::replace(&place.dir, &policy(&device_rules())).unwrap();
    assert_eq!(output(sh(&scratch.0, DEVICE_PROBE)), "null-write zero-read");

    let deny = LinuxDeviceCgroupBuilder::default().allow(false).typ(LinuxDeviceType::C).major(1i64).minor(9i64);
    device_filter::replace(&place.dir, &policy(&[deny.access("r").build().unwrap()])).unwrap();
    assert_eq!(output(sh(&scratch.0, DEVICE_PROBE)), "null-write zero-read zero-write");

    device_filter::replace(&place.dir, &policy(&[])).unwrap();
    assert_eq!(output(sh(&scratch.0, DEVICE_PROBE)), "null-write zero-read zero-write random-read");
}

#[test]
fn a_root_cgroup_is_left_alone() {
    let hierarchies = Hierarchies::detect().unwrap();
    let root = hierarchies.cgroup("/").unwrap();
    root.stats().unwrap();
    for error in [
        root.kill(libc::SIGKILL).unwrap_err(),
        root.remove().unwrap_err(),
        root.freeze().unwrap_err(),
        root.thaw().unwrap_err(),
        root.apply(&LinuxResources::default()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Root { .. }), "{error}");
    }
    assert!(root.create().unwrap().is_empty());
}

#[test]
fn a_directory_is_there_to_be_cloned_into() {
    let hierarchies = Hierarchies::detect().unwrap();
    let scratch = Scratch::new(&hierarchies);
    assert!(scratch.0.open_v2().is_none(), "not before it exists");
    scratch.0.create().unwrap();
    assert_eq!(scratch.0.open_v2().is_some(), hierarchies.mode() != Mode::V1);
}
