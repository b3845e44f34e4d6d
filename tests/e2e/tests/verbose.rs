//! Verbose information, as `crictl inspect`, `crictl inspectp` and the debuggers built on them read it: what it points to is
//! there, and what it says is what the kernel says.

use std::{fs, path::Path};

use corten_cri::v1::*;
use corten_e2e::{
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods,
};
use serde_json::Value;

for_each_launcher!(a_pods_points_to_its_namespaces_and_addresses, a_containers_points_to_its_process_and_spec);

async fn of_pod(lab: &Lab, id: &str) -> Value {
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
    let info = lab.cri.runtime().pod_sandbox_status(request).await.unwrap().into_inner().info;
    serde_json::from_str(&info["info"]).unwrap()
}

async fn of_container(lab: &Lab, id: &str) -> Value {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = lab.cri.runtime().container_status(request).await.unwrap().into_inner().info;
    serde_json::from_str(&info["info"]).unwrap()
}

/// The path of the spec's namespace of this kind.
fn path<'a>(spec: &'a Value, kind: &str) -> Option<&'a str> {
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    namespaces.iter().find(|namespace| namespace["type"] == kind)?["path"].as_str()
}

/// Which namespace a file stands for.
fn namespace(path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}

fn a_pods_points_to_its_namespaces_and_addresses(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("verbose");
        config.hostname = "told".into();
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let process = of_container(lab, &id).await["pid"].as_i64().unwrap();

        let info = of_pod(lab, &pod).await;
        assert_eq!(info["config"]["metadata"]["name"], "verbose");
        assert_eq!(info["config"]["log_directory"], config.log_directory.as_str());
        assert_eq!(info["runtimeSpec"]["hostname"], "told");
        let command = fs::read_to_string(format!("/proc/{}/cmdline", info["pid"])).unwrap();
        assert!(command.contains("corten-monitor"), "{command}");
        for (kind, file) in [("network", "net"), ("uts", "uts"), ("ipc", "ipc")] {
            let told = path(&info["runtimeSpec"], kind).unwrap();
            assert_eq!(namespace(told), namespace(&format!("/proc/{process}/ns/{file}")), "{kind}");
        }
        assert_eq!(info["netns"].as_str(), path(&info["runtimeSpec"], "network"));
        assert_eq!(info["netNamespaceClosed"], false);

        let interface = &info["cniResult"]["Interfaces"]["eth0"];
        let address = interface["IPConfigs"][0]["IP"].as_str().unwrap();
        let gateway = interface["IPConfigs"][0]["Gateway"].as_str().unwrap();
        let inside = lab.cri.shell(&id, "ip addr show eth0; ip route").await;
        assert!(inside.contains(&format!("inet {address}/")), "{address}: {inside}");
        assert!(inside.contains(&format!("default via {gateway} ")), "{gateway}: {inside}");
        assert!(inside.contains(interface["Mac"].as_str().unwrap()), "{interface}: {inside}");

        let cgroup = info["cgroupParent"].as_str().unwrap();
        let lines = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        assert!(lines.lines().all(|line| line.contains(cgroup)), "{cgroup}: {lines}");

        lab.cri.stop_pod(&pod).await.unwrap();
        let stopped = of_pod(lab, &pod).await;
        assert_eq!((&stopped["pid"], &stopped["netNamespaceClosed"]), (&0.into(), &true.into()));
        assert_eq!(stopped["config"], info["config"]);
    });
}

fn a_containers_points_to_its_process_and_spec(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("verbose");
        let pod = lab.run_pod(&config).await;
        let mut container = pods::sleeper("c", &image);
        container.envs = vec![KeyValue { key: "SAID".into(), value: b"so".to_vec() }];
        container.linux = Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources { cpu_shares: 300, ..Default::default() }),
            security_context: None,
        });
        let id = lab.start(&pod, &config, &container).await;

        let info = of_container(lab, &id).await;
        assert_eq!(info["sandboxID"], pod.as_str());
        let process = format!("/proc/{}", info["pid"]);
        let root = fs::read_link(Path::new(&process).join("ns/mnt")).unwrap();
        assert_eq!(root.to_str(), Some(lab.cri.shell(&id, "readlink /proc/1/ns/mnt").await.trim()));
        let command = fs::read_to_string(format!("{process}/cmdline")).unwrap();
        let arguments: Vec<&str> = command.trim_end_matches('\0').split('\0').collect();
        assert_eq!(info["runtimeSpec"]["process"]["args"], serde_json::json!(arguments));
        assert_eq!(info["runtimeSpec"]["linux"]["resources"]["cpu"]["shares"], 300);
        let netns = path(&info["runtimeSpec"], "network").unwrap();
        assert_eq!(namespace(netns), namespace(&format!("{process}/ns/net")));
        let cgroup = info["cgroup"].as_str().unwrap();
        let lines = fs::read_to_string(format!("{process}/cgroup")).unwrap();
        assert!(lines.lines().all(|line| line.ends_with(cgroup)), "{cgroup}: {lines}");

        // As it was asked for, in the CRI's own words, and with the limits that are in force now.
        assert_eq!(info["config"]["metadata"]["name"], "c");
        assert_eq!(info["config"]["envs"][0], serde_json::json!({"key": "SAID", "value": "so"}));
        let linux = Some(LinuxContainerResources { cpu_shares: 400, ..Default::default() });
        let request = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux,
            ..UpdateContainerResourcesRequest::default()
        };
        lab.cri.runtime().update_container_resources(request).await.unwrap();
        assert_eq!(of_container(lab, &id).await["config"]["linux"]["resources"]["cpu_shares"], 400);

        lab.cri.stop(&id, 0).await.unwrap();
        let ended = of_container(lab, &id).await;
        assert_eq!((&ended["pid"], &ended["config"]["metadata"]["name"]), (&0.into(), &"c".into()));
    });
}
