//! What a pod costs the host: mounts, programs executed, and what its record says about how it came up.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corten_cri::node::PodTimelineRequest;
use corten_e2e::{cgroups::Driver, daemon::Setup, image, lab, pods, programs};

#[test]
fn a_pod_makes_no_mount_in_the_hosts_table_but_its_network_namespace() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let before = lab.snapshot();
        let config = lab.pod("mounts");
        let pod = lab.run_pod(&config).await;
        let volume = lab.paths.dir.join("volume");
        std::fs::create_dir(&volume).unwrap();
        let container = pods::with_mount(pods::sleeper("c", &image), &volume.display().to_string(), "/data", false);
        lab.start(&pod, &config, &container).await;
        let mounts = lab.snapshot().appeared_since(&before, "mount");
        assert_eq!(mounts.len(), 1, "{mounts:?}");
        assert!(mounts[0].starts_with(&lab.paths.netns().display().to_string()), "{mounts:?}");
        assert!(mounts[0].ends_with("nsfs"), "{mounts:?}");
    });
}

#[test]
fn a_pod_start_executes_the_monitor_and_the_container_and_nothing_else() {
    lab::test(Setup { traced: true, ..Setup::default() }, async |lab| {
        let image = lab.image("busybox", image::busybox()).await;
        let before = lab.daemon.executed();
        let config = lab.pod("execs");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::container("c", &image, &["/bin/sleep", "1000"])).await;
        let mut programs = lab.daemon.executed().split_off(before.len());
        let started = programs.len();
        assert_eq!(programs.pop().unwrap(), "/bin/sleep");
        // It also is the process with which a scope begins: the monitor's, and the container's.
        let monitors = if Driver::chosen() == Driver::Systemd { 3 } else { 1 };
        assert_eq!(programs.len(), monitors, "{programs:?}");
        // It is executed by a descriptor of the daemon's.
        let file = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap();
        for program in &programs {
            assert_eq!(file(Path::new(program)), file(&programs::built("corten-monitor")), "{programs:?}");
        }
        lab.cri.exec(&id, &["/bin/true"]).await;
        lab.cri.stop_pod(&pod).await.unwrap();
        lab.cri.remove_pod(&pod).await.unwrap();
        let programs = lab.daemon.executed().split_off(before.len() + started);
        assert_eq!(programs, ["/bin/true"], "stopping executes nothing");
    });
}

#[test]
fn the_steps_of_a_pod_start_and_their_times_can_be_asked_for_and_are_in_the_log() {
    lab::test(Setup::default(), async |lab| {
        let pod = lab.run_pod(&lab.pod("steps")).await;
        let request = PodTimelineRequest { pod_sandbox_id: pod };
        let steps = lab.cri.node().pod_timeline(request).await.unwrap().into_inner().steps;
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        for name in ["run/files", "run/cgroup", "run/netns", "run/network", "run/monitor"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
            assert!(lab.daemon.log().contains(name), "{name} is not in the log");
        }
        assert!(steps.iter().all(|step| step.start_unix_nanos > 0 && step.duration_nanos > 0 && step.error.is_empty()));
        assert!(steps.windows(2).all(|pair| pair[0].start_unix_nanos <= pair[1].start_unix_nanos));
    });
}
