//! The table of requests: pods, and the containers that each gets.

use std::{fs, path::PathBuf};

use corten_cri::v1::{security_profile::ProfileType, *};
use corten_e2e::{
    image,
    lab::Lab,
    pods::{self, with_namespaces},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

/// What every container's first process runs, and what is executed in it.
pub const INIT: [&str; 2] = ["/bin/sleep", "100000"];
pub const EXEC: [&str; 2] = ["/bin/sleep", "99999"];
/// The same with a terminal.
pub const ON_A_TERMINAL: [&str; 2] = ["/bin/sleep", "99998"];

/// A pod, and the containers that are run in it.
pub struct Pod {
    pub name: &'static str,
    change: fn(&mut PodSandboxConfig),
    /// Applies to each of its containers, the peer included.
    every: fn(&mut LinuxContainerSecurityContext),
    containers: &'static [(&'static str, Change)],
}

/// What makes a container's request another than the plain one.
type Change = fn(&mut ContainerConfig, &Place<'_>);

/// What a request may refer to.
pub struct Place<'a> {
    world: &'a World,
    /// The id of the container that runs in the pod already.
    peer: &'a str,
}

/// What the requests refer to on the node.
pub struct World {
    image: String,
    image_of_alice: String,
    profile: PathBuf,
    volume: PathBuf,
}

impl World {
    pub async fn new(lab: &Lab) -> Self {
        let mut settings = image::busybox_config();
        settings["User"] = json!("alice");
        settings["WorkingDir"] = json!("/home/alice/work");
        let of_alice = image::Image::of(vec![image::busybox_layer().to_vec()]).config(settings).build();
        let world = World {
            image: lab.busybox().await,
            image_of_alice: lab.image("alice", &of_alice).await,
            profile: lab.paths.dir.join("seccomp/profile.json"),
            volume: lab.paths.dir.join("volume"),
        };
        let rules = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        });
        fs::create_dir_all(world.profile.parent().unwrap()).unwrap();
        fs::write(&world.profile, rules.to_string()).unwrap();
        // Mounts of their own, and shared: what the runtime's state is on is private for an external runtime.
        fs::create_dir_all(&world.volume).unwrap();
        mount(Some("tmpfs"), &world.volume, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let below = world.volume.join("mounted");
        fs::create_dir_all(&below).unwrap();
        fs::write(world.volume.join("file"), "a file\n").unwrap();
        mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::MS_NODEV, None::<&str>).unwrap();
        world
    }

    /// Takes away what was mounted.
    pub fn end(self) {
        umount2(&self.volume, MntFlags::MNT_DETACH).unwrap();
    }

    fn image_at(&self, at: &str) -> Mount {
        let image = Some(ImageSpec { image: self.image_of_alice.clone(), ..Default::default() });
        Mount { image, readonly: true, container_path: at.to_owned(), ..Default::default() }
    }

    fn volume(&self, at: &str) -> Mount {
        Mount { host_path: self.volume.display().to_string(), container_path: at.to_owned(), ..Default::default() }
    }
}

impl Pod {
    /// The pod's request to a handler. It is the same for each but for the uid and the cgroup.
    pub fn config(&self, lab: &Lab, handler: &str) -> PodSandboxConfig {
        let mut config = lab.pod(self.name);
        config.metadata.as_mut().unwrap().uid = format!("{}-{handler}", self.name);
        config.linux.as_mut().unwrap().cgroup_parent = lab.paths.cgroup_below(&format!("{}-{handler}", self.name));
        config.log_directory = lab.paths.logs().join(format!("{}-{handler}", self.name)).display().to_string();
        (self.change)(&mut config);
        config
    }

    /// The container that is in the pod all the time.
    pub fn peer(&self, world: &World) -> ContainerConfig {
        self.container("peer", world)
    }

    /// The containers to compare, by their names.
    pub fn containers<'a>(
        &'a self,
        world: &'a World,
        peer: &'a str,
    ) -> impl Iterator<Item = (&'a str, ContainerConfig)> {
        self.containers.iter().map(move |(name, change)| {
            let mut config = self.container(name, world);
            change(&mut config, &Place { world, peer });
            (*name, config)
        })
    }

    fn container(&self, name: &str, world: &World) -> ContainerConfig {
        let mut config = pods::container(name, &world.image, &INIT);
        (self.every)(security(&mut config));
        config
    }
}

fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

fn namespaces(config: &mut ContainerConfig) -> &mut NamespaceOption {
    security(config).namespace_options.get_or_insert_default()
}

fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}

fn of_pod(config: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

fn profile(kind: ProfileType, file: String) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind as i32, localhost_ref: file })
}

