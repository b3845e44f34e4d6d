//! Fields of requests whose effect no other test looks at, and fields of answers that nobody else compares.

use std::{fs, path::Path, process::Command};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{assert_refused, until},
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_mount, with_security},
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
};
use tonic::Code;

for_each_launcher!(
    devices_are_there_with_what_is_permitted,
    mounts_travel_as_asked,
    a_mount_is_read_only_with_or_without_what_is_below_it,
    ambient_capabilities_outlive_the_change_of_user,
    the_processes_of_a_target_are_seen,
    profiles_of_the_deprecated_fields_hold,
    what_the_kernel_lacks_is_refused_by_field,
    what_is_said_is_given_back_whole,
    swap_is_told_where_cgroups_count_it,
);

fn bind(from: &Path, to: &Path, flags: MsFlags) {
    mount(Some(from), to, Some("tmpfs"), flags, None::<&str>).unwrap_or_else(|e| panic!("{}: {e}", to.display()));
}

/// A device of the node's directory, made for this test: kmsg is what no container has by itself.
fn kmsg(dir: &Path, name: &str) {
    fs::create_dir_all(dir).unwrap();
    mknod(&dir.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o640), makedev(1, 11)).unwrap();
}

fn devices_are_there_with_what_is_permitted(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let several = lab.paths.dir.join("several");
        kmsg(&several, "one");
        kmsg(&several.join("deep"), "two");
        let config = lab.pod("devices");
        let pod = lab.run_pod(&config).await;
        let device = |host: &Path, inside: &str, permissions: &str| Device {
            host_path: host.display().to_string(),
            container_path: inside.to_owned(),
            permissions: permissions.to_owned(),
        };
        let opens = "(: < $1) 2>/dev/null && echo reads; (: > $1) 2>/dev/null && echo writes; true";
        for (name, permissions, expected) in
            [("r", "r", "reads\n"), ("w", "w", "writes\n"), ("rw", "rwm", "reads\nwrites\n")]
        {
            // Who may read the kernel's log is another question.
            let container = with_security(pods::sleeper(name, &image), |security| {
                let add_capabilities = vec!["SYSLOG".to_owned()];
                security.capabilities = Some(Capability { add_capabilities, ..Default::default() });
            });
            let devices = vec![
                device(&several.join("one"), "/dev/mine", permissions),
                device(&several, "/dev/all", permissions),
                device(Path::new("/dev/full"), "", "rw"),
            ];
            let id = lab.start(&pod, &config, &ContainerConfig { devices, ..container }).await;
            for node in ["/dev/mine", "/dev/all/one", "/dev/all/deep/two"] {
                let seen = lab.cri.shell(&id, &format!("set -- {node}; stat -c %t:%T:%a $1; {opens}")).await;
                assert_eq!(seen, format!("1:b:640\n{expected}"), "{node} {permissions}");
            }
            assert_eq!(lab.cri.shell(&id, "stat -c %t:%T /dev/full").await, "1:7\n");
        }
        let nothing =
            [device(Path::new("/dev/there-is-no-such"), "/dev/x", "r"), device(&lab.paths.dir.join("logs"), "", "r")];
        for device in nothing {
            let container = ContainerConfig { devices: vec![device.clone()], ..pods::sleeper("none", &image) };
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_refused(refused, Code::InvalidArgument, &["config.devices[0].host_path", &device.host_path]);
        }
    });
}

fn privileged(config: &mut PodSandboxConfig) {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
}

fn volume(host: &Path, inside: &str, propagation: MountPropagation) -> Mount {
    let (host_path, container_path) = (host.display().to_string(), inside.to_owned());
    Mount { host_path, container_path, propagation: propagation.into(), ..Default::default() }
}

