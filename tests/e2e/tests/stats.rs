//! Stats and metrics, compared with what the container, its cgroup and its network say themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, TcpStream},
};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{assert_refused, until},
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_namespaces, with_resources},
};
use tonic::Code;

for_each_launcher!(
    a_container_that_computes_has_a_rate,
    memory_is_in_the_working_set_and_its_limit_leaves_the_rest,
    files_are_in_the_writable_layer,
    a_container_that_does_not_run_has_only_its_writable_layer,
    pressure_is_told_where_the_kernel_tells_it,
    a_pods_processes_are_those_of_its_containers,
    metrics_are_described_and_tell_what_the_container_says,
);

/// What the cgroup of a container has in a file; `None` if it has no such file.
fn cgroup_file(lab: &Lab, id: &str, controller: &str, name: &str) -> Option<String> {
    let group = lab.cgroup_of(id);
    let places = [controller, "unified", "."].map(|place| format!("/sys/fs/cgroup/{place}{group}/{name}"));
    places.iter().find_map(|file| fs::read_to_string(file).ok())
}

async fn pod_stats(lab: &Lab, pod: &str) -> LinuxPodSandboxStats {
    let request = PodSandboxStatsRequest { pod_sandbox_id: pod.to_owned() };
    let stats = lab.cri.runtime().pod_sandbox_stats(request).await.unwrap().into_inner().stats.unwrap();
    stats.linux.unwrap()
}

async fn list_pod_stats(lab: &Lab, filter: Option<PodSandboxStatsFilter>) -> Vec<String> {
    let request = ListPodSandboxStatsRequest { filter };
    let stats = lab.cri.runtime().list_pod_sandbox_stats(request).await.unwrap().into_inner().stats;
    let mut ids: Vec<String> = stats.into_iter().map(|stats| stats.attributes.unwrap().id).collect();
    ids.sort();
    ids
}

fn a_container_that_computes_has_a_rate(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("cpu");
        let pod = lab.run_pod(&config).await;
        let busy = lab.start(&pod, &config, &pods::script("busy", &image, "while :; do :; done")).await;
        let idle = lab.start(&pod, &config, &pods::sleeper("idle", &image)).await;
        let rate = async |id: &str| lab.cri.stats(id).await.unwrap().cpu.unwrap().usage_nano_cores;
        let busy_rate = until("a rate", async || rate(&busy).await.filter(|rate| rate.value > 10_000_000)).await.value;
        // One thread cannot use more than a CPU, but for what the kernel's accounting is late.
        assert!(busy_rate < 2_000_000_000, "{busy_rate}");
        let idle_rate =
            until("a rate", async || rate(&idle).await.filter(|rate| rate.value < busy_rate / 2)).await.value;
        let pods_rate = until("the pod's rate", async || {
            pod_stats(lab, &pod).await.cpu?.usage_nano_cores.filter(|rate| rate.value > idle_rate)
        });
        pods_rate.await;
        // Usage only grows, and is the cgroup's own.
        let before = cgroup_cpu(lab, &busy);
        let told = lab.cri.stats(&busy).await.unwrap().cpu.unwrap().usage_core_nano_seconds.unwrap().value;
        let after = cgroup_cpu(lab, &busy);
        assert!(before <= told && told <= after, "{before} {told} {after}");
    });
}

fn cgroup_cpu(lab: &Lab, id: &str) -> u64 {
    if let Some(text) = cgroup_file(lab, id, "cpuacct", "cpuacct.usage") {
        return text.trim().parse().unwrap();
    }
    let text = cgroup_file(lab, id, "cpu", "cpu.stat").unwrap();
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    usage.parse::<u64>().unwrap() * 1000
}

fn memory_is_in_the_working_set_and_its_limit_leaves_the_rest(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("memory");
        let pod = lab.run_pod(&config).await;
        let text = "x=$(head -c 20000000 /dev/zero | tr '\\0' a); sleep 1000; :";
        let limited = with_resources(pods::script("c", &image, text), |resources| {
            resources.memory_limit_in_bytes = 256 << 20;
        });
        let id = lab.start(&pod, &config, &limited).await;
        let memory = until("memory to be used", async || {
            lab.cri.stats(&id).await.unwrap().memory.filter(|memory| memory.rss_bytes.unwrap().value >= 20_000_000)
        });
        let memory = memory.await;
        let value = |value: Option<UInt64Value>| value.unwrap().value;
        let (working_set, usage) = (value(memory.working_set_bytes), value(memory.usage_bytes));
        assert!(working_set >= 20_000_000 && working_set <= usage, "{memory:?}");
        assert_eq!(working_set + value(memory.available_bytes), 256 << 20);
        // As few as one for two megabytes, where the kernel gives huge pages without being asked.
        assert!(value(memory.page_faults) >= 10 && memory.major_page_faults.is_some(), "{memory:?}");
        let unlimited = lab.start(&pod, &config, &pods::sleeper("unlimited", &image)).await;
        let available = lab.cri.stats(&unlimited).await.unwrap().memory.unwrap().available_bytes;
        assert_eq!(available, None, "there is no limit");
        assert!(value(pod_stats(lab, &pod).await.memory.unwrap().working_set_bytes) >= 20_000_000);
    });
}

