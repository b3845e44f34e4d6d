#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeMap;

use corten_cri::v1;
use corten_host::selinux::Policy;
use corten_host::user_namespace::{IdMapping, Mappings};
use oci_spec::image::Config;
use oci_spec::runtime::{Capabilities, Capability, LinuxDeviceType, LinuxNamespaceType, Mount, Process};

use super::*;
use crate::container::config::{self, ImageSource, ImageSpec, MountAccess, MountOption, Propagation, Source};
use crate::resources::{HugepageLimit, Resources};
use crate::security::{NamespaceOptions, PidNamespace, PodNamespace, SecurityProfile, Selinux};

/// A container's world, to be changed before [`World::build`].
struct World {
    config: ContainerConfig,
    pod: PodConfig,
    image: Config,
    user: ResolvedUser,
    host: Host,
    sources: Sources,
    pod_init: Option<i32>,
    target_pid: Option<i32>,
}

fn host() -> Host {
    Host {
        hostname: "node-1".into(),
        capabilities: vec![
            Capability::AuditWrite,
            Capability::Chown,
            Capability::DacOverride,
            Capability::Fowner,
            Capability::Fsetid,
            Capability::Kill,
            Capability::Mknod,
            Capability::NetBindService,
            Capability::NetRaw,
            Capability::Setfcap,
            Capability::Setgid,
            Capability::Setpcap,
            Capability::Setuid,
            Capability::SysChroot,
            Capability::SysAdmin,
            Capability::NetAdmin,
        ],
        oom_score_adj_floor: -500,
        cgroup: CgroupMode::V2,
        swap_limit: true,
        hugetlb: Hugetlb::Present,
        huge_page_sizes: words(&["2MB", "1GB"]),
        seccomp: true,
        apparmor: AppArmor::Absent,
        selinux: None,
    }
}

