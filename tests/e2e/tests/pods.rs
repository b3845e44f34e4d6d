//! The life cycle of pod sandboxes.

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher, lab,
    pods::{self, with_namespaces},
};
use tonic::Code;

/// An id of the right form that nothing has.
const NOBODY: &str = "00000000000000000000000000000000000000000000000000000000deadbeef";

#[test]
fn a_pod_runs_stops_and_goes() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.pod("life");
        let id = lab.run_pod(&config).await;
        assert_eq!(id.len(), 64);
        assert!(id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
        assert_eq!(lab.cri.pod_status(&id).await.unwrap().state(), PodSandboxState::SandboxReady);
        lab.cri.stop_pod(&id).await.unwrap();
        assert_eq!(lab.cri.pod_status(&id).await.unwrap().state(), PodSandboxState::SandboxNotready);
        lab.cri.remove_pod(&id).await.unwrap();
        assert_refused(lab.cri.pod_status(&id).await, Code::NotFound, &[&id]);
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn status_and_list_give_back_what_the_pod_was_made_of() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.pod("same");
        let id = lab.cri.run_pod(&config, "corten").await.unwrap();
        let status = lab.cri.pod_status(&id).await.unwrap();
        assert_eq!(status.metadata, config.metadata);
        assert_eq!(status.labels, config.labels);
        assert_eq!(status.annotations, config.annotations);
        assert_eq!(status.runtime_handler, "corten");
        assert!(status.created_at > 0);
        let namespaces = status.linux.unwrap().namespaces.unwrap().options.unwrap();
        assert_eq!(namespaces.network(), NamespaceMode::Pod);
        assert_eq!(namespaces.pid(), NamespaceMode::Container);
        let listed = lab.cri.runtime().list_pod_sandbox(ListPodSandboxRequest::default()).await.unwrap().into_inner();
        let listed = &listed.items[0];
        assert_eq!((&listed.id, &listed.metadata), (&id, &config.metadata));
        assert_eq!((&listed.labels, &listed.annotations), (&config.labels, &config.annotations));
        assert_eq!((listed.created_at, listed.state()), (status.created_at, PodSandboxState::SandboxReady));
    });
}

#[test]
fn a_list_is_filtered_by_id_state_and_labels_together() {
    lab::test(Setup::default(), async |lab| {
        let ready = lab.run_pod(&lab.pod("ready")).await;
        let stopped = lab.run_pod(&lab.pod("stopped")).await;
        lab.cri.stop_pod(&stopped).await.unwrap();
        let state = |state: PodSandboxState| Some(PodSandboxStateValue { state: state as i32 });
        let label = |app: &str| [("app".to_owned(), app.to_owned())].into();
        let by = |id: &str, state, label_selector| Some(PodSandboxFilter { id: id.to_owned(), state, label_selector });
        let none = Default::default;
        let mut both = [ready.clone(), stopped.clone()];
        both.sort();
        for (filter, expected) in [
            (None, both.to_vec()),
            (by("", None, none()), both.to_vec()),
            (by(&ready, None, none()), vec![ready.clone()]),
            (by(&ready[..12], None, none()), vec![ready.clone()]),
            (by("", state(PodSandboxState::SandboxReady), none()), vec![ready.clone()]),
            (by("", state(PodSandboxState::SandboxNotready), none()), vec![stopped.clone()]),
            (by("", None, label("stopped")), vec![stopped.clone()]),
            (by("", None, label("nobody")), vec![]),
            (by(&ready, None, label("stopped")), vec![]),
            (by(&ready, state(PodSandboxState::SandboxNotready), none()), vec![]),
            (by(NOBODY, None, none()), vec![]),
        ] {
            assert_eq!(lab.cri.list_pods(filter.clone()).await.unwrap(), expected, "{filter:?}");
        }
    });
}