const MIB: i64 = 1 << 20;

/// What the kubelet masks and makes read-only in a container whose procMount is the default.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What is mapped into a pod's user namespace.
fn users() -> Option<UserNamespace> {
    let ids = vec![IdMapping { host_id: 0x0010_0000, container_id: 0, length: 65536 }];
    Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids.clone(), gids: ids })
}

/// Everything that is compared.
pub fn pods() -> [Pod; 7] {
    [
        Pod { name: "plain", change: |_| (), every: |_| (), containers: PLAIN },
        Pod {
            name: "privileged",
            change: |pod| of_pod(pod).privileged = true,
            every: |_| (),
            containers: &[
                ("unprivileged", |_, _| ()),
                ("privileged", |c, _| security(c).privileged = true),
                ("as-a-user", |c, _| {
                    security(c).privileged = true;
                    security(c).run_as_user = number(1000);
                }),
                ("mounts-shared", |c, place| {
                    let shared = MountPropagation::PropagationBidirectional as i32;
                    c.mounts = vec![
                        Mount { propagation: shared, ..place.world.volume("/shared") },
                        place.world.volume("/private"),
                    ];
                    security(c).privileged = true;
                }),
                ("confined", |c, place| {
                    security(c).privileged = true;
                    security(c).masked_paths = strings(&MASKED);
                    security(c).readonly_paths = strings(&READONLY);
                    security(c).seccomp = profile(ProfileType::RuntimeDefault, String::new());
                    c.mounts = vec![place.world.volume("/v")];
                }),
            ],
        },
        Pod {
            name: "of-the-node",
            change: |pod| {
                *pod = with_namespaces(std::mem::take(pod), |n| {
                    (n.network, n.pid, n.ipc) =
                        (NamespaceMode::Node as i32, NamespaceMode::Node as i32, NamespaceMode::Node as i32);
                });
                pod.hostname.clear();
            },
            every: |security| {
                let n = security.namespace_options.get_or_insert_default();
                (n.network, n.pid, n.ipc) =
                    (NamespaceMode::Node as i32, NamespaceMode::Node as i32, NamespaceMode::Node as i32);
            },
            containers: &[
                ("default", |_, _| ()),
                ("own-pids", |c, _| namespaces(c).pid = NamespaceMode::Container as i32),
                ("privileged-user", |c, _| {
                    security(c).run_as_user = number(1000);
                    security(c).no_new_privs = true;
                }),
            ],
        },
        Pod {
            name: "shared-pids",
            change: |pod| *pod = with_namespaces(std::mem::take(pod), |n| n.pid = NamespaceMode::Pod as i32),
            every: |security| security.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod as i32,
            containers: &[("default", |_, _| ()), ("as-a-user", |c, _| security(c).run_as_user = number(1000))],
        },
        Pod {
            name: "sysctls",
            change: |pod| {
                let sysctls = [
                    ("net.ipv4.ip_forward", "1"),
                    ("net.ipv4.ip_local_port_range", "2000\t3000"),
                    ("kernel.shmmax", "123456"),
                    ("kernel.sem", "1 2 3 4"),
                    ("fs.mqueue.msg_max", "11"),
                ];
                pod.linux.as_mut().unwrap().sysctls =
                    sysctls.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                pod.dns_config = Some(DnsConfig {
                    servers: strings(&["10.96.0.10"]),
                    searches: strings(&["e2e.svc", "svc"]),
                    options: strings(&["ndots:5"]),
                });
            },
            every: |_| (),
            containers: &[("default", |_, _| ())],
        },
        Pod {
            name: "users",
            change: |pod| *pod = with_namespaces(std::mem::take(pod), |n| n.userns_options = users()),
            every: |security| security.namespace_options.get_or_insert_default().userns_options = users(),
            containers: &[
                ("default", |_, _| ()),
                ("as-a-user", |c, _| {
                    security(c).run_as_user = number(1000);
                    security(c).supplemental_groups = vec![7777];
                    security(c).no_new_privs = true;
                }),
                ("confined", |c, place| {
                    security(c).masked_paths = strings(&MASKED);
                    security(c).readonly_paths = strings(&READONLY);
                    security(c).seccomp = profile(ProfileType::RuntimeDefault, String::new());
                    security(c).readonly_rootfs = true;
                    c.mounts = vec![place.world.volume("/v")];
                }),
                ("images", |c, place| {
                    c.mounts = vec![
                        place.world.image_at("/image"),
                        Mount { mount_options: strings(&["noexec"]), ..place.world.image_at("/locked") },
                    ];
                }),
                ("tty", |c, _| c.tty = true),
            ],
        },
        Pod {
            name: "users-of-shared-pids",
            change: |pod| {
                *pod = with_namespaces(std::mem::take(pod), |n| {
                    n.userns_options = users();
                    n.pid = NamespaceMode::Pod as i32;
                });
            },
            every: |security| {
                let n = security.namespace_options.get_or_insert_default();
                n.userns_options = users();
                n.pid = NamespaceMode::Pod as i32;
            },
            containers: &[("default", |_, _| ())],
        },
    ]
}

