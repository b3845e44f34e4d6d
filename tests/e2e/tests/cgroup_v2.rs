//! What only a machine has whose controllers are all in cgroup v2.

use std::{fs, path::Path};

use corten_cri::v1::{ContainerConfig, HugepageLimit};
use corten_e2e::{
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_resources},
    skip::skip,
};

for_each_launcher!(
    every_limit_reaches_its_file,
    controllers_are_enabled_down_the_path_and_processes_are_in_leaves,
    a_group_that_ends_together_does,
    a_privileged_container_finds_its_cgroup_where_proc_says,
);

const ROOT: &str = "/sys/fs/cgroup";
const MIB: i64 = 1 << 20;

/// Whether all controllers are there.
fn has_v2(test: &str) -> bool {
    let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
    let has =
        ["cpu", "memory", "pids", "hugetlb"].iter().all(|name| controllers.split(' ').any(|word| word.trim() == *name));
    if !has {
        skip(test, "the controllers are not in cgroup v2 on this machine");
    }
    has
}

fn read(group: &str, file: &str) -> String {
    let path = format!("{ROOT}{group}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

fn with_unified(container: ContainerConfig, unified: &[(&str, &str)]) -> ContainerConfig {
    let unified = unified.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    with_resources(container, |resources| resources.unified = unified)
}

fn every_limit_reaches_its_file(setup: Setup) {
    if !has_v2("every_limit_reaches_its_file") {
        return;
    }
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("limits");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::sleeper("c", &image), |r| {
            (r.cpu_shares, r.cpu_quota, r.cpu_period) = (2048, 30_000, 100_000);
            (r.memory_limit_in_bytes, r.memory_swap_limit_in_bytes) = (64 * MIB, 80 * MIB);
            (r.cpuset_cpus, r.cpuset_mems) = ("0".into(), "0".into());
            r.hugepage_limits = vec![HugepageLimit { page_size: "2MB".into(), limit: 4 * MIB as u64 }];
        });
        let unified = [
            ("memory.min", "1048576"),
            ("memory.low", "2097152"),
            ("memory.high", "33554432"),
            ("memory.oom.group", "1"),
            ("pids.max", "77"),
        ];
        let id = lab.start(&pod, &config, &with_unified(container, &unified)).await;
        let group = lab.cgroup_of(&id);
        // runc before 1.3.2 had a formula of its own.
        let weight = if lab.setup().handler == "runc" { ["174", "79"] } else { ["174"; 2] };
        assert!(weight.contains(&read(&group, "cpu.weight").as_str()), "{}", read(&group, "cpu.weight"));
        for (file, value) in unified.into_iter().chain([
            ("cpu.max", "30000 100000"),
            ("memory.max", "67108864"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("cpuset.cpus.partition", "member"),
            ("hugetlb.2MB.max", "4194304"),
        ]) {
            assert_eq!(read(&group, file), value, "{file}");
        }
        if Path::new(&format!("{ROOT}{group}/memory.swap.max")).exists() {
            assert_eq!(read(&group, "memory.swap.max"), (16 * MIB).to_string());
        }
    });
}

fn controllers_are_enabled_down_the_path_and_processes_are_in_leaves(setup: Setup) {
    if !has_v2("controllers_are_enabled_down_the_path_and_processes_are_in_leaves") {
        return;
    }
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("path");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let own = lab.cgroup_of(&id);
        assert!(!read(&own, "cgroup.procs").is_empty());
        assert_eq!(read(&own, "cgroup.subtree_control"), "");
        let inner: Vec<_> = Path::new(&own).ancestors().skip(1).take_while(|path| *path != Path::new("/")).collect();
        for group in inner.iter().map(|path| path.to_str().unwrap()) {
            let enabled = read(group, "cgroup.subtree_control");
            for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
                assert!(enabled.split(' ').any(|name| name == controller), "{group}: {enabled}");
            }
            assert_eq!(read(group, "cgroup.procs"), "", "{group}");
        }
        // Inside, its own cgroup is all there is.
        assert_eq!(lab.cri.shell(&id, "cat /proc/self/cgroup").await, "0::/\n");
    });
}

/// What a container prints whose child takes more memory than there is.
async fn survives(lab: &Lab, name: &str, together: &str) -> (i32, String) {
    let image = lab.busybox().await;
    let config = lab.pod(name);
    let pod = lab.run_pod(&config).await;
    let text = "tail /dev/zero; echo survived; exit 3";
    let container = with_resources(pods::script("c", &image, text), |r| {
        (r.memory_limit_in_bytes, r.memory_swap_limit_in_bytes) = (16 * MIB, 16 * MIB);
    });
    let id = lab.start(&pod, &config, &with_unified(container, &[("memory.oom.group", together)])).await;
    let status = lab.cri.wait_exited(&id).await;
    (status.exit_code, status.reason)
}

fn a_group_that_ends_together_does(setup: Setup) {
    if !has_v2("a_group_that_ends_together_does") {
        return;
    }
    lab::test(setup, async |lab| {
        assert_eq!(survives(lab, "together", "1").await, (137, "OOMKilled".to_owned()));
        let (code, _) = survives(lab, "alone", "0").await;
        assert_eq!(code, 3);
    });
}

fn a_privileged_container_finds_its_cgroup_where_proc_says(setup: Setup) {
    if !has_v2("a_privileged_container_finds_its_cgroup_where_proc_says") {
        return;
    }
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("privileged");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let pod = lab.run_pod(&config).await;
        let container = pods::with_security(pods::sleeper("c", &image), |security| security.privileged = true);
        let id = lab.start(&pod, &config, &container).await;
        let own = lab.cgroup_of(&id);
        // It is in the node's cgroup namespace.
        assert_eq!(lab.cri.shell(&id, "cat /proc/self/cgroup").await, format!("0::{own}\n"));
        let script = format!("grep -qx $$ {ROOT}{own}/cgroup.procs && echo found");
        assert_eq!(lab.cri.shell(&id, &script).await, "found\n");
    });
}