fn world() -> World {
    let mut image = Config::default();
    image.set_entrypoint(Some(words(&["/entry"]))).set_cmd(Some(words(&["arg"])));
    World {
        config: ContainerConfig::default(),
        pod: PodConfig { hostname: Some("web-0".into()), ..Default::default() },
        image,
        user: ResolvedUser { uid: 1000, gid: 1001, additional_gids: vec![1001, 10], ..Default::default() },
        host: host(),
        sources: Sources::default(),
        pod_init: Some(77),
        target_pid: None,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl World {
    fn build(&self) -> Result<Built> {
        let mut image = ImageConfiguration::default();
        image.set_config(Some(self.image.clone()));
        let netns = Path::new("/run/netns/x");
        let mut sources = self.sources.clone();
        sources.mounts.extend(self.config.mounts.iter().map(|mount| match &mount.source {
            Source::Host(path) => path.clone(),
            Source::Image(_) => "corten:image/0".into(),
        }));
        build(&SpecInput {
            id: "c1",
            pod_id: "p1",
            config: &self.config,
            pod: &self.pod,
            image: &image,
            user: &self.user,
            namespaces: Namespaces {
                monitor_pid: 42,
                netns: (self.pod.security.namespaces.network == PodNamespace::Pod).then_some(netns),
                pod_init: self.pod_init,
                target_pid: self.target_pid,
            },
            files: PodFiles {
                hosts: Some(Path::new("/state/hosts")),
                hostname: Some(Path::new("/state/hostname")),
                resolv_conf: Some(Path::new("/state/resolv.conf")),
            },
            sources: &sources,
            cgroups_path: "/kubepods/p1/c1",
            host: &self.host,
        })
    }

    fn spec(&self) -> Spec {
        self.build().unwrap().spec
    }

    fn process(&self) -> Process {
        self.spec().process().clone().unwrap()
    }

    fn linux(&self) -> Linux {
        self.spec().linux().clone().unwrap()
    }

    fn mounts(&self) -> Vec<Mount> {
        self.spec().mounts().clone().unwrap()
    }

    fn mount_at(&self, at: &str) -> Mount {
        let mut found: Vec<Mount> = self.mounts().into_iter().filter(|m| m.destination() == Path::new(at)).collect();
        assert_eq!(found.len(), 1, "one mount at {at}");
        found.remove(0)
    }

    fn args(&self) -> Vec<String> {
        self.process().args().clone().unwrap()
    }

    fn env(&self) -> Vec<String> {
        self.process().env().clone().unwrap()
    }

    fn bounding(&self) -> Capabilities {
        self.process().capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap()
    }

    fn ambient(&self) -> Capabilities {
        self.process().capabilities().as_ref().and_then(|sets| sets.ambient().clone()).unwrap()
    }

    fn namespace(&self, kind: LinuxNamespaceType) -> Option<Option<PathBuf>> {
        let all = self.linux().namespaces().clone().unwrap();
        all.into_iter().find(|namespace| namespace.typ() == kind).map(|namespace| namespace.path().clone())
    }

    fn privileged(mut self) -> Self {
        self.config.security.privileged = true;
        self.pod.security.privileged = true;
        self
    }

    fn error(&self) -> String {
        self.build().unwrap_err().to_string()
    }
}

fn bind(at: &str, source: &str) -> config::Mount {
    config::Mount {
        users: None,
        container_path: at.into(),
        source: Source::Host(source.into()),
        access: MountAccess::ReadWrite,
        propagation: Propagation::Private,
        selinux_relabel: false,
        options: Vec::new(),
    }
}

fn has(mount: &Mount, option: &str) -> bool {
    mount.options().as_ref().unwrap().iter().any(|found| found == option)
}

#[test]
fn a_command_takes_the_place_of_entrypoint_and_arguments() {
    let mut w = world();
    assert_eq!(w.args(), ["/entry", "arg"]);
    w.config.args = words(&["x"]);
    assert_eq!(w.args(), ["/entry", "x"]);
    w.config.command = words(&["/bin/sh"]);
    assert_eq!(w.args(), ["/bin/sh", "x"]);
    w.config.args.clear();
    assert_eq!(w.args(), ["/bin/sh"]);
}

#[test]
fn an_entrypoint_of_one_empty_string_is_none() {
    let mut w = world();
    w.image.set_entrypoint(Some(words(&[""])));
    assert_eq!(w.args(), ["arg"]);
}

#[test]
fn nothing_to_run_is_an_error() {
    let mut w = world();
    w.image = Config::default();
    assert_eq!(w.error(), "no command specified");
    w.image.set_cmd(Some(words(&["a\0b"])));
    assert!(w.error().contains("NUL"));
}

#[test]
fn later_environments_win() {
    let mut w = world();
    w.image.set_env(Some(words(&["A=image", "B=image", "malformed", "=x"])));
    w.config.envs = vec![("B".into(), "pod=1".into()), ("HOSTNAME".into(), "mine".into())];
    w.config.tty = true;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(w.env(), [path, "TERM=xterm", "HOSTNAME=mine", "A=image", "B=pod=1", "HOME=/"]);
    w.image.set_env(Some(words(&["PATH=/opt", "HOME=/h"])));
    w.config.envs.clear();
    w.config.tty = false;
    assert_eq!(w.env(), ["PATH=/opt", "HOSTNAME=web-0", "HOME=/h"]);
    w.pod.hostname = None;
    w.user.home = Some("/home/app".into());
    w.image.set_env(None);
    assert_eq!(w.env(), [path, "HOSTNAME=node-1", "HOME=/home/app"]);
}

#[test]
fn the_working_directory_is_the_requests_the_images_or_the_root() {
    let mut w = world();
    assert_eq!(w.process().cwd(), Path::new("/"));
    w.image.set_working_dir(Some("srv/../app".into()));
    assert_eq!(w.process().cwd(), Path::new("/app"));
    w.config.working_dir = Some("/w".into());
    assert_eq!(w.process().cwd(), Path::new("/w"));
}

#[test]
fn the_process_is_the_user_with_all_groups() {
    let user = world().process().user().clone();
    assert_eq!((user.uid(), user.gid(), user.additional_gids().clone()), (1000, 1001, Some(vec![1001, 10])));
}

#[test]
fn a_container_has_the_fourteen_default_capabilities() {
    let w = world();
    assert_eq!(w.bounding().len(), 14);
    let process = w.process();
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!((sets.effective(), sets.permitted()), (sets.bounding(), sets.bounding()));
    assert!(sets.inheritable().as_ref().unwrap().is_empty(), "CVE-2022-24769");
    assert!(w.ambient().is_empty());
}

#[test]
fn capabilities_are_added_and_dropped_in_any_spelling() {
    let mut w = world();
    w.config.security.add_capabilities = words(&["net_admin", "CAP_SYS_ADMIN"]);
    w.config.security.drop_capabilities = words(&["cap_chown", "SYS_ADMIN"]);
    let got = w.bounding();
    assert!(got.contains(&Capability::NetAdmin));
    assert!(!got.contains(&Capability::Chown) && !got.contains(&Capability::SysAdmin), "what is dropped is not had");
    w.config.security.add_capabilities = words(&["NO_SUCH"]);
    let error = w.error();
    assert!(error.starts_with("invalid config.linux.security_context.capabilities.add_capabilities[0] "), "{error}");
}

#[test]
fn all_capabilities_are_all_the_daemon_may_grant() {
    let mut w = world();
    w.config.security.add_capabilities = words(&["all"]);
    w.config.security.drop_capabilities = words(&["CHOWN"]);
    assert_eq!(w.bounding().len(), w.host.capabilities.len() - 1);
    w.config.security.add_capabilities = words(&["NET_RAW"]);
    w.config.security.drop_capabilities = words(&["ALL"]);
    assert_eq!(w.bounding(), [Capability::NetRaw].into());
    w.config.security.add_capabilities = words(&["ALL"]);
    assert!(w.bounding().is_empty());
}

#[test]
fn ambient_capabilities_are_in_every_set() {
    let mut w = world();
    w.config.security.drop_capabilities = words(&["ALL"]);
    w.config.security.add_ambient_capabilities = words(&["NET_BIND_SERVICE"]);
    assert_eq!(w.bounding(), [Capability::NetBindService].into());
    assert_eq!(w.ambient(), [Capability::NetBindService].into());
    w.config.security.drop_capabilities = words(&["NET_BIND_SERVICE"]);
    assert!(w.ambient().is_empty());
}

#[test]
fn what_the_daemon_may_not_grant_is_withheld_and_said() {
    let mut w = world();
    w.config.security.add_capabilities = words(&["SYS_TIME"]);
    w.config.resources.oom_score_adj = -998;
    let built = w.build().unwrap();
    assert_eq!(built.withheld, ["capability SYS_TIME", "oom_score_adj below -500"]);
    assert!(!w.bounding().contains(&Capability::SysTime));
    assert_eq!(w.process().oom_score_adj(), Some(-500));
    w.config.resources.oom_score_adj = 900;
    assert_eq!(w.process().oom_score_adj(), Some(900));
}

#[test]
fn a_privileged_container_may_do_what_the_daemon_may() {
    let mut w = world().privileged();
    w.config.security.masked_paths = vec!["/proc/kcore".into()];
    w.config.security.seccomp = Some(SecurityProfile::RuntimeDefault);
    assert_eq!(w.bounding().len(), w.host.capabilities.len());
    assert!(has(&w.mount_at("/sys"), "rw") && has(&w.mount_at("/sys/fs/cgroup"), "rw"));
    assert_eq!(w.linux().masked_paths().as_deref(), Some(&[][..]));
    assert_eq!(w.build().unwrap().seccomp, Seccomp::Unconfined);
    assert_eq!(w.namespace(LinuxNamespaceType::Cgroup), None);
    let rules = w.linux().resources().as_ref().unwrap().devices().clone().unwrap();
    assert_eq!(rules.iter().map(|rule| rule.allow()).collect::<Vec<_>>(), [true]);
    w.pod.security.privileged = false;
    assert!(w.error().starts_with("invalid config.linux.security_context.privileged "));
}

#[test]
fn the_default_mounts_are_there_in_order() {
    let at: Vec<_> = world().mounts().iter().map(|m| m.destination().display().to_string()).collect();
    let expected = [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/shm",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ];
    assert_eq!(at, expected);
    let w = world();
    assert!(has(&w.mount_at("/sys"), "ro") && has(&w.mount_at("/sys/fs/cgroup"), "ro"));
    assert_eq!(w.mount_at("/dev/shm").source().as_deref(), Some(Path::new(corten_monitor::protocol::POD_SHM)));
    assert!(has(&w.mount_at("/etc/hosts"), "rw"));
}

#[test]
fn a_read_only_root_has_read_only_pod_files() {
    let mut w = world();
    w.config.security.readonly_rootfs = true;
    assert!(has(&w.mount_at("/etc/hosts"), "ro"));
    assert_eq!(w.spec().root().as_ref().and_then(Root::readonly), Some(true));
}

#[test]
fn a_pod_on_the_nodes_ipc_has_the_nodes_shared_memory() {
    let mut w = world();
    w.pod.security.namespaces.ipc = PodNamespace::Node;
    assert_eq!(w.mount_at("/dev/shm").source().as_deref(), Some(Path::new("/dev/shm")));
    assert_eq!(w.namespace(LinuxNamespaceType::Ipc), None);
}

#[test]
fn requested_mounts_take_the_place_of_others() {
    let mut w = world();
    w.config.mounts = ["/dev/shm", "/sys/fs/cgroup", "/etc/hosts"].iter().map(|at| bind(at, "/h")).collect();
    for at in ["/dev/shm", "/sys/fs/cgroup", "/etc/hosts"] {
        assert_eq!(w.mount_at(at).source().as_deref(), Some(Path::new("/h")), "{at}");
    }
    w.config.mounts = vec![bind("/dev", "/dev")];
    let at: Vec<_> = w.mounts().iter().map(|m| m.destination().clone()).collect();
    assert!(!at.contains(&PathBuf::from("/dev/pts")) && !at.contains(&PathBuf::from("/dev/mqueue")));
    assert_eq!(w.mount_at("/dev").typ().as_deref(), Some("bind"));
}

#[test]
fn parents_are_mounted_before_children_and_else_the_order_stays() {
    let mut w = world();
    w.config.mounts = ["/z/a/b", "/b", "/z/a", "/a"].iter().map(|at| bind(at, "/h")).collect();
    let at: Vec<_> = w.mounts().iter().map(|m| m.destination().display().to_string()).collect();
    let mine: Vec<_> = at.iter().map(String::as_str).filter(|at| ["/b", "/a", "/z/a", "/z/a/b"].contains(at)).collect();
    assert_eq!(mine, ["/b", "/a", "/z/a", "/z/a/b"]);
}

#[test]
fn access_and_propagation_become_options() {
    let mut w = world();
    let mounts = [
        (MountAccess::ReadWrite, Propagation::Private, ["rprivate", "rw"], None),
        (MountAccess::ReadOnly, Propagation::HostToContainer, ["rslave", "ro"], Some("rslave")),
        (MountAccess::RecursiveReadOnly, Propagation::Private, ["rprivate", "rro"], None),
        (MountAccess::ReadWrite, Propagation::Bidirectional, ["rshared", "rw"], Some("rshared")),
    ];
    for (access, propagation, options, root) in mounts {
        w.config.mounts = vec![config::Mount { access, propagation, ..bind("/m", "/h") }];
        let expected = [vec!["rbind".to_owned()], words(&options)].concat();
        assert_eq!(w.mount_at("/m").options().clone().unwrap(), expected);
        assert_eq!(w.linux().rootfs_propagation().as_deref(), root);
    }
    w.config.mounts =
        vec![config::Mount { options: vec![MountOption::NoExec, MountOption::NoATime], ..bind("/m", "/h") }];
    let expected = words(&["rbind", "rprivate", "rw", "noexec", "noatime"]);
    assert_eq!(w.mount_at("/m").options().clone().unwrap(), expected);
}

#[test]
fn an_image_is_mounted_read_only_and_by_itself() {
    let mut w = world();
    let spec = ImageSpec { image: "data".into(), ..Default::default() };
    w.config.mounts = vec![config::Mount {
        source: Source::Image(ImageSource { spec, sub_path: None }),
        access: MountAccess::RecursiveReadOnly,
        propagation: Propagation::HostToContainer,
        users: users(65536),
        options: vec![MountOption::NoSuid],
        ..bind("/m", "")
    }];
    let mount = w.mount_at("/m");
    assert_eq!(mount.source().as_deref(), Some(Path::new("corten:image/0")));
    assert_eq!(mount.options().clone().unwrap(), words(&["rbind", "rprivate", "ro", "nosuid"]));
    assert_eq!((mount.uid_mappings(), w.linux().rootfs_propagation()), (&None, &None));
}

#[test]
fn image_volumes_are_those_that_no_mount_covers() {
    let mut w = world();
    w.image.set_volumes(Some(words(&["/data", "cache", "/data/../data/", "/", "/mine"])));
    w.config.mounts = vec![bind("/mine", "/h")];
    let mut image = ImageConfiguration::default();
    image.set_config(Some(w.image.clone()));
    assert_eq!(image_volumes(&w.config, &image).unwrap(), [PathBuf::from("/cache"), PathBuf::from("/data")]);
    w.image.set_volumes(Some(words(&["a\0b"])));
    image.set_config(Some(w.image.clone()));
    assert!(matches!(image_volumes(&w.config, &image), Err(Error::Container(_))));
}

#[test]
fn namespaces_are_the_pods_and_the_containers_own() {
    let w = world();
    let path = |text: &str| Some(Some(PathBuf::from(text)));
    assert_eq!(w.namespace(LinuxNamespaceType::Network), path("/run/netns/x"));
    assert_eq!(w.namespace(LinuxNamespaceType::Uts), path("/proc/42/ns/uts"));
    assert_eq!(w.namespace(LinuxNamespaceType::Ipc), path("/proc/42/ns/ipc"));
    assert_eq!(w.namespace(LinuxNamespaceType::Pid), path("/proc/77/ns/pid"));
    assert_eq!(w.namespace(LinuxNamespaceType::Mount), Some(None));
    assert_eq!(w.namespace(LinuxNamespaceType::Cgroup), Some(None));
    assert_eq!(w.namespace(LinuxNamespaceType::User), None);
}

#[test]
fn a_container_cannot_have_the_nodes_namespaces_where_its_pod_has_its_own() {
    for (name, change) in [
        ("network", (|options| options.network = PodNamespace::Node) as fn(&mut NamespaceOptions)),
        ("ipc", |options| options.ipc = PodNamespace::Node),
    ] {
        let mut w = world();
        change(&mut w.config.security.namespaces);
        let error = w.build().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("invalid config.linux.security_context.namespace_options.{name} ")),
            "{error}"
        );
        change(&mut w.pod.security.namespaces);
        assert!(w.build().is_ok());
        w.config.security.namespaces = NamespaceOptions::default();
        assert!(w.build().is_ok(), "the pod's");
    }
}

#[test]
fn a_pod_on_the_nodes_network_has_the_nodes_name() {
    let mut w = world();
    w.pod.security.namespaces.network = PodNamespace::Node;
    assert_eq!(w.namespace(LinuxNamespaceType::Network), None);
    assert_eq!(w.namespace(LinuxNamespaceType::Uts), None);
}

#[test]
fn every_pid_mode_is_what_it_says() {
    let mut w = world();
    let mut pid = |container: PidNamespace, pod: PidNamespace, target| {
        w.config.security.namespaces.pid = container;
        w.pod.security.namespaces.pid = pod;
        w.target_pid = target;
        w.build().map(|_| w.namespace(LinuxNamespaceType::Pid))
    };
    let own = Some(None);
    assert_eq!(pid(PidNamespace::Container, PidNamespace::Container, None).unwrap(), own);
    assert_eq!(pid(PidNamespace::Container, PidNamespace::Pod, None).unwrap(), own);
    assert_eq!(pid(PidNamespace::Pod, PidNamespace::Container, None).unwrap(), own);
    assert_eq!(pid(PidNamespace::Node, PidNamespace::Node, None).unwrap(), None);
    assert_eq!(pid(PidNamespace::Pod, PidNamespace::Node, None).unwrap(), None);
    let target = PidNamespace::Target("c2".into());
    let joined = pid(target.clone(), PidNamespace::Container, Some(99)).unwrap();
    assert_eq!(joined, Some(Some(PathBuf::from("/proc/99/ns/pid"))));
    assert!(matches!(pid(target, PidNamespace::Container, None), Err(Error::Precondition(_))));
    w.config.security.namespaces.pid = PidNamespace::Pod;
    w.pod.security.namespaces.pid = PidNamespace::Pod;
    w.pod_init = None;
    assert!(matches!(w.build(), Err(Error::Precondition(_))));
}

#[test]
fn limits_are_what_was_asked_for() {
    let mut w = world();
    w.config.resources = Resources {
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        memory_limit: Some(1 << 20),
        cpuset_cpus: Some("0-1".into()),
        hugepages: vec![HugepageLimit { page_size: "2MB".into(), limit: u64::MAX }],
        unified: BTreeMap::from([("memory.high".into(), "1".into())]),
        ..Default::default()
    };
    let resources = w.linux().resources().clone().unwrap();
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!((cpu.shares(), cpu.quota(), cpu.period()), (Some(512), Some(50_000), Some(100_000)));
    assert_eq!(cpu.cpus().as_deref(), Some("0-1"));
    let memory = resources.memory().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(1 << 20), Some(1 << 20)), "no limit on swap is no swap");
    assert_eq!(resources.hugepage_limits().as_ref().map(Vec::len), Some(1));
    assert_eq!(resources.unified().as_ref().map(|files| files.len()), Some(1));
    assert!(resources.pids().is_none());
}