#[test]
fn the_same_request_again_gives_the_same_pod() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.pod("again");
        let first = lab.run_pod(&config).await;
        assert_eq!(lab.run_pod(&config).await, first);
        let mut next = config.clone();
        next.metadata.as_mut().unwrap().attempt = 1;
        next.linux.as_mut().unwrap().cgroup_parent = lab.paths.cgroup_below("next");
        assert_ne!(lab.run_pod(&next).await, first);
    });
}

#[test]
fn requests_at_the_same_time_make_one_pod() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.pod("twice");
        let (a, b) = tokio::join!(lab.cri.run_pod(&config, ""), lab.cri.run_pod(&config, ""));
        assert_eq!(a.unwrap(), b.unwrap());
        assert_eq!(lab.cri.list_pods(None).await.unwrap().len(), 1);
    });
}

#[test]
fn stop_and_remove_of_what_is_gone_succeed() {
    lab::test(Setup::default(), async |lab| {
        let id = lab.run_pod(&lab.pod("gone")).await;
        for _ in 0..2 {
            lab.cri.stop_pod(&id).await.unwrap();
        }
        for _ in 0..2 {
            lab.cri.remove_pod(&id).await.unwrap();
        }
        lab.cri.stop_pod(&id).await.unwrap();
        lab.cri.stop_pod(NOBODY).await.unwrap();
        lab.cri.remove_pod(NOBODY).await.unwrap();
        lab.cri.stop(NOBODY, 1).await.unwrap();
        lab.cri.remove(NOBODY).await.unwrap();
    });
}

#[test]
fn unknown_ids_are_not_found() {
    lab::test(Setup::default(), async |lab| {
        let cri = &lab.cri;
        assert_refused(cri.pod_status(NOBODY).await, Code::NotFound, &[NOBODY]);
        assert_refused(cri.status(NOBODY).await, Code::NotFound, &[NOBODY]);
        assert_refused(cri.start(NOBODY).await, Code::NotFound, &[NOBODY]);
        assert_refused(cri.exec_sync(NOBODY, &["true"], 1).await, Code::NotFound, &[NOBODY]);
        assert_refused(cri.stats(NOBODY).await, Code::NotFound, &[NOBODY]);
        let container = pods::container("x", "x", &["true"]);
        assert_refused(cri.create(NOBODY, &lab.pod("x"), &container).await, Code::NotFound, &[NOBODY]);
    });
}

#[test]
fn a_request_that_cannot_be_is_refused_by_field() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        let missing = lab.cri.runtime().run_pod_sandbox(RunPodSandboxRequest::default()).await;
        assert_refused(missing, Code::InvalidArgument, &["config"]);
        type Change = fn(&mut PodSandboxConfig);
        let metadata = |pod: &mut PodSandboxConfig| pod.metadata = None;
        let changes: [(Change, &str); 7] = [
            (metadata, "metadata"),
            (|pod| pod.metadata.as_mut().unwrap().name.clear(), "name"),
            (|pod| pod.metadata.as_mut().unwrap().namespace.clear(), "namespace"),
            (|pod| pod.metadata.as_mut().unwrap().uid.clear(), "uid"),
            (|pod| pod.hostname = "x".repeat(65), "hostname"),
            (|pod| pod.linux.as_mut().unwrap().cgroup_parent = "/a/../../b".into(), "cgroup_parent"),
            (|pod| pod.log_directory = "relative".into(), "log_directory"),
        ];
        for (change, field) in changes {
            let mut config = lab.pod("bad");
            change(&mut config);
            assert_refused(lab.cri.run_pod(&config, "").await, Code::InvalidArgument, &[field]);
        }
        let unknown = lab.cri.run_pod(&lab.pod("bad"), "kata").await;
        assert!(unknown.is_err_and(|status| status.message().contains("kata")));
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        corten_e2e::leaks::assert_same(&before, || lab.snapshot());
    });
}

#[test]
fn a_pod_that_cannot_be_set_up_leaves_nothing() {
    lab::test(Setup::default(), async |lab| {
        let mut config = lab.pod("broken");
        config.linux.as_mut().unwrap().sysctls = [("net.ipv4.no_such_thing".to_owned(), "1".to_owned())].into();
        let refused = lab.cri.run_pod(&config, "").await;
        assert!(refused.as_ref().is_err_and(|s| s.message().contains("no_such_thing")), "{refused:?}");
        lab.assert_nothing_left().await;
        // And its name is free.
        lab.run_pod(&lab.pod("broken")).await;
    });
}