fn mounts_travel_as_asked(setup: Setup) {
    lab::test(setup, async |lab| {
        use MountPropagation::*;
        let image = lab.busybox().await;
        let host = lab.paths.dir.join("shared");
        fs::create_dir(&host).unwrap();
        bind(Path::new("none"), &host, MsFlags::empty());
        for name in ["before", "later", "private", "slave", "shared"] {
            fs::create_dir(host.join(name)).unwrap();
        }
        bind(Path::new("none"), &host.join("before"), MsFlags::empty());
        fs::write(host.join("before/file"), "").unwrap();
        let mut config = lab.pod("propagation");
        privileged(&mut config);
        let pod = lab.run_pod(&config).await;
        let container = with_security(pods::sleeper("c", &image), |security| security.privileged = true);
        let modes = [
            ("private", PropagationPrivate),
            ("slave", PropagationHostToContainer),
            ("shared", PropagationBidirectional),
        ];
        let mounts = modes.map(|(name, mode)| volume(&host, &format!("/{name}"), mode)).to_vec();
        let id = lab.start(&pod, &config, &ContainerConfig { mounts: mounts.clone(), ..container }).await;
        bind(Path::new("none"), &host.join("later"), MsFlags::empty());
        fs::write(host.join("later/file"), "").unwrap();
        for (name, later) in [("private", false), ("slave", true), ("shared", true)] {
            let script = format!("ls /{name}/before /{name}/later; mount -t tmpfs none /{name}/{name}");
            let seen = lab.cri.shell(&id, &script).await.matches("file").count();
            assert_eq!(seen, 1 + usize::from(later), "{name}");
            let told = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let own = format!(" {} ", host.join(name).display());
            assert_eq!(told.contains(&own), name == "shared", "{name}: what the container mounts");
        }
        let told = lab.cri.status(&id).await.unwrap().mounts;
        assert_eq!(told, mounts);
        lab.cri.remove_pod(&pod).await.unwrap();
        umount2(&host.join("shared"), MntFlags::empty()).unwrap();
        for name in ["later", "before", ""] {
            umount2(&host.join(name), MntFlags::empty()).unwrap();
        }
        // What is not shared cannot be travelled from.
        let lonely = lab.paths.dir.join("lonely");
        fs::create_dir(&lonely).unwrap();
        bind(Path::new("none"), &lonely, MsFlags::empty());
        mount(None::<&str>, &lonely, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let config = lab.pod("lonely");
        let pod = lab.run_pod(&config).await;
        for mode in [PropagationHostToContainer, PropagationBidirectional] {
            let container = ContainerConfig { mounts: vec![volume(&lonely, "/v", mode)], ..pods::sleeper("c", &image) };
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_refused(refused, Code::InvalidArgument, &["config.mounts[0].host_path", "lonely"]);
        }
        umount2(&lonely, MntFlags::empty()).unwrap();
    });
}

fn a_mount_is_read_only_with_or_without_what_is_below_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let host = lab.paths.dir.join("volume");
        fs::create_dir_all(host.join("below")).unwrap();
        bind(Path::new("none"), &host.join("below"), MsFlags::empty());
        let config = lab.pod("read-only");
        let pod = lab.run_pod(&config).await;
        let path = host.display().to_string();
        let mut container = with_mount(pods::sleeper("c", &image), &path, "/top", true);
        container = with_mount(container, &path, "/whole", true);
        container.mounts.last_mut().unwrap().recursive_read_only = true;
        let id = lab.start(&pod, &config, &container).await;
        let script =
            "for f in top/x top/below/x whole/x whole/below/x; do touch /$f 2>/dev/null && echo $f; done; true";
        assert_eq!(lab.cri.shell(&id, script).await, "top/below/x\n");
        assert_eq!(lab.cri.status(&id).await.unwrap().mounts, container.mounts);
        lab.cri.remove_pod(&pod).await.unwrap();
        umount2(&host.join("below"), MntFlags::empty()).unwrap();
    });
}