fn files_are_in_the_writable_layer(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("files");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let layer = async || lab.cri.stats(&id).await.unwrap().writable_layer.unwrap();
        let used = |layer: &FilesystemUsage| (layer.used_bytes.unwrap().value, layer.inodes_used.unwrap().value);
        let before = layer().await;
        let script = "mkdir /d; for i in $(seq 20); do head -c 100000 /dev/urandom > /d/$i; done";
        lab.cri.shell(&id, script).await;
        let after = until("the layer to be measured", async || {
            let after = layer().await;
            (used(&after).1 == used(&before).1 + 21).then_some(after)
        });
        let after = after.await;
        assert!(used(&after).0 >= used(&before).0 + 2_000_000, "{before:?} {after:?}");
        assert!(after.timestamp > before.timestamp && before.timestamp > 0);
        assert_eq!(after.fs_id.unwrap().mountpoint, lab.paths.root().join("images").display().to_string());
    });
}

fn a_container_that_does_not_run_has_only_its_writable_layer(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ended");
        let pod = lab.run_pod(&config).await;
        let id = lab.cri.create(&pod, &config, &pods::script("c", &image, "echo x > /x")).await.unwrap();
        for ended in [false, true] {
            if ended {
                lab.cri.start(&id).await.unwrap();
                lab.cri.wait_exited(&id).await;
            }
            let ContainerStats { attributes, cpu, memory, writable_layer, swap, io } =
                lab.cri.stats(&id).await.unwrap();
            assert_eq!(attributes.unwrap().id, id);
            assert_eq!((cpu, memory, swap, io), (None, None, None, None));
            assert!(writable_layer.unwrap().inodes_used.unwrap().value >= 1);
            let request = ListContainerStatsRequest::default();
            let listed = lab.cri.runtime().list_container_stats(request).await.unwrap().into_inner().stats;
            assert_eq!(listed.len(), 1);
            assert_eq!(pod_stats(lab, &pod).await.process.unwrap().process_count.unwrap().value, 0);
            assert_eq!(pod_stats(lab, &pod).await.containers.len(), 1);
        }
    });
}

fn pressure_is_told_where_the_kernel_tells_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("pressure");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let some = |name: &str| {
            let text = cgroup_file(lab, &id, "unified", name)?;
            let total = text.lines().find(|line| line.starts_with("some"))?.rsplit_once("total=")?.1.to_owned();
            Some(total.parse::<u64>().unwrap() * 1000)
        };
        let files = ["cpu.pressure", "memory.pressure", "io.pressure"];
        let (before, stats, after) = (files.map(some), lab.cri.stats(&id).await.unwrap(), files.map(some));
        let told = [stats.cpu.unwrap().psi, stats.memory.unwrap().psi, stats.io.and_then(|io| io.psi)];
        for (index, file) in files.iter().enumerate() {
            let told = told[index].map(|psi| psi.some.unwrap().total);
            assert_eq!(told.is_some(), before[index].is_some(), "{file}");
            assert!(before[index] <= told && told <= after[index], "{file}: {:?} {told:?}", before[index]);
        }
    });
}

fn a_pods_processes_are_those_of_its_containers(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("processes");
        let pod = lab.run_pod(&config).await;
        let count = async || pod_stats(lab, &pod).await.process.unwrap().process_count.unwrap().value;
        assert_eq!(count().await, 0);
        let text = "sleep 1000 & sleep 1000 & sleep 1000 & wait";
        lab.start(&pod, &config, &pods::script("c", &image, text)).await;
        until("four processes", async || (count().await == 4).then_some(())).await;
        lab.start(&pod, &config, &pods::container("one", &image, &["/bin/sleep", "1000"])).await;
        until("five processes", async || (count().await == 5).then_some(())).await;
    });
}