#[test]
fn limits_that_the_node_cannot_set_are_left_out_or_refused() {
    let mut w = world();
    w.host = Host { swap_limit: false, hugetlb: Hugetlb::Absent, cgroup: CgroupMode::Hybrid, ..host() };
    w.config.resources.memory_limit = Some(1 << 20);
    w.config.resources.memory_swap_limit = Some(1 << 21);
    w.config.resources.hugepages = vec![HugepageLimit { page_size: "2MB".into(), limit: 0 }];
    let resources = w.linux().resources().clone().unwrap();
    assert_eq!(resources.memory().unwrap().swap(), None);
    assert_eq!(resources.hugepage_limits(), &None);
    w.config.resources.unified = BTreeMap::from([("memory.high".into(), "1".into())]);
    assert!(matches!(w.build(), Err(Error::Unsupported(_))));
}

#[test]
fn huge_pages_of_an_unknown_size_are_refused() {
    let mut w = world();
    w.config.resources.hugepages =
        ["2MB", "16MB"].map(|size| HugepageLimit { page_size: size.into(), limit: 0 }).into();
    let error = w.build().map(drop).unwrap_err().to_string();
    assert!(
        error.contains("config.linux.resources.hugepage_limits[1].page_size") && error.contains("2MB, 1GB"),
        "{error}"
    );
    w.host.huge_page_sizes.clear();
    assert!(w.build().is_ok(), "a kernel without huge pages has nothing to limit");
    w.config.resources.hugepages[1].limit = 1 << 24;
    assert!(matches!(w.build(), Err(Error::Invalid { .. })));
}

