//! A killed daemon: containers and logs go on, and the next daemon finds everything again.

use corten_cri::v1::*;
use corten_e2e::{
    cgroups::Driver,
    cri::until,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    leaks::{self, processes},
    pods,
    skip::skip,
};

for_each_launcher!(
    containers_and_logs_go_on_while_the_daemon_is_down,
    an_exit_while_the_daemon_is_down_is_reported,
    an_oom_kill_while_the_daemon_is_down_is_reported,
    everything_can_be_done_after_a_restart,
    a_container_never_started_is_still_created,
    a_pod_whose_monitor_died_is_reported_and_can_be_removed,
    a_stopped_daemon_leaves_its_pods_running,
    a_daemon_killed_over_and_over_leaks_nothing,
);

/// A line every tenth of a second, numbered.
const COUNTER: &str = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";

/// How many lines a container has logged.
fn lines(lab: &Lab, status: &ContainerStatus) -> usize {
    lab.log(status).lines().count()
}

fn containers_and_logs_go_on_while_the_daemon_is_down(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("goes-on");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::script("c", &image, COUNTER)).await;
        let before = lab.cri.status(&id).await.unwrap();
        lab.daemon.crash();
        let seen = lines(lab, &before);
        until("the log to grow", async || (lines(lab, &before) > seen + 5).then_some(())).await;
        lab.restart().await;
        let after = lab.cri.status(&id).await.unwrap();
        assert_eq!(after, before);
        let seen = lines(lab, &after);
        until("the log to grow", async || (lines(lab, &after) > seen + 5).then_some(())).await;
        let numbers: Vec<usize> = lab.log(&after).lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "lines were lost or came twice");
        assert_eq!(lab.cri.pod_status(&pod).await.unwrap().state(), PodSandboxState::SandboxReady);
    });
}

/// Kills the daemon, lets a container end by making `/go` in it, starts the daemon again; the container's status.
async fn ends_while_down(lab: &mut Lab, container: ContainerConfig) -> ContainerStatus {
    let go = lab.paths.dir.join("go");
    std::fs::create_dir(&go).unwrap();
    let container = pods::with_mount(container, &go.display().to_string(), "/go", true);
    let config = lab.pod("ends");
    let pod = lab.run_pod(&config).await;
    let id = lab.start(&pod, &config, &container).await;
    lab.daemon.crash();
    std::fs::write(go.join("now"), "").unwrap();
    let own = format!("e2e-wait-{}", lab.paths.id);
    until("the container to end", async || {
        (!processes(&lab.paths).iter().any(|line| line.contains(&own))).then_some(())
    })
    .await;
    lab.restart().await;
    lab.cri.wait_exited(&id).await
}

/// A script that waits for `/go/now`, recognisable in the list of processes, and then does `what`.
fn waiting(lab: &Lab, image: &str, what: &str) -> ContainerConfig {
    let text = format!("# e2e-wait-{}\nwhile ! test -e /go/now; do sleep 0.05; done; {what}", lab.paths.id);
    pods::script("c", image, &text)
}

fn an_exit_while_the_daemon_is_down_is_reported(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let container = waiting(lab, &image, "echo last words; exit 23");
        let status = ends_while_down(lab, container).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (23, "Error"));
        assert!(status.finished_at > status.started_at);
        assert_eq!(lab.log(&status), "last words\n");
    });
}

fn an_oom_kill_while_the_daemon_is_down_is_reported(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let container = waiting(lab, &image, "exec tail /dev/zero");
        let container = pods::with_resources(container, |resources| resources.memory_limit_in_bytes = 16 << 20);
        let status = ends_while_down(lab, container).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    });
}

fn everything_can_be_done_after_a_restart(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("after");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("old", &image)).await;
        let ip = lab.cri.pod_ip(&pod).await;
        lab.crash_and_restart().await;
        assert_eq!(lab.cri.pod_ip(&pod).await, ip);
        assert_eq!(lab.cri.shell(&id, "echo still here").await, "still here\n");
        assert!(lab.cri.stats(&id).await.unwrap().memory.is_some());
        let new = lab.start(&pod, &config, &pods::sleeper("new", &image)).await;
        assert_eq!(lab.run_pod(&config).await, pod, "the same request gives another pod after a restart");
        let other = lab.run_pod(&lab.pod("other")).await;
        assert_ne!(lab.cri.pod_ip(&other).await, ip, "an address was given twice");
        for container in [&id, &new] {
            lab.cri.stop(container, 10).await.unwrap();
            assert_eq!(lab.cri.status(container).await.unwrap().exit_code, 0);
            lab.cri.remove(container).await.unwrap();
        }
    });
}