#[test]
fn a_pods_traffic_is_that_of_its_interfaces() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("traffic");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let inside = async || -> [u64; 2] {
            let script = "cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes";
            let text = lab.cri.shell(&id, script).await;
            let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
            [numbers[0], numbers[1]]
        };
        let told = async || {
            let network = pod_stats(lab, &pod).await.network.unwrap();
            assert_eq!((network.timestamp > 0, &network.interfaces[..]), (true, &[][..]), "loopback is not told of");
            let eth0 = network.default_interface.unwrap();
            assert_eq!((eth0.name.as_str(), eth0.rx_errors, eth0.tx_errors), ("eth0", zero(), zero()));
            [eth0.rx_bytes.unwrap().value, eth0.tx_bytes.unwrap().value]
        };
        let (first, before) = (told().await, inside().await);
        // Nobody listens: packets go both ways nevertheless.
        let address: IpAddr = lab.cri.pod_ip(&pod).await.parse().unwrap();
        TcpStream::connect((address, 1)).unwrap_err();
        let (after, last) = (inside().await, told().await);
        for index in [0, 1] {
            assert!(first[index] <= before[index] && before[index] < after[index], "{first:?} {before:?} {after:?}");
            assert!(after[index] <= last[index], "{after:?} {last:?}");
        }
        let host = with_namespaces(lab.pod("host"), |options| options.network = NamespaceMode::Node as i32);
        let host = lab.run_pod(&host).await;
        assert_eq!(pod_stats(lab, &host).await.network, None, "the node's traffic is not the pod's");
    });
}

fn zero() -> Option<UInt64Value> {
    Some(UInt64Value { value: 0 })
}

#[test]
fn pod_stats_are_filtered_by_id_and_labels_and_only_of_ready_pods() {
    lab::test(Setup::default(), async |lab| {
        let one = lab.run_pod(&lab.pod("one")).await;
        let two = lab.run_pod(&lab.pod("two")).await;
        let filter = |id: &str, app: Option<&str>| {
            let label_selector = app.map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect();
            Some(PodSandboxStatsFilter { id: id.to_owned(), label_selector })
        };
        let mut both = vec![one.clone(), two.clone()];
        both.sort();
        assert_eq!(list_pod_stats(lab, None).await, both);
        assert_eq!(list_pod_stats(lab, filter(&one, None)).await, std::slice::from_ref(&one));
        assert_eq!(list_pod_stats(lab, filter(&one[..12], None)).await, std::slice::from_ref(&one));
        assert_eq!(list_pod_stats(lab, filter("", Some("two"))).await, std::slice::from_ref(&two));
        assert_eq!(list_pod_stats(lab, filter(&one, Some("two"))).await, Vec::<String>::new());
        let request = PodSandboxStatsRequest { pod_sandbox_id: one.clone() };
        let stats = lab.cri.runtime().pod_sandbox_stats(request.clone()).await.unwrap().into_inner().stats.unwrap();
        let (attributes, config) = (stats.attributes.unwrap(), lab.pod("one"));
        assert_eq!((Some(attributes.metadata.unwrap()), attributes.labels), (config.metadata, config.labels));
        assert_eq!((attributes.annotations, stats.windows), (config.annotations, None));
        lab.cri.stop_pod(&one).await.unwrap();
        assert_eq!(list_pod_stats(lab, None).await, [two]);
        assert_refused(lab.cri.runtime().pod_sandbox_stats(request).await, Code::FailedPrecondition, &[&one]);
        let nobody = PodSandboxStatsRequest { pod_sandbox_id: "f".repeat(64) };
        assert_refused(lab.cri.runtime().pod_sandbox_stats(nobody).await, Code::NotFound, &["pod sandbox"]);
    });
}

type Labels = BTreeMap<String, String>;

/// The metrics of a pod (`None`) and its containers, with their labels by key, every one of which must be described.
async fn metrics(lab: &Lab, pod: &str) -> Vec<(Option<String>, String, Labels, u64)> {
    let mut runtime = lab.cri.runtime();
    let described = runtime.list_metric_descriptors(ListMetricDescriptorsRequest {}).await.unwrap().into_inner();
    assert!(described.descriptors.iter().all(|family| !family.help.is_empty()));
    let keys: BTreeMap<_, _> = described.descriptors.into_iter().map(|d| (d.name, d.label_keys)).collect();
    let all = runtime.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await.unwrap().into_inner();
    let of_pod = all.pod_metrics.into_iter().find(|metrics| metrics.pod_sandbox_id == pod).unwrap();
    let containers = of_pod.container_metrics.into_iter().map(|metrics| (Some(metrics.container_id), metrics.metrics));
    let mut found = Vec::new();
    let mut series = BTreeSet::new();
    for (id, metrics) in [(None, of_pod.metrics)].into_iter().chain(containers) {
        for metric in metrics {
            let keys = keys.get(&metric.name).unwrap_or_else(|| panic!("{} is not described", metric.name));
            assert_eq!(keys.len(), metric.label_values.len(), "{}", metric.name);
            // 0 is for what was read just now; disks are measured from time to time.
            assert_eq!(metric.timestamp != 0, metric.name.starts_with("container_fs_") && metric.timestamp > 0);
            match metric.name.as_str() {
                "container_cpu_usage_seconds_total" => assert_eq!(metric.metric_type(), MetricType::Counter),
                "container_memory_working_set_bytes" => assert_eq!(metric.metric_type(), MetricType::Gauge),
                _ => {}
            }
            // The kubelet serves nothing at all if a series is there twice.
            assert!(
                series.insert((metric.name.clone(), metric.label_values.clone())),
                "{} is there twice",
                metric.name
            );
            let labels = keys.iter().cloned().zip(metric.label_values).collect();
            found.push((id.clone(), metric.name, labels, metric.value.unwrap().value));
        }
    }
    // What critest allows to be missing: no block device, no huge pages, no pressure, no quota.
    let optional = ["container_fs_reads", "container_fs_writes", "container_blkio", "container_hugetlb"];
    let optional = [&optional[..], &["container_pressure", "container_spec_cpu_quota"]].concat();
    for name in keys.keys().filter(|name| !optional.iter().any(|start| name.starts_with(start))) {
        assert!(found.iter().any(|(_, found, ..)| found == name), "{name} is described and not served");
    }
    found
}