#[test]
fn devices_are_denied_but_for_the_usual_and_the_asked_for() {
    let mut w = world();
    w.sources.devices = vec![HostDevice {
        path: "/dev/kvm".into(),
        kind: LinuxDeviceType::C,
        major: 10,
        minor: 232,
        mode: 0o660,
        uid: 0,
        gid: 104,
        access: "rw".into(),
    }];
    let linux = w.linux();
    let rules = linux.resources().as_ref().unwrap().devices().clone().unwrap();
    assert!(!rules.first().unwrap().allow(), "everything is denied first");
    assert!(rules.iter().any(|r| r.to_string() == "c 10:232 rw"));
    for usual in ["c 1:3 rwm", "c 10:200 rwm"] {
        assert!(rules.iter().any(|r| r.to_string() == usual), "{usual}");
    }
    assert!(!rules.iter().skip(1).any(|r| r.to_string() == "a *:* rwm"));
    let node = linux.devices().as_ref().unwrap().first().unwrap().clone();
    assert_eq!((node.path().as_path(), node.file_mode(), node.gid()), (Path::new("/dev/kvm"), Some(0o660), Some(104)));
}

#[test]
fn masks_are_those_asked_for() {
    let mut w = world();
    assert_eq!(w.linux().masked_paths().as_deref(), Some(&[][..]));
    w.config.security.masked_paths = vec!["/proc/kcore".into()];
    w.config.security.readonly_paths = vec!["/proc/sys".into()];
    assert_eq!(w.linux().masked_paths().clone().unwrap(), ["/proc/kcore"]);
    assert_eq!(w.linux().readonly_paths().clone().unwrap(), ["/proc/sys"]);
}