fn ambient_capabilities_outlive_the_change_of_user(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ambient");
        let pod = lab.run_pod(&config).await;
        let container = with_security(pods::sleeper("c", &image), |security| {
            security.run_as_user = Some(Int64Value { value: 1000 });
            let add_ambient_capabilities = vec!["NET_ADMIN".to_owned()];
            security.capabilities = Some(Capability { add_ambient_capabilities, ..Default::default() });
        });
        let id = lab.start(&pod, &config, &container).await;
        for process in ["1", "self"] {
            let seen = lab.cri.shell(&id, &format!("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/{process}/status")).await;
            assert_eq!(seen.matches("0000000000001000").count(), 4, "{process}: {seen}");
        }
    });
}

fn the_processes_of_a_target_are_seen(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("target");
        let pod = lab.run_pod(&config).await;
        let target = lab.start(&pod, &config, &pods::container("target", &image, &["sleep", "1001"])).await;
        let debug = |target: &str| {
            with_security(pods::sleeper("debug", &image), |security| {
                let options = security.namespace_options.as_mut().unwrap();
                (options.pid, options.target_id) = (NamespaceMode::Target as i32, target.to_owned());
            })
        };
        let id = lab.start(&pod, &config, &debug(&target)).await;
        assert_eq!(lab.cri.shell(&id, "cat /proc/1/cmdline | tr '\\0' ' '").await, "sleep 1001 ");
        let other = lab.run_pod(&lab.pod("other")).await;
        for (pod, target) in [(&pod, "nobody"), (&other, target.as_str())] {
            let mut container = debug(target);
            container.metadata.as_mut().unwrap().attempt = 1;
            let refused = lab.cri.create(pod, &config, &container).await;
            assert!(refused.as_ref().is_err_and(|status| status.message().contains(target)), "{refused:?}");
        }
    });
}

async fn seccomp_of(lab: &Lab, id: &str) -> String {
    lab.cri.shell(id, "grep ^Seccomp: /proc/1/status").await.split_whitespace().last().unwrap().to_owned()
}

fn profiles_of_the_deprecated_fields_hold(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let file = lab.paths.dir.join("seccomp/none.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#)
            .unwrap();
        let config = lab.pod("deprecated");
        let pod = lab.run_pod(&config).await;
        let named = format!("localhost/{}", file.display());
        for (name, path, filter, made) in [
            ("default", "runtime/default", "2", 0),
            ("docker", "docker/default", "2", 0),
            ("unconfined", "unconfined", "0", 0),
            ("none", "", "0", 0),
            ("file", named.as_str(), "2", 1),
        ] {
            let container = with_security(pods::sleeper(name, &image), |security| {
                security.seccomp_profile_path = path.to_owned();
                security.apparmor_profile = "unconfined".to_owned();
            });
            let id = lab.start(&pod, &config, &container).await;
            assert_eq!(seccomp_of(lab, &id).await, filter, "{name}");
            assert_eq!(lab.cri.exec(&id, &["mkdir", "/made"]).await.code, made, "{name}");
        }
    });
}

fn what_the_kernel_lacks_is_refused_by_field(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("lacks");
        let pod = lab.run_pod(&config).await;
        let apparmor = Path::new("/sys/kernel/security/apparmor").exists();
        let selinux = Path::new("/sys/fs/selinux/enforce").exists();
        type Change = fn(&mut LinuxContainerSecurityContext);
        let changes: [(bool, &str, Change); 3] = [
            (apparmor, "apparmor", |s| s.apparmor_profile = "localhost/mine".into()),
            (apparmor, "apparmor", |s| {
                s.apparmor = Some(SecurityProfile { profile_type: 2, localhost_ref: "mine".into() });
            }),
            (selinux, "selinux_options", |s| {
                s.selinux_options = Some(SeLinuxOption { level: "s0:c1,c2".into(), ..Default::default() });
            }),
        ];
        for (_, field, change) in changes.iter().filter(|(there, ..)| !there) {
            let refused = lab.cri.create(&pod, &config, &with_security(pods::sleeper("c", &image), change)).await;
            assert_refused(refused, Code::Unimplemented, &[field, "kernel"]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        // The defaults are for every node, whatever its kernel has.
        let default = with_security(pods::sleeper("default", &image), |security| {
            let profile_type = security_profile::ProfileType::Unconfined.into();
            security.apparmor = Some(SecurityProfile { profile_type, localhost_ref: String::new() });
            security.selinux_options = Some(SeLinuxOption::default());
        });
        let mut default = with_mount(default, &lab.paths.dir.display().to_string(), "/v", true);
        default.mounts[0].selinux_relabel = true;
        let id = lab.start(&pod, &config, &default).await;
        assert!(lab.cri.status(&id).await.unwrap().mounts[0].selinux_relabel);
    });
}