fn a_container_never_started_is_still_created(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("created");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &pods::script("c", &image, "echo late")).await.unwrap();
        lab.crash_and_restart().await;
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerCreated);
        lab.cri.start(&id).await.unwrap();
        let status = lab.cri.wait_exited(&id).await;
        assert_eq!(lab.log(&status), "late\n");
    });
}

fn a_pod_whose_monitor_died_is_reported_and_can_be_removed(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("orphan");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        kill_monitor(lab, &pod);
        until("the pod to be reported not ready", async || {
            let status = lab.cri.pod_status(&pod).await.unwrap();
            (status.state() == PodSandboxState::SandboxNotready).then_some(())
        })
        .await;
        let status = lab.cri.wait_exited(&id).await;
        assert_ne!(status.exit_code, 0);
        lab.assert_nothing_left().await;
    });
}

/// Kills the monitor of a pod.
fn kill_monitor(lab: &Lab, pod: &str) {
    for pid in leaks::process_ids(&lab.paths) {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.contains("corten-monitor") && command.contains(pod) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
            return;
        }
    }
    panic!("no monitor of {pod} among {:?}", processes(&lab.paths));
}

fn a_stopped_daemon_leaves_its_pods_running(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("upgrade");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::script("c", &image, COUNTER)).await;
        let before = lab.cri.status(&id).await.unwrap();
        assert!(lab.daemon.stop().await.success());
        let seen = lines(lab, &before);
        until("the log to grow", async || (lines(lab, &before) > seen + 3).then_some(())).await;
        lab.restart().await;
        assert_eq!(lab.cri.status(&id).await.unwrap(), before);
    });
}

fn a_daemon_killed_over_and_over_leaks_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        for round in 0..10u64 {
            let config = lab.pod(&format!("round-{round}"));
            let cri = lab.cri.clone();
            let container = pods::sleeper("c", &image);
            let work = tokio::spawn(async move {
                let pod = cri.run_pod(&config, "").await?;
                let id = cri.create(&pod, &config, &container).await?;
                cri.start(&id).await?;
                cri.stop_pod(&pod).await?;
                cri.remove_pod(&pod).await
            });
            // Another instruction each time: what is under way at that moment does not matter, it must all be found again.
            tokio::time::sleep(std::time::Duration::from_millis(round * 7)).await;
            lab.crash_and_restart().await;
            work.abort();
            let _ = work.await;
        }
        lab.assert_nothing_left().await;
    });
}

#[test]
fn a_pod_of_a_daemon_that_recorded_no_cgroup_keeps_its_own() {
    if Driver::chosen() == Driver::Systemd {
        skip("a_pod_of_a_daemon_that_recorded_no_cgroup_keeps_its_own", "that daemon knew nothing of systemd");
        return;
    }
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let (named, mut unnamed) = (lab.pod("named"), lab.pod("unnamed"));
        unnamed.linux.as_mut().unwrap().cgroup_parent.clear();
        let mut pods = Vec::new();
        for config in [named, unnamed] {
            let pod = lab.run_pod(&config).await;
            let id = lab.start(&pod, &config, &pods::sleeper("one", &image)).await;
            pods.push((lab.cgroup_of(&id), pod, config, id));
        }
        assert!(lab.daemon.stop().await.success());
        for (_, pod, ..) in &pods {
            let file = lab.paths.state().join("pods").join(pod).join("pod.json");
            let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            assert!(record.as_object_mut().unwrap().remove("place").is_some(), "{record}");
            std::fs::write(file, record.to_string()).unwrap();
        }
        lab.restart().await;
        for (cgroup, pod, config, id) in pods {
            assert_eq!(lab.cri.shell(&id, "echo here").await, "here\n");
            assert!(lab.cri.stats(&id).await.unwrap().memory.is_some());
            let second = lab.start(&pod, &config, &pods::sleeper("two", &image)).await;
            assert_eq!(lab.cgroup_of(&second), cgroup.replace(&id, &second));
        }
    });
}