#[test]
fn seccomp_is_what_was_asked_for_and_none_by_default() {
    let mut w = world();
    let mut seccomp = |profile| {
        w.config.security.seccomp = profile;
        w.build().map(|built| built.seccomp)
    };
    assert_eq!(seccomp(None).unwrap(), Seccomp::Unconfined);
    assert_eq!(seccomp(Some(SecurityProfile::Unconfined)).unwrap(), Seccomp::Unconfined);
    assert_eq!(seccomp(Some(SecurityProfile::RuntimeDefault)).unwrap(), Seccomp::RuntimeDefault);
    let file = SecurityProfile::Localhost("/p.json".into());
    assert_eq!(seccomp(Some(file)).unwrap(), Seccomp::Localhost("/p.json".into()));
    assert!(matches!(seccomp(Some(SecurityProfile::Localhost("p".into()))), Err(Error::Invalid { .. })));
    w.host.seccomp = false;
    w.config.security.seccomp = Some(SecurityProfile::RuntimeDefault);
    assert!(matches!(w.build(), Err(Error::Unsupported(_))));
    w.config.security.seccomp = None;
    assert!(w.build().is_ok());
}

#[test]
fn apparmor_by_name_is_refused_where_there_is_none() {
    let mut w = world();
    let mut profile = |asked, host| {
        w.config.security.apparmor = asked;
        w.host.apparmor = host;
        w.build().map(|_| w.process().apparmor_profile().clone())
    };
    let named = || Some(SecurityProfile::Localhost("web".into()));
    let present = |default: Option<&str>| AppArmor::Present { default: default.map(str::to_owned) };
    assert_eq!(profile(Some(SecurityProfile::RuntimeDefault), AppArmor::Absent).unwrap(), None);
    assert!(matches!(profile(named(), AppArmor::Absent), Err(Error::Unsupported(_))));
    assert_eq!(profile(named(), present(None)).unwrap().as_deref(), Some("web"));
    assert_eq!(profile(None, present(Some("d"))).unwrap().as_deref(), Some("d"));
    assert_eq!(profile(None, present(None)).unwrap(), None);
    let unconfined = Some(SecurityProfile::Unconfined);
    assert_eq!(profile(unconfined, present(Some("d"))).unwrap().as_deref(), Some("unconfined"));
    let default = Some(SecurityProfile::RuntimeDefault);
    assert!(matches!(profile(default, present(None)), Err(Error::Unsupported(_))));
}