fn what_is_said_is_given_back_whole(setup: Setup) {
    lab::test(setup, async |lab| {
        let handler = lab.setup().handler;
        let image = lab.busybox().await;
        let config = lab.pod("said");
        let pod = lab.run_pod(&config).await;
        let map = |key: &str| [(key.to_owned(), "value".to_owned())].into();
        let mut container = with_security(pods::sleeper("c", &image), |security| {
            security.run_as_user = Some(Int64Value { value: 1000 });
            security.run_as_group = Some(Int64Value { value: 7 });
            security.supplemental_groups = vec![8, 9];
            security.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
        });
        (container.labels, container.annotations) = (map("label"), map("annotation"));
        container.metadata = Some(ContainerMetadata { name: "c".into(), attempt: 3 });
        let id = lab.cri.image(&image).await.unwrap().unwrap().id;
        let of_image = ImageSpec {
            image: id.clone(),
            annotations: map("of-image"),
            user_specified_image: image.clone(),
            runtime_handler: handler.to_owned(),
            image_ref: "what PullImage said".to_owned(),
        };
        container.image = Some(of_image.clone());
        let before = now();
        let id = lab.start(&pod, &config, &container).await;
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!(
            status.image,
            Some(ImageSpec { image: image.clone(), ..of_image.clone() }),
            "the name its user knows"
        );
        assert_eq!(
            (status.metadata.as_ref(), &status.labels, &status.annotations),
            (container.metadata.as_ref(), &container.labels, &container.annotations)
        );
        // The kernel's list of groups has the primary one, and the kubelet shows what is told.
        let LinuxContainerUser { uid, gid, supplemental_groups } = status.user.clone().unwrap().linux.unwrap();
        assert_eq!((uid, gid, supplemental_groups.as_slice()), (1000, 7, &[7, 8, 9][..]));
        assert_eq!(lab.cri.shell(&id, "id -u; id -g; id -G").await, "1000\n7\n7 8 9\n");
        let listed = lab.cri.runtime().list_containers(ListContainersRequest::default()).await.unwrap().into_inner();
        let Container { image: listed_image, image_ref, image_id, annotations, metadata, state, .. } =
            &listed.containers[0];
        assert_eq!(
            (listed_image.as_ref(), annotations, metadata),
            (Some(&of_image), &container.annotations, &container.metadata)
        );
        assert_eq!(
            (image_ref, image_id, *state),
            (&status.image_ref, &status.image_id, ContainerState::ContainerRunning.into())
        );
        let attributes = lab.cri.stats(&id).await.unwrap().attributes.unwrap();
        let expected = (&id, &container.metadata, &container.labels, &container.annotations);
        assert_eq!((&attributes.id, &attributes.metadata, &attributes.labels, &attributes.annotations), expected);
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: false };
        let of_pod = lab.cri.runtime().pod_sandbox_status(request).await.unwrap().into_inner();
        assert_eq!((of_pod.containers_statuses, of_pod.info.is_empty()), (vec![status], true));
        assert!(before <= of_pod.timestamp && of_pod.timestamp <= now());
    });
}