for_each_launcher!(
    hostname_is_the_pods,
    the_host_keeps_its_hostname_in_a_host_network_pod,
    containers_share_the_pods_ipc,
    a_shared_pid_namespace_is_shared,
    each_container_has_its_own_processes,
    sysctls_are_set_in_the_pod,
    host_pid_and_ipc_are_the_hosts,
    stopping_a_pod_stops_its_containers,
    removing_a_running_pod_removes_everything,
);

fn hostname_is_the_pods(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("my-host");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        assert_eq!(lab.cri.shell(&id, "hostname").await, "my-host\n");
        assert_eq!(lab.cri.shell(&id, "cat /etc/hostname").await, "my-host\n");
    });
}

fn the_host_keeps_its_hostname_in_a_host_network_pod(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = with_namespaces(lab.pod("hostnet"), |ns| ns.network = NamespaceMode::Node as i32);
        config.hostname.clear();
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &on_the_hosts_network("c", &image)).await;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(lab.cri.shell(&id, "hostname").await, host);
        assert_eq!(lab.cri.shell(&id, "readlink /proc/self/ns/net").await.trim(), own_namespace("net"));
    });
}

/// A sleeper with the kubelet's namespace options for a host network pod.
fn on_the_hosts_network(name: &str, image: &str) -> ContainerConfig {
    pods::with_security(pods::sleeper(name, image), |security| {
        security.namespace_options.as_mut().unwrap().network = NamespaceMode::Node as i32;
    })
}

/// The test's own namespace of a kind, as /proc names it.
fn own_namespace(kind: &str) -> String {
    std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap().display().to_string()
}

fn containers_share_the_pods_ipc(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ipc");
        let pod = lab.run_pod(&config).await;
        let a = lab.start(&pod, &config, &pods::sleeper("a", &image)).await;
        let b = lab.start(&pod, &config, &pods::sleeper("b", &image)).await;
        lab.cri.shell(&a, "echo shared > /dev/shm/file").await;
        assert_eq!(lab.cri.shell(&b, "cat /dev/shm/file").await, "shared\n");
        for kind in ["ipc", "net", "uts"] {
            let link = format!("readlink /proc/self/ns/{kind}");
            let (in_a, in_b) = (lab.cri.shell(&a, &link).await, lab.cri.shell(&b, &link).await);
            assert_eq!(in_a, in_b, "{kind}");
            assert_ne!(in_a.trim(), own_namespace(kind), "{kind}");
        }
    });
}

fn a_shared_pid_namespace_is_shared(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = with_namespaces(lab.pod("pids"), |ns| ns.pid = NamespaceMode::Pod as i32);
        let pod = lab.run_pod(&config).await;
        let container = |name: &str| {
            pods::with_security(pods::script(name, &image, &format!("exec sleep 10{name}")), |security| {
                security.namespace_options.as_mut().unwrap().pid = NamespaceMode::Pod as i32;
            })
        };
        let one = lab.start(&pod, &config, &container("1")).await;
        lab.start(&pod, &config, &container("2")).await;
        let seen = lab.cri.shell(&one, "ps -o args").await;
        assert!(seen.contains("sleep 101") && seen.contains("sleep 102"), "{seen}");
        // Neither container is the namespace's init: one's end does not take the other along.
        assert_ne!(lab.cri.shell(&one, "pidof sleep | tr ' ' '\\n' | sort -n | head -1").await.trim(), "1");
    });
}

fn each_container_has_its_own_processes(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("own");
        let pod = lab.run_pod(&config).await;
        let a = lab.start(&pod, &config, &pods::container("a", &image, &["sleep", "1001"])).await;
        let b = lab.start(&pod, &config, &pods::container("b", &image, &["sleep", "1002"])).await;
        assert_eq!(lab.cri.shell(&a, "cat /proc/1/cmdline | tr '\\0' ' '").await, "sleep 1001 ");
        assert!(!lab.cri.shell(&b, "ps -o args").await.contains("1001"));
    });
}