#[test]
fn selinux_is_refused_where_there_is_none_and_completed_by_the_policy_where_there_is() {
    let mut w = world();
    let whole = Selinux { user: "u".into(), role: "r".into(), kind: "t".into(), level: "s0:c1,c2".into() };
    w.config.security.selinux = Some(whole.clone());
    assert!(matches!(w.build(), Err(Error::Unsupported(_))));
    w.host.selinux = Some(Policy::default());
    assert_eq!(w.process().selinux_label().as_deref(), Some("u:r:t:s0:c1,c2"));
    assert_eq!(w.linux().mount_label().as_deref(), Some("system_u:object_r:container_file_t:s0:c1,c2"));
    // As a pod says that wants another type only: its level is its own, and its files' is the same.
    w.config.security.selinux = Some(Selinux { kind: "spc_t".into(), ..Selinux::default() });
    let process = w.process().selinux_label().clone().unwrap();
    let level = process.strip_prefix("system_u:system_r:spc_t:").unwrap().to_owned();
    assert!(level.starts_with("s0:c"), "{level}");
    assert_eq!(w.linux().mount_label(), &Some(format!("system_u:object_r:container_file_t:{level}")));
    w.config.security.selinux = None;
    assert_eq!((w.process().selinux_label(), w.linux().mount_label()), (&None, &None));
}

