//! Which driver `auto` is, and what becomes of pods that were made with another.

use std::fs;
use std::path::Path;

use corten_cri::v1::*;
use corten_e2e::{
    cgroups::Driver,
    daemon::Setup,
    lab::{self, Lab},
    pods,
    skip::skip,
};

use crate::node;

async fn driver(lab: &Lab) -> CgroupDriver {
    let answer = lab.cri.runtime().runtime_config(RuntimeConfigRequest {}).await.unwrap().into_inner();
    answer.linux.unwrap().cgroup_driver()
}

/// Ends the daemon, and starts it with another configuration.
async fn restart_with(lab: &mut Lab, configuration: &str) {
    assert!(lab.daemon.stop().await.success());
    fs::write(lab.paths.config(), configuration).unwrap();
    lab.restart().await;
}

/// Runs a test with a daemon of its own, whose driver is systemd, and the configuration that it was started with.
fn test(name: &str, body: impl AsyncFnOnce(&mut Lab, &str) + Send + 'static) {
    if !Path::new("/run/systemd/system").exists() || Driver::chosen() != Driver::Systemd {
        skip(name, "systemd is not this machine's init");
        return;
    }
    lab::test(Setup::default(), async |lab| {
        let given = fs::read_to_string(lab.paths.config()).unwrap();
        body(lab, &given).await;
        restart_with(lab, &given).await;
    });
}

/// A configuration with another driver.
fn with(given: &str, driver: &str) -> String {
    let driver = format!("driver = \"{driver}\"");
    let lines = given.lines().filter(|line| !line.starts_with("default_parent = "));
    let lines = lines.map(|line| if line.starts_with("driver = ") { &driver } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// The unit of a container.
fn unit(lab: &Lab, id: &str) -> String {
    lab.cgroup_of(id).rsplit('/').next().unwrap().to_owned()
}

#[test]
fn auto_is_what_the_pods_that_are_there_were_made_with() {
    test("auto_is_what_the_pods_that_are_there_were_made_with", async |lab, given| {
        restart_with(lab, &with(given, "cgroupfs")).await;
        let image = lab.busybox().await;
        let mut first = lab.pod("first");
        let parent = format!("{}/first", lab.paths.cgroup().trim_end_matches(".slice"));
        first.linux.as_mut().unwrap().cgroup_parent.clone_from(&parent);
        let pod = lab.run_pod(&first).await;
        let id = lab.start(&pod, &first, &pods::sleeper("one", &image)).await;
        assert_eq!(driver(lab).await, CgroupDriver::Cgroupfs);

        restart_with(lab, &with(given, "auto")).await;
        assert_eq!(driver(lab).await, CgroupDriver::Cgroupfs);
        let text = lab.cri.shell(&id, "echo here").await;
        assert_eq!(text, "here\n");
        // Named as the kubelet names slices, and nothing but a directory.
        let second = lab.pod("second");
        let other = lab.run_pod(&second).await;
        lab.start(&other, &second, &pods::sleeper("one", &image)).await;
        for pod in [&pod, &other] {
            lab.cri.end_pod(pod).await;
        }

        restart_with(lab, &with(given, "auto")).await;
        assert_eq!(driver(lab).await, CgroupDriver::Systemd);
        let third = lab.pod("third");
        let pod = lab.run_pod(&third).await;
        let id = lab.start(&pod, &third, &pods::sleeper("one", &image)).await;
        assert_eq!(node::show(&unit(lab, &id), "ActiveState"), "active");
        lab.cri.end_pod(&pod).await;
    });
}

#[test]
fn what_systemd_made_is_systemds_whatever_the_driver_is_later() {
    test("what_systemd_made_is_systemds_whatever_the_driver_is_later", async |lab, given| {
        let image = lab.busybox().await;
        let config = lab.pod("first");
        let pod = lab.run_pod(&config).await;
        let before = lab.start(&pod, &config, &pods::sleeper("before", &image)).await;
        let scope = unit(lab, &before);
        let slice = node::show(&scope, "Slice");

        restart_with(lab, &with(given, "cgroupfs")).await;
        assert_eq!(driver(lab).await, CgroupDriver::Cgroupfs);
        let linux = LinuxContainerResources { memory_limit_in_bytes: 96 << 20, ..Default::default() };
        lab.cri.update(&before, linux).await.unwrap();
        assert_eq!(node::show(&scope, "MemoryMax"), "100663296");
        let after = lab.start(&pod, &config, &pods::sleeper("after", &image)).await;
        let later = unit(lab, &after);
        assert_eq!([node::show(&later, "ActiveState"), node::show(&later, "Slice")], ["active", &slice]);
        lab.cri.end_pod(&pod).await;
        for unit in [scope, later, slice] {
            assert_eq!(node::units(&unit), "", "{unit}");
        }
    });
}
