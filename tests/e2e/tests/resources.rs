//! Limits, changed while a container is created or runs; the effects are read from its cgroup's files and its processes.

use std::{fs, path::Path};

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_resources},
};
use tonic::{Code, Status};

for_each_launcher!(
    limits_of_a_running_container_change_up_and_down,
    limits_changed_before_the_start_are_there_at_the_start,
    a_bad_update_changes_nothing,
    an_update_that_the_kernel_refuses_changes_nothing,
    memory_in_use_is_not_taken_away,
    the_oom_score_follows_for_processes_that_did_not_choose_their_own,
    an_update_of_what_has_ended_is_refused,
    changed_limits_outlive_the_daemon,
    limits_of_a_pod_reach_its_own_cgroup,
    a_pods_cgroup_that_somebody_named_is_left_alone,
);

async fn update(lab: &Lab, id: &str, change: impl FnOnce(&mut LinuxContainerResources)) -> Result<(), Status> {
    let mut linux = LinuxContainerResources::default();
    change(&mut linux);
    lab.cri.update(id, linux).await
}

async fn reported(lab: &Lab, id: &str) -> LinuxContainerResources {
    lab.cri.status(id).await.unwrap().resources.unwrap().linux.unwrap()
}

/// A file of cgroup v1, or `None` where the controller is in v2.
fn v1(group: &str, controller: &str, file: &str) -> Option<String> {
    read(&format!("/sys/fs/cgroup/{controller}{group}/{file}"))
}

/// A file of cgroup v2, also of a hybrid's.
fn v2(group: &str, file: &str) -> Option<String> {
    read(&format!("/sys/fs/cgroup{group}/{file}")).or_else(|| read(&format!("/sys/fs/cgroup/unified{group}/{file}")))
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// What the kernel has of a container's limits, in the CRI's terms; -1 for no limit. Weights as the kernel has them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InForce {
    memory: i64,
    memory_and_swap: Option<i64>,
    shares: String,
    quota: i64,
    period: i64,
    cpus: String,
}

impl InForce {
    fn of(group: &str) -> Self {
        if let Some(shares) = v1(group, "cpu", "cpu.shares") {
            let number = |controller: &str, file: &str| -> Option<i64> {
                let value: i64 = v1(group, controller, file)?.parse().unwrap();
                Some(if value > i64::MAX / 2 { -1 } else { value })
            };
            return Self {
                memory: number("memory", "memory.limit_in_bytes").unwrap(),
                memory_and_swap: number("memory", "memory.memsw.limit_in_bytes"),
                shares,
                quota: number("cpu", "cpu.cfs_quota_us").unwrap(),
                period: number("cpu", "cpu.cfs_period_us").unwrap(),
                cpus: v1(group, "cpuset", "cpuset.cpus").unwrap(),
            };
        }
        let number = |text: &str| if text == "max" { -1 } else { text.parse::<i64>().unwrap() };
        let memory = number(&v2(group, "memory.max").unwrap());
        let swap = v2(group, "memory.swap.max").map(|swap| number(&swap));
        let max = v2(group, "cpu.max").unwrap();
        let (quota, period) = max.split_once(' ').unwrap();
        Self {
            memory,
            memory_and_swap: swap.map(|swap| if swap < 0 || memory < 0 { -1 } else { memory + swap }),
            shares: v2(group, "cpu.weight").unwrap(),
            quota: number(quota),
            period: number(period),
            cpus: v2(group, "cpuset.cpus").unwrap(),
        }
    }

    /// Shares of v1, or the weight of v2 that stands for them; runc before 1.3.2 had a formula of its own.
    fn has_shares(&self, lab: &Lab, shares: u64, weight: u64) -> bool {
        let of_runc = (lab.setup().handler == "runc").then_some(1 + (shares - 2) * 9999 / 262_142);
        [Some(shares), Some(weight), of_runc].contains(&self.shares.parse().ok())
    }
}

const MIB: i64 = 1 << 20;