#[test]
fn other_tools_find_their_annotations() {
    let mut w = world();
    w.config.metadata.name = "main".into();
    w.pod.metadata.namespace = "default".into();
    let annotations = w.spec().annotations().clone().unwrap();
    let get = |name: &str| annotations.get(&format!("io.kubernetes.cri.{name}")).map(String::as_str);
    assert_eq!(get("container-type"), Some("container"));
    assert_eq!((get("sandbox-id"), get("container-name")), (Some("p1"), Some("main")));
    assert_eq!(get("sandbox-namespace"), Some("default"));
}

#[test]
fn a_spec_survives_json_as_runtimes_read_it() {
    let spec = world().spec();
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    assert_eq!(spec.version(), "1.1.0");
    assert_eq!(spec.linux().as_ref().unwrap().cgroups_path().as_deref(), Some(Path::new("/kubepods/p1/c1")));
    assert!(spec.hostname().is_none() && spec.linux().as_ref().unwrap().seccomp().is_none());
    assert!(spec.process().as_ref().unwrap().rlimits().is_none());
}

#[test]
fn an_exec_is_confined_like_the_container() {
    let mut w = world();
    w.config.security.no_new_privs = true;
    let spec = w.spec();
    let init = w.process();
    let exec = exec_process(&spec, &words(&["ls", "-l"]), true).unwrap();
    assert_eq!(exec.args().clone().unwrap(), ["ls", "-l"]);
    assert_eq!(exec.terminal(), Some(true));
    assert_eq!(exec.no_new_privileges(), Some(true));
    assert_eq!((exec.user(), exec.capabilities(), exec.cwd()), (init.user(), init.capabilities(), init.cwd()));
    assert!(exec.env().as_ref().unwrap().contains(&"TERM=xterm".to_owned()));
    assert_eq!(exec_process(&spec, &words(&["ls"]), false).unwrap().env(), init.env());
    assert!(exec_process(&spec, &[], false).is_err());
    assert!(exec_process(&spec, &words(&["a\0"]), false).is_err());
}

fn pod_with(sysctls: &[(&str, &str)], network: PodNamespace, ipc: PodNamespace) -> PodConfig {
    let sysctls = sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut pod = PodConfig { sysctls, ..Default::default() };
    pod.security.namespaces.network = network;
    pod.security.namespaces.ipc = ipc;
    pod
}

#[test]
fn a_pod_with_a_network_gets_the_default_sysctls_unless_it_says_otherwise() {
    use PodNamespace::{Node, Pod};
    let defaults = pod_sysctls(&pod_with(&[], Pod, Pod)).unwrap();
    assert!(defaults.contains(&("net.ipv4.ip_unprivileged_port_start".into(), "0".into())));
    assert!(defaults.contains(&("net.ipv4.ping_group_range".into(), "0 2147483647".into())));
    assert!(pod_sysctls(&pod_with(&[], Node, Pod)).unwrap().is_empty());
    let mine = pod_sysctls(&pod_with(&[("net.ipv4.ping_group_range", "1 0")], Pod, Pod)).unwrap();
    assert_eq!(mine.iter().filter(|(name, _)| name == "net.ipv4.ping_group_range").count(), 1);
    assert!(mine.contains(&("net.ipv4.ping_group_range".into(), "1 0".into())));
}