fn sysctls_are_set_in_the_pod(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = lab.pod("sysctl");
        config.linux.as_mut().unwrap().sysctls = [
            ("kernel.shm_rmid_forced".to_owned(), "1".to_owned()),
            ("net.ipv4.ip_local_port_range".to_owned(), "1024 65000".to_owned()),
        ]
        .into();
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        assert_eq!(lab.cri.shell(&id, "cat /proc/sys/kernel/shm_rmid_forced").await, "1\n");
        assert_eq!(lab.cri.shell(&id, "cat /proc/sys/net/ipv4/ip_local_port_range").await, "1024\t65000\n");
    });
}

fn host_pid_and_ipc_are_the_hosts(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let host = |ns: &mut NamespaceOption| {
            ns.pid = NamespaceMode::Node as i32;
            ns.ipc = NamespaceMode::Node as i32;
        };
        let config = with_namespaces(lab.pod("hostpid"), host);
        let pod = lab.run_pod(&config).await;
        let container = pods::with_security(pods::sleeper("c", &image), |security| {
            host(security.namespace_options.as_mut().unwrap())
        });
        let id = lab.start(&pod, &config, &container).await;
        for kind in ["pid", "ipc"] {
            let inside = lab.cri.shell(&id, &format!("readlink /proc/self/ns/{kind}")).await;
            assert_eq!(inside.trim(), own_namespace(kind));
        }
    });
}

fn stopping_a_pod_stops_its_containers(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("stop");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        lab.cri.stop_pod(&pod).await.unwrap();
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerExited);
        let refused = lab.cri.create(&pod, &config, &pods::sleeper("late", &image)).await;
        assert_refused(refused, Code::FailedPrecondition, &[&pod]);
    });
}

fn removing_a_running_pod_removes_everything(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("remove");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        lab.cri.create(&pod, &config, &pods::sleeper("never-started", &image)).await.unwrap();
        lab.cri.remove_pod(&pod).await.unwrap();
        assert_refused(lab.cri.status(&id).await, Code::NotFound, &[&id]);
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        lab.assert_nothing_left().await;
    });
}

#[test]
fn a_cgroup_above_those_of_several_pods_goes_with_the_last_of_them() {
    lab::test(Setup::default(), async |lab| {
        // The first makes what is above; they end in the order they came in, and in the opposite one.
        for order in [[0, 1, 2], [2, 1, 0], [0, 2, 1]] {
            let mut ids = Vec::new();
            for (index, place) in ["above/one/own", "above//one/./other/", "above/two"].into_iter().enumerate() {
                let mut pod = lab.pod(&format!("pod-{index}-{order:?}").replace([' ', '[', ']', ','], ""));
                pod.linux.as_mut().unwrap().cgroup_parent = lab.paths.cgroup_below(place);
                ids.push(lab.run_pod(&pod).await);
            }
            for index in order {
                lab.cri.stop_pod(&ids[index]).await.unwrap();
                lab.cri.remove_pod(&ids[index]).await.unwrap();
            }
            lab.assert_nothing_left().await;
        }
    });
}

#[test]
fn pods_of_one_cgroup_end_at_the_same_time() {
    lab::test(Setup::default(), async |lab| {
        for round in 0..3 {
            let lives = (0..10).map(|index| {
                let (cri, mut pod) = (lab.cri.clone(), lab.pod(&format!("pod-{round}-{index}")));
                if let Some(linux) = &mut pod.linux {
                    linux.cgroup_parent = lab.paths.cgroup_below("shared");
                }
                async move {
                    let id = cri.run_pod(&pod, "").await.unwrap();
                    cri.stop_pod(&id).await.unwrap();
                    cri.remove_pod(&id).await.unwrap();
                }
            });
            futures::future::join_all(lives).await;
        }
    });
}