fn limited(image: &str) -> ContainerConfig {
    with_resources(pods::sleeper("c", image), |r| {
        r.memory_limit_in_bytes = 64 * MIB;
        r.cpu_quota = 50_000;
        r.cpu_period = 100_000;
        r.cpu_shares = 512;
        r.cpuset_cpus = "0".into();
    })
}

fn limits_of_a_running_container_change_up_and_down(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("update");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &limited(&image)).await;
        let group = lab.cgroup_of(&id);
        for memory in [128, 32, 256] {
            update(lab, &id, |r| r.memory_limit_in_bytes = memory * MIB).await.unwrap();
            let now = InForce::of(&group);
            assert_eq!((now.memory, now.quota, now.period, now.cpus.as_str()), (memory * MIB, 50_000, 100_000, "0"));
            // No swap was asked for, so there is none.
            assert!(now.memory_and_swap.is_none_or(|sum| sum == memory * MIB), "{now:?}");
            assert!(now.has_shares(lab, 512, 59), "{now:?}");
            assert_eq!(reported(lab, &id).await.memory_limit_in_bytes, memory * MIB);
        }
        // The sum of memory and swap: above both of the old values, below both, and none.
        for (memory, sum) in [(512, 768), (64, 96), (-1, -1), (64, 64)] {
            let bytes = |mib: i64| if mib < 0 { -1 } else { mib * MIB };
            update(lab, &id, |r| {
                r.memory_limit_in_bytes = bytes(memory);
                r.memory_swap_limit_in_bytes = bytes(sum);
            })
            .await
            .unwrap();
            let now = InForce::of(&group);
            assert_eq!(now.memory, bytes(memory));
            assert!(now.memory_and_swap.is_none_or(|now| now == bytes(sum)), "{now:?}");
            assert_eq!(reported(lab, &id).await.memory_swap_limit_in_bytes, bytes(sum));
        }
        update(lab, &id, |r| r.cpu_quota = 20_000).await.unwrap();
        update(lab, &id, |r| r.cpu_period = 50_000).await.unwrap();
        update(lab, &id, |r| r.cpu_shares = 1024).await.unwrap();
        update(lab, &id, |r| r.cpuset_cpus = "0-1".into()).await.unwrap();
        update(lab, &id, |r| r.cpuset_mems = "0".into()).await.unwrap();
        let now = InForce::of(&group);
        assert_eq!((now.quota, now.period, now.cpus.as_str()), (20_000, 50_000, "0-1"));
        assert!(now.has_shares(lab, 1024, 100), "{now:?}");
        assert_eq!(lab.cri.shell(&id, "grep Cpus_allowed_list /proc/1/status").await, "Cpus_allowed_list:\t0-1\n");
        update(lab, &id, |r| r.cpu_quota = -1).await.unwrap();
        assert_eq!(InForce::of(&group).quota, -1);
        let told = reported(lab, &id).await;
        assert_eq!((told.cpu_quota, told.cpu_period, told.cpu_shares), (-1, 50_000, 1024));
        assert_eq!((told.cpuset_cpus.as_str(), told.cpuset_mems.as_str()), ("0-1", "0"));
        // An update that names nothing changes nothing.
        let before = InForce::of(&group);
        update(lab, &id, |_| ()).await.unwrap();
        assert_eq!((InForce::of(&group), reported(lab, &id).await), (before, told));
    });
}

fn limits_changed_before_the_start_are_there_at_the_start(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("created");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &limited(&image)).await.unwrap();
        update(lab, &id, |r| {
            r.memory_limit_in_bytes = 96 * MIB;
            r.cpu_shares = 2048;
            r.oom_score_adj = 777;
        })
        .await
        .unwrap();
        assert_eq!(reported(lab, &id).await.memory_limit_in_bytes, 96 * MIB);
        lab.cri.start(&id).await.unwrap();
        let now = InForce::of(&lab.cgroup_of(&id));
        assert_eq!((now.memory, now.quota, now.cpus.as_str()), (96 * MIB, 50_000, "0"));
        assert!(now.has_shares(lab, 2048, 174), "{now:?}");
        assert_eq!(lab.cri.shell(&id, "cat /proc/1/oom_score_adj").await, "777\n");
    });
}