#[test]
fn only_sysctls_of_the_pods_own_namespaces_pass() {
    use PodNamespace::{Node, Pod};
    let ok = |name: &str, network, ipc| pod_sysctls(&pod_with(&[(name, "1")], network, ipc)).is_ok();
    for name in ["kernel.shmmax", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max"] {
        assert!(ok(name, Node, Pod), "{name}");
        assert!(!ok(name, Pod, Node), "{name} would be the node's");
    }
    assert!(ok("net.core.somaxconn", Pod, Node));
    assert!(!ok("net.core.somaxconn", Node, Pod));
    for bad in
        ["kernel.panic", "vm.swappiness", "kernel.semx", "net", "net.", "net..x", "net.//.kernel.panic", "fs.file-max"]
    {
        assert!(!ok(bad, Pod, Pod), "{bad}");
    }
}

#[test]
fn a_request_of_the_kubelets_kind_makes_a_spec() {
    let context = v1::LinuxContainerSecurityContext {
        namespace_options: Some(v1::NamespaceOption { pid: 1, ..Default::default() }),
        masked_paths: words(&["/proc/kcore"]),
        no_new_privs: true,
        ..Default::default()
    };
    let message = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: "busybox".into(), ..Default::default() }),
        command: words(&["sleep", "1"]),
        linux: Some(v1::LinuxContainerConfig { security_context: Some(context), ..Default::default() }),
        ..Default::default()
    };
    let w = World { config: ContainerConfig::from_cri(message).unwrap(), ..world() };
    assert_eq!(w.args(), ["sleep", "1"]);
    assert_eq!(w.process().no_new_privileges(), Some(true));
    assert_eq!(w.namespace(LinuxNamespaceType::Pid), Some(None));
}

/// Root's ids of a user namespace, at `outside`.
fn users(outside: u32) -> Option<Mappings> {
    let range = vec![IdMapping { inside: 0, outside, length: 65536 }];
    Some(Mappings { uids: range.clone(), gids: range })
}

#[test]
fn a_user_namespace_is_the_pods() {
    let mut w = world();
    w.pod.security.namespaces.users = users(65536);
    let error = w.build().unwrap_err().to_string();
    assert!(error.starts_with("invalid config.linux.security_context.namespace_options.userns_options"), "{error}");
    w.config.security.namespaces.users = users(131_072);
    assert!(w.build().is_err());
    w.config.security.namespaces.users = users(65536);
    w.config.mounts = vec![config::Mount { users: users(65536), ..bind("/m", "/h") }, bind("/n", "/h")];
    let linux = w.linux();
    assert_eq!(linux.uid_mappings().as_ref().unwrap()[0].host_id(), 65536);
    assert_eq!(linux.gid_mappings(), linux.uid_mappings());
    let user = linux.namespaces().as_ref().unwrap().iter().find(|n| n.typ() == LinuxNamespaceType::User).unwrap();
    assert_eq!(user.path(), &None);
    assert_eq!(w.mount_at("/m").uid_mappings().as_ref().unwrap()[0].size(), 65536);
    assert_eq!(w.mount_at("/n").uid_mappings(), &None);
    assert_eq!(w.mount_at("/sys").typ().as_deref(), Some("sysfs"));
    w.pod.security.namespaces.network = PodNamespace::Node;
    let sys = w.mount_at("/sys");
    assert_eq!(sys.typ().as_deref(), Some("bind"));
    assert!(sys.options().as_ref().unwrap().contains(&"rro".to_owned()));
}

#[test]
fn whoever_is_nobody_in_the_user_namespace_cannot_run_in_it() {
    let mut w = world();
    w.pod.security.namespaces.users = users(65536);
    w.config.security.namespaces.users = users(65536);
    assert!(w.build().is_ok());
    for (user, field) in [
        (ResolvedUser { uid: 65536, ..w.user.clone() }, "run_as_user"),
        (ResolvedUser { gid: 70_000, ..w.user.clone() }, "run_as_group"),
        (ResolvedUser { additional_gids: vec![5, 65536], ..w.user.clone() }, "supplemental_groups"),
    ] {
        w.user = user;
        let error = w.build().unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid config.linux.security_context.{field} ")), "{error}");
    }
}
