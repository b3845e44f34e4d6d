//! Which driver `auto` is.

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

#[test]
fn auto_is_what_the_pods_that_are_there_were_made_with() {
    if !Path::new("/run/systemd/system").exists() || Driver::chosen() != Driver::Systemd {
        skip("auto_is_what_the_pods_that_are_there_were_made_with", "systemd is not this machine's init");
        return;
    }
    lab::test(Setup::default(), async |lab| {
        let given = fs::read_to_string(lab.paths.config()).unwrap();
        let with = |driver: &str| {
            let lines = given.lines().filter(|line| !line.starts_with("default_parent = "));
            let lines = lines.map(|line| if line.starts_with("driver = ") { driver } else { line });
            lines.collect::<Vec<_>>().join("\n")
        };
        restart_with(lab, &with("driver = \"cgroupfs\"")).await;
        let image = lab.busybox().await;
        let mut first = lab.pod("first");
        let parent = format!("{}/first", lab.paths.cgroup().trim_end_matches(".slice"));
        first.linux.as_mut().unwrap().cgroup_parent.clone_from(&parent);
        let pod = lab.run_pod(&first).await;
        let id = lab.start(&pod, &first, &pods::sleeper("one", &image)).await;
        assert_eq!(driver(lab).await, CgroupDriver::Cgroupfs);

        restart_with(lab, &with("driver = \"auto\"")).await;
        assert_eq!(driver(lab).await, CgroupDriver::Cgroupfs);
        let text = lab.cri.shell(&id, "echo here").await;
        assert_eq!(text, "here\n");
        // Named as the kubelet names slices, and nothing but a directory.
        let second = lab.pod("second");
        let other = lab.run_pod(&second).await;
        lab.start(&other, &second, &pods::sleeper("one", &image)).await;
        for pod in [&pod, &other] {
            lab.cri.stop_pod(pod).await.unwrap();
            lab.cri.remove_pod(pod).await.unwrap();
        }

        restart_with(lab, &with("driver = \"auto\"")).await;
        assert_eq!(driver(lab).await, CgroupDriver::Systemd);
        let third = lab.pod("third");
        let pod = lab.run_pod(&third).await;
        let id = lab.start(&pod, &third, &pods::sleeper("one", &image)).await;
        let scopes = lab.cgroup_directories(&id);
        assert!(scopes.iter().all(|directory| directory.ends_with(".scope")) && !scopes.is_empty(), "{scopes:?}");
        lab.cri.stop_pod(&pod).await.unwrap();
        lab.cri.remove_pod(&pod).await.unwrap();
        restart_with(lab, &given).await;
    });
}