fn a_bad_update_changes_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("bad");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &limited(&image)).await;
        let group = lab.cgroup_of(&id);
        let (before, told) = (InForce::of(&group), reported(lab, &id).await);
        type Change = fn(&mut LinuxContainerResources);
        let bad: [(&str, Change); 11] = [
            ("linux.cpu_period", |r| r.cpu_period = 10),
            ("linux.cpu_quota", |r| r.cpu_quota = -7),
            ("linux.cpu_shares", |r| r.cpu_shares = -1),
            ("linux.memory_limit_in_bytes", |r| r.memory_limit_in_bytes = -2),
            ("linux.memory_swap_limit_in_bytes", |r| r.memory_swap_limit_in_bytes = 32 * MIB),
            ("linux.oom_score_adj", |r| r.oom_score_adj = 2000),
            ("linux.cpuset_cpus", |r| r.cpuset_cpus = "a".into()),
            ("linux.cpuset_mems", |r| r.cpuset_mems = "1-0".into()),
            ("linux.hugepage_limits[0].page_size", |r| {
                r.hugepage_limits = vec![HugepageLimit { page_size: "big".into(), limit: 0 }];
            }),
            ("linux.hugepage_limits[0].page_size", |r| {
                r.hugepage_limits = vec![HugepageLimit { page_size: "3MB".into(), limit: 0 }];
            }),
            ("linux.unified", |r| drop(r.unified.insert("cgroup.kill".into(), "1".into()))),
        ];
        for (field, change) in bad {
            let all = |r: &mut LinuxContainerResources| {
                r.memory_limit_in_bytes = 200 * MIB;
                r.cpu_shares = 100;
                change(r);
            };
            assert_refused(update(lab, &id, all).await, Code::InvalidArgument, &[field]);
            assert_eq!((InForce::of(&group), reported(lab, &id).await), (before.clone(), told.clone()), "{field}");
        }
        let windows = Some(WindowsContainerResources { cpu_count: 1, ..Default::default() });
        let request = UpdateContainerResourcesRequest { container_id: id.clone(), windows, ..Default::default() };
        let refused = lab.cri.runtime().update_container_resources(request).await;
        assert_refused(refused, Code::InvalidArgument, &["windows"]);
        assert_refused(update(lab, "nothing", |_| ()).await, Code::NotFound, &["nothing"]);
        // The same words are refused when a container is created.
        let container = with_resources(pods::sleeper("other", &image), |r| {
            r.memory_limit_in_bytes = 64 * MIB;
            r.memory_swap_limit_in_bytes = 32 * MIB;
        });
        let field = "config.linux.resources.memory_swap_limit_in_bytes";
        assert_refused(lab.cri.create(&pod, &config, &container).await, Code::InvalidArgument, &[field]);
    });
}

fn an_update_that_the_kernel_refuses_changes_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("refused");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &limited(&image)).await;
        let group = lab.cgroup_of(&id);
        let (before, told) = (InForce::of(&group), reported(lab, &id).await);
        let all = |r: &mut LinuxContainerResources| {
            r.memory_limit_in_bytes = 200 * MIB;
            r.cpu_shares = 100;
            r.cpu_quota = 70_000;
            r.cpuset_cpus = "4000".into();
        };
        assert_refused(update(lab, &id, all).await, Code::InvalidArgument, &["linux.cpuset_cpus", "4000"]);
        assert_eq!((InForce::of(&group), reported(lab, &id).await), (before, told));
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            let unified = |r: &mut LinuxContainerResources| drop(r.unified.insert("memory.high".into(), "1".into()));
            assert_refused(update(lab, &id, unified).await, Code::Unimplemented, &["linux.unified"]);
        }
    });
}