fn swap_is_told_where_cgroups_count_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("swap");
        let pod = lab.run_pod(&config).await;
        let container = pods::with_resources(pods::sleeper("c", &image), |resources| {
            (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes) = (64 << 20, 96 << 20);
        });
        let id = lab.start(&pod, &config, &container).await;
        let group = lab.cgroup_of(&id);
        let counted = [format!("memory{group}/memory.memsw.usage_in_bytes"), format!("{group}/memory.swap.current")];
        let counted =
            counted.iter().any(|file| Path::new("/sys/fs/cgroup").join(file.trim_start_matches('/')).exists());
        let swap = lab.cri.stats(&id).await.unwrap().swap;
        assert_eq!(swap.is_some(), counted, "{swap:?}");
        let Some(SwapUsage { timestamp, swap_available_bytes, swap_usage_bytes }) = swap else { return };
        let sum = swap_available_bytes.unwrap().value + swap_usage_bytes.unwrap().value;
        assert!((timestamp > 0, sum) == (true, 32 << 20), "{swap:?}");
        let files = "cat /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.swap.current 2>/dev/null || true";
        until("both to say the same", async || {
            let used = lab.cri.stats(&id).await.unwrap().swap?.swap_usage_bytes?.value;
            let inside = lab.cri.shell(&id, files).await;
            let mut lines = inside.lines().filter_map(|line| line.strip_prefix("swap ").unwrap_or(line).parse().ok());
            lines.any(|inside: u64| inside == used).then_some(())
        })
        .await;
    });
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn a_pods_user_namespace_is_told() {
    lab::test(Setup::default(), async |lab| {
        let users = UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![IdMapping { host_id: 1 << 20, container_id: 0, length: 65536 }],
            gids: vec![IdMapping { host_id: 2 << 20, container_id: 0, length: 4096 }],
        };
        let config = pods::with_namespaces(lab.pod("users"), |options| options.userns_options = Some(users));
        let options = async |config: &PodSandboxConfig| {
            let pod = lab.run_pod(config).await;
            lab.cri.pod_status(&pod).await.unwrap().linux.unwrap().namespaces.unwrap().options
        };
        let asked =
            |config: &PodSandboxConfig| config.linux.clone().unwrap().security_context.unwrap().namespace_options;
        assert_eq!(options(&config).await, asked(&config));
        let plain = lab.pod("plain");
        assert_eq!(options(&plain).await, asked(&plain));
    });
}

#[test]
fn container_stats_are_filtered_by_id_pod_and_labels_together() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let (one, two) = (lab.pod("one"), lab.pod("two"));
        let (first, second) = (lab.run_pod(&one).await, lab.run_pod(&two).await);
        let a = lab.start(&first, &one, &pods::sleeper("a", &image)).await;
        let b = lab.start(&second, &two, &pods::sleeper("b", &image)).await;
        let listed = async |id: &str, pod: &str, label: Option<&str>| {
            let label_selector = label.map(|name| ("container".to_owned(), name.to_owned())).into_iter().collect();
            let filter = ContainerStatsFilter { id: id.to_owned(), pod_sandbox_id: pod.to_owned(), label_selector };
            let request = ListContainerStatsRequest { filter: Some(filter.clone()) };
            let listed = lab.cri.runtime().list_container_stats(request).await.unwrap().into_inner().stats;
            let request = StreamContainerStatsRequest { filter: Some(filter) };
            let mut stream = lab.cri.runtime().stream_container_stats(request).await.unwrap().into_inner();
            let mut streamed = Vec::new();
            while let Some(batch) = stream.message().await.unwrap() {
                streamed.extend(batch.container_stats);
            }
            let ids =
                |stats: Vec<ContainerStats>| stats.into_iter().map(|s| s.attributes.unwrap().id).collect::<Vec<_>>();
            let listed = ids(listed);
            assert_eq!(listed, ids(streamed));
            listed
        };
        assert_eq!(listed("", &first, None).await, std::slice::from_ref(&a));
        assert_eq!(listed(&b[..12], &second[..12], Some("b")).await, std::slice::from_ref(&b));
        assert_eq!(listed("", "", Some("a")).await, std::slice::from_ref(&a));
        assert_eq!(listed(&a, "", Some("b")).await, Vec::<String>::new());
        assert_eq!(listed(&a, &second, None).await, Vec::<String>::new());
    });
}