/// The containers of an ordinary pod.
const PLAIN: &[(&str, Change)] = &[
    ("default", |_, _| ()),
    // What the kubelet sends for a pod whose security context is as restricted as can be.
    ("restricted", |c, place| {
        let security = security(c);
        security.run_as_user = number(1000);
        security.run_as_group = number(1000);
        security.supplemental_groups = vec![2000];
        security.capabilities = Some(Capability { drop_capabilities: strings(&["ALL"]), ..Default::default() });
        security.no_new_privs = true;
        security.readonly_rootfs = true;
        security.seccomp = profile(ProfileType::RuntimeDefault, String::new());
        security.masked_paths = strings(&MASKED);
        security.readonly_paths = strings(&READONLY);
        c.mounts = vec![place.world.volume("/v")];
    }),
    ("user", |c, _| security(c).run_as_user = number(1000)),
    ("unknown-user", |c, _| {
        security(c).run_as_user = number(4321);
        security(c).run_as_group = number(8765);
        security(c).supplemental_groups = vec![9, 7, 9];
    }),
    ("strict-groups", |c, _| {
        security(c).run_as_user = number(1000);
        security(c).supplemental_groups = vec![7777];
        security(c).supplemental_groups_policy = SupplementalGroupsPolicy::Strict as i32;
    }),
    ("user-name", |c, _| security(c).run_as_username = "alice".into()),
    ("user-of-the-image", |c, place| c.image = Some(corten_e2e::cri::spec(&place.world.image_of_alice))),
    ("capabilities-added", |c, _| {
        security(c).capabilities =
            Some(Capability { add_capabilities: strings(&["NET_ADMIN", "SYS_PTRACE"]), ..Default::default() });
    }),
    ("capabilities-all", |c, _| {
        security(c).capabilities = Some(Capability {
            add_capabilities: strings(&["ALL"]),
            drop_capabilities: strings(&["SYS_ADMIN"]),
            ..Default::default()
        });
    }),
    ("capabilities-none", |c, _| {
        security(c).capabilities = Some(Capability { drop_capabilities: strings(&["ALL"]), ..Default::default() });
    }),
    ("capabilities-of-a-user", |c, _| {
        security(c).run_as_user = number(1000);
        security(c).capabilities = Some(Capability {
            add_capabilities: strings(&["NET_RAW"]),
            drop_capabilities: strings(&["CHOWN", "KILL"]),
            ..Default::default()
        });
    }),
    ("capabilities-ambient", |c, _| {
        security(c).run_as_user = number(1000);
        security(c).capabilities = Some(Capability {
            add_ambient_capabilities: strings(&["NET_BIND_SERVICE", "SYS_TIME"]),
            ..Default::default()
        });
    }),
    ("no-new-privs", |c, _| security(c).no_new_privs = true),
    ("read-only-root", |c, _| security(c).readonly_rootfs = true),
    ("seccomp-default", |c, _| security(c).seccomp = profile(ProfileType::RuntimeDefault, String::new())),
    ("seccomp-default-no-new-privs", |c, _| {
        security(c).seccomp = profile(ProfileType::RuntimeDefault, String::new());
        security(c).no_new_privs = true;
    }),
    ("seccomp-unconfined", |c, _| security(c).seccomp = profile(ProfileType::Unconfined, String::new())),
    ("seccomp-localhost", |c, place| {
        security(c).seccomp = profile(ProfileType::Localhost, place.world.profile.display().to_string());
    }),
    ("paths", |c, _| {
        security(c).masked_paths = strings(&[&MASKED[..], &["/www", "/not/there", "/etc/group"]].concat());
        security(c).readonly_paths = strings(&[&READONLY[..], &["/tmp", "/etc/passwd", "/nor/there"]].concat());
    }),
    ("proc-unmasked", |c, _| {
        security(c).masked_paths.clear();
        security(c).readonly_paths.clear();
    }),
    ("resources", |c, _| {
        *resources(c) = LinuxContainerResources {
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 200_000,
            memory_limit_in_bytes: 64 * MIB,
            memory_swap_limit_in_bytes: 128 * MIB,
            oom_score_adj: 500,
            cpuset_cpus: "0".into(),
            cpuset_mems: "0".into(),
            ..Default::default()
        };
    }),
    ("resources-without-swap", |c, _| {
        *resources(c) =
            LinuxContainerResources { memory_limit_in_bytes: 100 * MIB, oom_score_adj: -998, ..Default::default() };
    }),
    ("resources-least", |c, _| {
        *resources(c) = LinuxContainerResources {
            cpu_shares: 2,
            cpu_quota: 1000,
            cpu_period: 1000,
            memory_limit_in_bytes: 12 * MIB,
            memory_swap_limit_in_bytes: 12 * MIB,
            ..Default::default()
        };
    }),
    ("resources-most", |c, _| {
        *resources(c) = LinuxContainerResources {
            cpu_shares: 262_144,
            cpu_quota: -1,
            cpu_period: 1_000_000,
            memory_limit_in_bytes: 1 << 42,
            memory_swap_limit_in_bytes: -1,
            oom_score_adj: 1000,
            ..Default::default()
        };
    }),
    // The kubelet sends a limit of 0 for every page size of the node.
    ("resources-no-hugepages", |c, _| {
        let limit = |size: &str| HugepageLimit { page_size: size.into(), limit: 0 };
        resources(c).hugepage_limits = vec![limit("2MB"), limit("1GB")];
    }),
    ("resources-hugepages", |c, _| {
        let limit = |size: &str, limit| HugepageLimit { page_size: size.into(), limit };
        resources(c).hugepage_limits = vec![limit("2MB", 4 << 20), limit("1GB", 1 << 30)];
    }),
    ("target", |c, place| {
        namespaces(c).pid = NamespaceMode::Target as i32;
        namespaces(c).target_id = place.peer.to_owned();
    }),
    ("mounts", |c, place| {
        let world = place.world;
        let file = world.volume.join("file").display().to_string();
        c.mounts = vec![
            world.volume("/private"),
            Mount { readonly: true, ..world.volume("/private-ro") },
            Mount { readonly: true, recursive_read_only: true, ..world.volume("/private-rro") },
            Mount { host_path: file, ..world.volume("/etc/a/deep/file") },
            Mount { host_path: world.volume.join("made").display().to_string(), ..world.volume("/tmp/made") },
        ];
    }),
    ("mounts-with-options", |c, place| {
        let with = |options: &str, mount: Mount| Mount {
            mount_options: strings(&options.split(' ').collect::<Vec<_>>()),
            ..mount
        };
        c.mounts = vec![
            with("noexec nosuid nodev", place.world.volume("/locked")),
            with("noatime nodiratime", Mount { readonly: true, ..place.world.volume("/no-times") }),
            with("strictatime", place.world.volume("/times")),
        ];
    }),
    ("mounts-of-images", |c, place| {
        c.mounts = vec![
            place.world.image_at("/image"),
            Mount { image_sub_path: "bin".into(), ..place.world.image_at("/deep/part") },
            Mount { mount_options: strings(&["noexec", "nodev"]), ..place.world.image_at("/locked") },
        ];
    }),
    ("mounts-slave", |c, place| {
        c.mounts = vec![
            Mount { propagation: MountPropagation::PropagationHostToContainer as i32, ..place.world.volume("/slave") },
            place.world.volume("/private"),
        ];
    }),
    ("mounts-over-the-runtimes-own", |c, place| {
        let file = place.world.volume.join("file").display().to_string();
        let of = |at: &str| Mount { host_path: file.clone(), ..place.world.volume(at) };
        c.mounts =
            vec![place.world.volume("/dev/shm"), of("/etc/hosts"), of("/etc/resolv.conf"), of("/dev/termination-log")];
    }),
    ("devices", |c, _| {
        let device = |host: &str, inside: &str, permissions: &str| Device {
            host_path: host.into(),
            container_path: inside.into(),
            permissions: permissions.into(),
        };
        c.devices = vec![device("/dev/kmsg", "/dev/kmsg", "r"), device("/dev/null", "/dev/deep/nothing", "rwm")];
    }),
    ("tty", |c, _| c.tty = true),
    ("tty-of-a-user", |c, _| {
        (c.tty, c.stdin) = (true, true);
        security(c).run_as_user = number(1000);
    }),
    ("stdin", |c, _| (c.stdin, c.stdin_once) = (true, true)),
    ("environment", |c, _| {
        let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
        c.envs = vec![pair("A", "1"), pair("FROM_IMAGE", "no"), pair("EMPTY", ""), pair("A", "2"), pair("HOME", "/h")];
        c.working_dir = "/made/for/this".into();
    }),
];