fn metrics_are_described_and_tell_what_the_container_says(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("metrics");
        let pod = lab.run_pod(&config).await;
        let text =
            "exec 3</dev/null 4</dev/null 5</dev/null; head -c 300000 /dev/urandom > /file; echo done; sleep 1000; :";
        let limited = with_resources(pods::script("c", &image, text), |resources| {
            resources.memory_limit_in_bytes = 64 << 20;
            resources.cpu_quota = 50_000;
            resources.cpu_period = 100_000;
            resources.cpu_shares = 1024;
        });
        let id = lab.start(&pod, &config, &limited).await;
        let log = lab.cri.status(&id).await.unwrap();
        until("the container to be ready", async || lab.log(&log).contains("done").then_some(())).await;
        let all = until("two processes", async || {
            let all = metrics(lab, &pod).await;
            let of_container = |(of, name, _, value): &(Option<String>, String, Labels, u64)| {
                of.as_ref() == Some(&id) && name == "container_processes" && *value == 2
            };
            all.iter().any(of_container).then_some(all)
        });
        let all = all.await;
        let value = |name: &str| {
            let mut found = all.iter().filter(|(of, found, ..)| of.as_ref() == Some(&id) && found == name);
            found.next().unwrap_or_else(|| panic!("no {name}")).3
        };
        for (name, expected) in [
            ("container_spec_memory_limit_bytes", 64 << 20),
            ("container_spec_cpu_quota", 50_000),
            ("container_spec_cpu_period", 100_000),
            ("container_threads", 2),
            ("container_oom_events_total", 0),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        // What cgroup v2 has is a weight; runc before 1.3.2 makes 1024 shares one that stands for 305.
        let shares = value("container_spec_cpu_shares");
        assert!(shares == 1024 || (lab.setup().handler == "runc" && shares == 305), "{shares}");
        let open: u64 = lab.cri.shell(&id, "ls /proc/1/fd | wc -l; ").await.trim().parse().unwrap();
        assert!(open >= 6 && value("container_file_descriptors") >= open, "{open}");
        let limits: u64 =
            lab.cri.shell(&id, "awk '/Max open files/ {print $4}' /proc/1/limits").await.trim().parse().unwrap();
        let ulimit =
            all.iter().find(|(_, _, labels, _)| labels.get("ulimit").is_some_and(|name| name == "max_open_files"));
        assert_eq!(ulimit.unwrap().3, limits);
        let started = u64::try_from(lab.cri.status(&id).await.unwrap().started_at).unwrap() / 1_000_000_000;
        assert_eq!(value("container_start_time_seconds"), started);
        let (own, pods) = (all.iter().find(|m| m.0.is_some()).unwrap(), all.iter().find(|m| m.0.is_none()).unwrap());
        for (labels, of, container, image) in [(&own.2, &id, "c", image.as_str()), (&pods.2, &pod, "POD", "")] {
            let expected = [of.as_str(), container, image, container, "metrics", "e2e"];
            let keys = ["id", "name", "image", "container", "pod", "namespace"];
            assert_eq!(keys.map(|key| labels[key].as_str()), expected);
        }
        let received = all.iter().find(|(_, name, ..)| name == "container_network_receive_bytes_total").unwrap();
        assert_eq!((received.0.as_ref(), received.2["interface"].as_str()), (None, "eth0"));
        until("the file to be counted", async || {
            // Measured again in the background, when the last time was a while ago.
            lab.cri.stats(&id).await.unwrap();
            let all = metrics(lab, &pod).await;
            all.iter().find(|(_, name, _, value)| name == "container_fs_usage_bytes" && *value >= 300_000).map(|_| ())
        })
        .await;
    });
}