fn memory_in_use_is_not_taken_away(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("in-use");
        let pod = lab.run_pod(&config).await;
        // A variable of 40 MB.
        let text =
            "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ready; while :; do sleep 1000 & wait; done; echo $x";
        let container = with_resources(pods::script("c", &image, text), |r| r.memory_limit_in_bytes = 256 * MIB);
        let id = lab.start(&pod, &config, &container).await;
        let status = lab.cri.status(&id).await.unwrap();
        corten_e2e::cri::until("the log", async || lab.log(&status).contains("ready").then_some(())).await;
        let shrunk = update(lab, &id, |r| r.memory_limit_in_bytes = 16 * MIB).await;
        assert_refused(shrunk, Code::FailedPrecondition, &["memory_limit_in_bytes"]);
        assert_eq!(InForce::of(&lab.cgroup_of(&id)).memory, 256 * MIB);
        assert_eq!(reported(lab, &id).await.memory_limit_in_bytes, 256 * MIB);
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
    });
}

fn the_oom_score_follows_for_processes_that_did_not_choose_their_own(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("score");
        let pod = lab.run_pod(&config).await;
        let text = "sh -c 'echo 950 > /proc/self/oom_score_adj; exec sleep 1000' & echo $!; sleep 1000 & echo $!; wait";
        let container = with_resources(pods::script("c", &image, text), |r| r.oom_score_adj = 900);
        let id = lab.start(&pod, &config, &container).await;
        let status = lab.cri.status(&id).await.unwrap();
        let pids = corten_e2e::cri::until("the log", async || {
            let pids: Vec<String> = lab.log(&status).lines().map(str::to_owned).collect();
            let own = fs::read_to_string(&status.log_path).is_ok() && pids.len() == 2;
            own.then_some(pids)
        })
        .await;
        let score = async |pid: &str| lab.cri.shell(&id, &format!("cat /proc/{pid}/oom_score_adj")).await;
        corten_e2e::cri::until("its own score", async || (score(&pids[0]).await == "950\n").then_some(())).await;
        update(lab, &id, |r| r.oom_score_adj = 920).await.unwrap();
        assert_eq!([score("1").await, score(&pids[0]).await, score(&pids[1]).await], ["920\n", "950\n", "920\n"]);
        // runc goes by its own record of the container there.
        if lab.setup().handler == "corten" {
            assert_eq!(score("self").await, "920\n", "of a process run later");
        }
        update(lab, &id, |r| r.cpu_shares = 100).await.unwrap();
        assert_eq!((score("1").await.as_str(), reported(lab, &id).await.oom_score_adj), ("920\n", 920));
    });
}

fn an_update_of_what_has_ended_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ended");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::script("c", &image, "true")).await;
        lab.cri.wait_exited(&id).await;
        assert_refused(update(lab, &id, |r| r.cpu_shares = 9).await, Code::FailedPrecondition, &[&id, "exited"]);
    });
}

fn changed_limits_outlive_the_daemon(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("restart");
        let pod = lab.run_pod(&config).await;
        let running = lab.start(&pod, &config, &limited(&image)).await;
        let later = ContainerConfig { metadata: pods::container("later", "", &[]).metadata, ..limited(&image) };
        let created = lab.cri.create(&pod, &config, &later).await.unwrap();
        for id in [&running, &created] {
            update(lab, id, |r| r.memory_limit_in_bytes = 80 * MIB).await.unwrap();
        }
        lab.crash_and_restart().await;
        for id in [&running, &created] {
            let told = reported(lab, id).await;
            assert_eq!((told.memory_limit_in_bytes, told.cpu_shares), (80 * MIB, 512));
        }
        lab.cri.start(&created).await.unwrap();
        for id in [&running, &created] {
            assert_eq!(InForce::of(&lab.cgroup_of(id)).memory, 80 * MIB);
        }
        update(lab, &running, |r| r.cpu_shares = 256).await.unwrap();
        let told = reported(lab, &running).await;
        assert_eq!((told.memory_limit_in_bytes, told.cpu_shares), (80 * MIB, 256));
    });
}

async fn update_pod(
    lab: &Lab,
    id: &str,
    overhead: Option<LinuxContainerResources>,
    resources: Option<LinuxContainerResources>,
) -> Result<(), Status> {
    let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id: id.to_owned(), overhead, resources };
    lab.cri.runtime().update_pod_sandbox_resources(request).await.map(drop)
}