#[test]
fn a_host_port_is_open_at_its_address_only() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        corten_e2e::namespace::run("ip", &["addr", "add", "192.0.2.9/32", "dev", "lo"]);
        let mut config = lab.pod("port");
        let mapping = |protocol: Protocol, host_port: i32| PortMapping {
            protocol: protocol.into(),
            container_port: 80,
            host_port,
            host_ip: "192.0.2.9".to_owned(),
        };
        config.port_mappings =
            vec![mapping(Protocol::Tcp, 8081), mapping(Protocol::Udp, 8082), mapping(Protocol::Sctp, 8083)];
        let pod = lab.run_pod(&config).await;
        lab.start(&pod, &config, &pods::container("web", &image, &["httpd", "-f", "-p", "80", "-h", "/www"])).await;
        let connect = |address: &str| std::net::TcpStream::connect(address.to_owned());
        until("the port", async || connect("192.0.2.9:8081").ok()).await;
        assert!(connect("127.0.0.1:8081").is_err(), "another address of the node's");
        assert!(connect("192.0.2.9:8082").is_err(), "another protocol's");
        // A datagram reaches the pod, where nobody listens, and it says so.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.9:8082").unwrap();
        let answer = until("the pod's answer", async || {
            let _ = socket.send(b"x");
            socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            socket.recv(&mut [0; 8]).err().filter(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        });
        assert_eq!(answer.await.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_handler_that_is_named_runs_the_pod() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        for (handler, external) in [("", 0), ("corten", 0), ("runc", 1)] {
            let config = lab.pod(&format!("by-{handler}"));
            let pod = lab.cri.run_pod(&config, handler).await.unwrap();
            let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
            assert_eq!(lab.cri.shell(&id, "echo runs").await, "runs\n");
            // Where runc keeps what it runs.
            let of_runc = fs::read_dir(lab.paths.state().join("runtimes/runc")).map_or(0, Iterator::count);
            assert_eq!(of_runc, external, "{handler}");
            assert_eq!(lab.cri.pod_status(&pod).await.unwrap().runtime_handler, handler);
        }
    });
}

#[test]
fn bandwidth_is_limited_as_the_annotations_say() {
    lab::test(Setup::default(), async |lab| {
        let limited = |ingress: &str, egress: &str| {
            let mut config = lab.pod("bandwidth");
            for (name, value) in [("ingress", ingress), ("egress", egress)] {
                config.annotations.insert(format!("kubernetes.io/{name}-bandwidth"), value.to_owned());
            }
            config
        };
        for (ingress, egress) in [("fast", "10M"), ("10M", "-1")] {
            let refused = lab.cri.run_pod(&limited(ingress, egress), "").await;
            assert_refused(refused, Code::InvalidArgument, &["annotations", "kubernetes.io/"]);
        }
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        lab.run_pod(&limited("10M", "20M")).await;
        let told = |command: &mut Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
        let links = told(Command::new("ip").args(["-o", "link", "show", "type", "veth"]));
        let veth = links.split_once(": ").unwrap().1.split(['@', ':']).next().unwrap();
        let on_the_node = told(Command::new("tc").args(["qdisc", "show", "dev", veth]));
        assert!(on_the_node.contains("tbf") && on_the_node.contains("rate 10Mbit"), "{on_the_node}");
        let files = fs::read_dir(lab.paths.netns()).unwrap().flatten().map(|file| file.path());
        let netns = files.map(|file| format!("--net={}", file.display())).next().unwrap();
        let inside = told(Command::new("nsenter").args([netns.as_str(), "tc", "qdisc", "show", "dev", "eth0"]));
        assert!(inside.contains("tbf") && inside.contains("rate 20Mbit"), "{inside}");
    });
}