/// What the pod's verbose status says of its limits: overhead and resources.
async fn reported_of_pod(lab: &Lab, id: &str) -> (serde_json::Value, serde_json::Value) {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
    let info = lab.cri.runtime().pod_sandbox_status(request).await.unwrap().into_inner().info.remove("info").unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let linux = &mut info["config"]["linux"];
    (linux["overhead"].take(), linux["resources"].take())
}

fn of_pod(mib: i64, quota: i64, shares: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        memory_limit_in_bytes: mib * MIB,
        cpu_quota: quota,
        cpu_period: 100_000,
        cpu_shares: shares,
        ..Default::default()
    }
}

fn limits_of_a_pod_reach_its_own_cgroup(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("own");
        let linux = config.linux.as_mut().unwrap();
        linux.cgroup_parent.clear();
        (linux.overhead, linux.resources) = (Some(of_pod(20, 10_000, 24)), Some(of_pod(300, 100_000, 1000)));
        let pod = lab.run_pod(&config).await;
        let group = lab.paths.cgroup_of_pod(&pod);
        let now = InForce::of(&group);
        assert_eq!((now.memory, now.quota, now.period), (320 * MIB, 110_000, 100_000));
        assert!(now.has_shares(lab, 1024, 100), "{now:?}");
        let id = lab.start(&pod, &config, &limited(&image)).await;
        update_pod(lab, &pod, None, Some(of_pod(400, 0, 0))).await.unwrap();
        let now = InForce::of(&group);
        assert_eq!((now.memory, now.quota), (420 * MIB, 110_000));
        // An overhead with a period of its own: 30 ms of 50 are 60 of 100.
        let costlier = LinuxContainerResources { cpu_period: 50_000, ..of_pod(50, 30_000, 1048) };
        update_pod(lab, &pod, Some(costlier), None).await.unwrap();
        let now = InForce::of(&group);
        assert_eq!((now.memory, now.quota, now.period), (450 * MIB, 160_000, 100_000));
        assert!(now.has_shares(lab, 2048, 174), "{now:?}");
        let (overhead, resources) = reported_of_pod(lab, &pod).await;
        assert_eq!(
            (&overhead["memory_limit_in_bytes"], &resources["memory_limit_in_bytes"]),
            (&(50 * MIB).into(), &(400 * MIB).into())
        );
        assert_eq!(resources["cpu_quota"], 100_000);
        let bad = LinuxContainerResources { memory_swap_limit_in_bytes: 5, ..Default::default() };
        let field = "resources.memory_swap_limit_in_bytes";
        assert_refused(update_pod(lab, &pod, None, Some(bad)).await, Code::InvalidArgument, &[field]);
        let bad = LinuxContainerResources { cpu_quota: -9, ..Default::default() };
        assert_refused(update_pod(lab, &pod, Some(bad), None).await, Code::InvalidArgument, &["overhead.cpu_quota"]);
        assert_eq!(InForce::of(&group), now);
        lab.crash_and_restart().await;
        assert_eq!(reported_of_pod(lab, &pod).await, (overhead, resources));
        lab.cri.stop(&id, 0).await.unwrap();
        lab.cri.stop_pod(&pod).await.unwrap();
        assert_refused(update_pod(lab, &pod, None, None).await, Code::FailedPrecondition, &[&pod, "stopped"]);
        assert_refused(update_pod(lab, "nothing", None, None).await, Code::NotFound, &["nothing"]);
    });
}

fn a_pods_cgroup_that_somebody_named_is_left_alone(setup: Setup) {
    lab::test(setup, async |lab| {
        let config = lab.pod("named");
        let pod = lab.run_pod(&config).await;
        let group = lab.paths.cgroup_below("pod-named");
        let before = InForce::of(&group);
        update_pod(lab, &pod, Some(of_pod(20, 10_000, 24)), Some(of_pod(300, 100_000, 1000))).await.unwrap();
        assert_eq!(InForce::of(&group), before);
        let (overhead, resources) = reported_of_pod(lab, &pod).await;
        assert_eq!(
            (&overhead["memory_limit_in_bytes"], &resources["memory_limit_in_bytes"]),
            (&(20 * MIB).into(), &(300 * MIB).into())
        );
    });
}
