#![allow(clippy::unwrap_used, clippy::panic)]
use proptest::prelude::*;

use std::path::Path;

use super::*;
use crate::error::Error;
use crate::security::SecurityProfile;

fn minimal() -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".into(), attempt: 1 }),
        image: Some(v1::ImageSpec { image: "sha256:abc".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn with(change: impl FnOnce(&mut v1::ContainerConfig)) -> v1::ContainerConfig {
    let mut config = minimal();
    change(&mut config);
    config
}

fn mount(change: impl FnOnce(&mut v1::Mount)) -> v1::ContainerConfig {
    let mut mount = v1::Mount { container_path: "/m".into(), host_path: "/h".into(), ..Default::default() };
    change(&mut mount);
    with(|config| config.mounts = vec![mount])
}

fn device(change: impl FnOnce(&mut v1::Device)) -> v1::ContainerConfig {
    let mut device =
        v1::Device { container_path: String::new(), host_path: "/dev/null".into(), permissions: "rw".into() };
    change(&mut device);
    with(|config| config.devices = vec![device])
}

fn security(change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> v1::ContainerConfig {
    let mut context = v1::LinuxContainerSecurityContext::default();
    change(&mut context);
    let linux = v1::LinuxContainerConfig { security_context: Some(context), ..Default::default() };
    with(|config| config.linux = Some(linux))
}

fn capability(change: impl FnOnce(&mut v1::Capability)) -> v1::ContainerConfig {
    security(|security| change(security.capabilities.get_or_insert_default()))
}

fn namespaces(change: impl FnOnce(&mut v1::NamespaceOption)) -> v1::ContainerConfig {
    security(|security| change(security.namespace_options.get_or_insert_default()))
}

fn resources(change: impl FnOnce(&mut v1::LinuxContainerResources)) -> v1::ContainerConfig {
    let mut resources = v1::LinuxContainerResources::default();
    change(&mut resources);
    let linux = v1::LinuxContainerConfig { resources: Some(resources), ..Default::default() };
    with(|config| config.linux = Some(linux))
}

fn profile(profile_type: i32, reference: &str) -> Option<v1::SecurityProfile> {
    Some(v1::SecurityProfile { profile_type, localhost_ref: reference.into() })
}

fn users(mode: i32, length: u32) -> Option<v1::UserNamespace> {
    let ids = vec![v1::IdMapping { host_id: 1, container_id: 0, length }];
    Some(v1::UserNamespace { mode, uids: ids.clone(), gids: ids })
}

fn selinux(kind: &str) -> Option<v1::SeLinuxOption> {
    Some(v1::SeLinuxOption { r#type: kind.into(), ..Default::default() })
}

/// A list of one name that is none.
fn none() -> Vec<String> {
    vec![String::new()]
}

fn env(key: &str, value: &[u8]) -> v1::ContainerConfig {
    with(|config| config.envs = vec![v1::KeyValue { key: key.into(), value: value.into() }])
}

#[test]
fn a_minimal_container_is_all_defaults_with_the_usual_masks() {
    let got = ContainerConfig::from_cri(minimal()).unwrap();
    assert_eq!(got.metadata, ContainerMetadata { name: "main".into(), attempt: 1 });
    assert!(got.security.masked_paths.contains(&PathBuf::from("/proc/kcore")));
    assert!(got.security.readonly_paths.contains(&PathBuf::from("/proc/sys")));
    assert_eq!((got.stdin, got.tty, got.stop_signal), (Stdin::Null, false, None));
    assert_eq!(got.resources, Resources::default());
}

#[test]
fn empty_lists_of_masks_in_a_security_context_mean_none() {
    let got = ContainerConfig::from_cri(security(|_| ())).unwrap();
    assert!(got.security.masked_paths.is_empty() && got.security.readonly_paths.is_empty());
}

#[test]
fn everything_said_is_kept() {
    let mut message = security(|s| {
        s.run_as_username = "app".into();
        s.run_as_group = Some(v1::Int64Value { value: 9 });
        s.no_new_privs = true;
        s.readonly_rootfs = true;
        s.masked_paths = vec!["/proc/kcore".into()];
        s.capabilities = Some(v1::Capability { add_capabilities: vec!["ALL".into()], ..Default::default() });
        s.seccomp = Some(v1::SecurityProfile { profile_type: 2, localhost_ref: "/p.json".into() });
        s.apparmor_profile = "runtime/default".into();
    });
    message.command = vec!["/bin/sh".into()];
    message.args = vec!["-c".into(), String::new()];
    message.working_dir = "/a/../b".into();
    message.envs = vec![v1::KeyValue { key: "A".into(), value: "é=1".into() }];
    message.mounts = vec![v1::Mount {
        container_path: "/m/./x/".into(),
        host_path: "/h//x".into(),
        readonly: true,
        recursive_read_only: true,
        mount_options: ["nosuid", "noexec", "nosuid"].map(str::to_owned).into(),
        ..Default::default()
    }];
    message.devices =
        vec![v1::Device { container_path: String::new(), host_path: "/dev/kvm".into(), permissions: "mrw".into() }];
    message.log_path = "main/0.log".into();
    message.stdin = true;
    message.stdin_once = true;
    message.tty = true;
    message.stop_signal = v1::Signal::Sigrtminplus3 as i32;
    let got = ContainerConfig::from_cri(message).unwrap();
    assert_eq!(got.working_dir.as_deref(), Some(Path::new("/b")));
    assert_eq!(got.envs, [("A".to_owned(), "é=1".to_owned())]);
    let mounts: Vec<_> = got.mounts.iter().map(|m| (m.container_path.as_path(), m.source.clone(), m.access)).collect();
    let source = Source::Host("/h/x".into());
    assert_eq!(mounts, [(Path::new("/m/x"), source, MountAccess::RecursiveReadOnly)]);
    assert_eq!(got.mounts[0].options, [MountOption::NoSuid, MountOption::NoExec]);
    assert!(got.devices.iter().all(|device| device.container_path == Path::new("/dev/kvm")));
    assert_eq!((got.stdin, got.stop_signal.as_ref().map(StopSignal::name)), (Stdin::Once, Some("SIGRTMIN+3")));
    assert_eq!(got.security.run_as, Some(RunAs::Name("app".into())));
    assert_eq!(got.security.apparmor, Some(SecurityProfile::RuntimeDefault));

    let record = serde_json::to_string(&got).unwrap();
    assert_eq!(serde_json::from_str::<ContainerConfig>(&record).unwrap(), got);
    let pod = PodConfig { log_directory: Some("/var/log/pods/p".into()), ..Default::default() };
    assert_eq!(got.log_file(&pod).unwrap(), Path::new("/var/log/pods/p/main/0.log"));
    assert_eq!(got.log_file(&PodConfig::default()), None);
}

#[test]
fn stdin_once_without_stdin_means_nothing() {
    assert_eq!(ContainerConfig::from_cri(with(|c| c.stdin_once = true)).unwrap().stdin, Stdin::Null);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let windows = v1::WindowsContainerResources { cpu_shares: 1, ..Default::default() };
    let windows = v1::WindowsContainerConfig { resources: Some(windows), security_context: None };
    let context = "config.linux.security_context";
    let id = |value| Some(v1::Int64Value { value });
    let cases = [
        ("config.metadata", with(|c| c.metadata = None)),
        ("config.metadata.name", with(|c| c.metadata = Some(v1::ContainerMetadata::default()))),
        ("config.image.image", with(|c| c.image = None)),
        ("config.command[0]", with(|c| c.command = vec!["a\0b".into()])),
        ("config.args[1]", with(|c| c.args = vec!["a".into(), "x".repeat(200_000)])),
        ("config.working_dir", with(|c| c.working_dir = "relative".into())),
        ("config.envs[0].key", env("", b"x")),
        ("config.envs[0].key", env("A=B", b"x")),
        ("config.envs[0].value", env("A", b"x\0y")),
        ("config.envs[0].value", env("A", b"\xff\xfe")),
        ("config.labels", with(|c| drop(c.labels.insert("k".into(), "v".repeat(5000))))),
        ("config.log_path", with(|c| c.log_path = "/abs".into())),
        ("config.log_path", with(|c| c.log_path = "a/../../b".into())),
        ("config.stop_signal", with(|c| c.stop_signal = 66)),
        ("config.windows", with(|c| c.windows = Some(windows))),
        ("config.mounts[0].container_path", mount(|m| m.container_path = "relative".into())),
        ("config.mounts[0].container_path", mount(|m| m.container_path = "/a/..".into())),
        ("config.mounts[0].host_path", mount(|m| m.host_path.clear())),
        ("config.mounts[0].host_path", mount(|m| m.host_path = "/a/../b".into())),
        ("config.mounts[0].propagation", mount(|m| m.propagation = 3)),
        ("config.mounts[0].recursive_read_only", mount(|m| m.recursive_read_only = true)),
        (
            "config.mounts[0].recursive_read_only",
            mount(|m| {
                (m.recursive_read_only, m.readonly, m.propagation) = (true, true, 1);
            }),
        ),
        ("config.devices[0].host_path", device(|d| d.host_path = "null".into())),
        ("config.devices[0].permissions", device(|d| d.permissions = "rwx".into())),
        ("config.devices[0].permissions", device(|d| d.permissions = "rr".into())),
        ("config.devices[0].permissions", device(|d| d.permissions.clear())),
        (&format!("{context}.run_as_user"), security(|s| s.run_as_user = id(1 << 32))),
        (&format!("{context}.run_as_username"), security(|s| (s.run_as_user, s.run_as_username) = (id(1), "a".into()))),
        (&format!("{context}.run_as_group"), security(|s| s.run_as_group = id(1))),
        (&format!("{context}.masked_paths[0]"), security(|s| s.masked_paths = vec!["proc".into()])),
        (&format!("{context}.seccomp_profile_path"), security(|s| s.seccomp_profile_path = "default".into())),
        (
            &format!("{context}.seccomp.localhost_ref"),
            security(|s| {
                s.seccomp = Some(v1::SecurityProfile { profile_type: 2, localhost_ref: String::new() });
            }),
        ),
        (
            &format!("{context}.namespace_options.ipc"),
            security(|s| {
                s.namespace_options = Some(v1::NamespaceOption { ipc: 8, ..Default::default() });
            }),
        ),
        (&format!("{context}.supplemental_groups_policy"), security(|s| s.supplemental_groups_policy = -1)),
        (&format!("{context}.run_as_group"), security(|s| (s.run_as_user, s.run_as_group) = (id(1), id(-1)))),
        (&format!("{context}.supplemental_groups[1]"), security(|s| s.supplemental_groups = vec![1, -1])),
        (&format!("{context}.readonly_paths[0]"), security(|s| s.readonly_paths = vec![String::new()])),
        (&format!("{context}.capabilities.add_capabilities[0]"), capability(|c| c.add_capabilities = none())),
        (&format!("{context}.capabilities.drop_capabilities[0]"), capability(|c| c.drop_capabilities = none())),
        (
            &format!("{context}.capabilities.add_ambient_capabilities[0]"),
            capability(|c| c.add_ambient_capabilities = none()),
        ),
        (&format!("{context}.namespace_options.network"), namespaces(|n| n.network = 1)),
        (&format!("{context}.namespace_options.pid"), namespaces(|n| n.pid = 4)),
        (&format!("{context}.namespace_options.target_id"), namespaces(|n| n.target_id = "x".into())),
        (&format!("{context}.namespace_options.target_id"), namespaces(|n| n.pid = 3)),
        (&format!("{context}.namespace_options.userns_options.mode"), namespaces(|n| n.userns_options = users(3, 1))),
        (&format!("{context}.namespace_options.userns_options.uids"), namespaces(|n| n.userns_options = users(0, 0))),
        (&format!("{context}.selinux_options.type"), security(|s| s.selinux_options = selinux("a:b"))),
        (&format!("{context}.seccomp.profile_type"), security(|s| s.seccomp = profile(3, ""))),
        (&format!("{context}.seccomp.localhost_ref"), security(|s| s.seccomp = profile(0, "x"))),
        (&format!("{context}.apparmor.profile_type"), security(|s| s.apparmor = profile(-1, ""))),
        (&format!("{context}.apparmor.localhost_ref"), security(|s| s.apparmor = profile(2, ""))),
        (&format!("{context}.apparmor_profile"), security(|s| s.apparmor_profile = "mine".into())),
        ("config.linux.resources.cpu_shares", resources(|r| r.cpu_shares = -1)),
        ("config.linux.resources.cpu_quota", resources(|r| r.cpu_quota = 1)),
        ("config.linux.resources.memory_swap_limit_in_bytes", resources(|r| r.memory_swap_limit_in_bytes = 1)),
        ("config.linux.resources.unified", resources(|r| drop(r.unified.insert("cgroup.procs".into(), "1".into())))),
        (
            "config.image.annotations",
            with(|c| c.image.as_mut().unwrap().annotations = [(String::new(), "v".into())].into()),
        ),
        ("config.image.user_specified_image", with(|c| c.image.as_mut().unwrap().user_specified_image = "\0".into())),
        ("config.image.image_ref", with(|c| c.image.as_mut().unwrap().image_ref = "x".repeat(2000))),
        ("config.annotations", with(|c| drop(c.annotations.insert("k".into(), "v".repeat(2 << 20))))),
        ("config.devices[0].container_path", device(|d| d.container_path = "mine".into())),
        ("config.devices[0].host_path", device(|d| d.host_path = "/dev/../etc".into())),
    ];
    for (field, message) in cases {
        let error = ContainerConfig::from_cri(message).unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert!(error.to_string().starts_with(&format!("invalid {field} ")), "{field}: {error}");
    }
}

#[test]
fn mapped_mounts_have_users_and_groups() {
    let mapping = |length| vec![v1::IdMapping { host_id: 1, container_id: 0, length }];
    let read = |uids: Vec<v1::IdMapping>, gids: Vec<v1::IdMapping>| {
        ContainerConfig::from_cri(mount(|m| (m.uid_mappings, m.gid_mappings) = (uids, gids)))
    };
    let config = read(mapping(1), mapping(2)).unwrap();
    assert_eq!(config.mounts.first().unwrap().users.as_ref().unwrap().root(), Some((1, 1)));
    assert_eq!(read(Vec::new(), Vec::new()).unwrap().mounts.first().unwrap().users, None);
    for (uids, gids, field) in [
        (mapping(1), Vec::new(), "gidMappings"),
        (Vec::new(), mapping(1), "uidMappings"),
        (mapping(0), mapping(1), "uidMappings"),
        (mapping(1), mapping(u32::MAX), "gidMappings"),
        ([mapping(1), mapping(1)].concat(), mapping(1), "uidMappings"),
    ] {
        let error = read(uids, gids).unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid config.mounts[0].{field} ")), "{error}");
    }
}

#[test]
fn what_is_not_done_yet_is_refused_when_asked_for() {
    let cases = [(
        "config.CDI_devices \"vendor.com/gpu=0\"",
        with(|c| c.cdi_devices = vec![v1::CdiDevice { name: "vendor.com/gpu=0".into() }]),
    )];
    for (field, message) in cases {
        let error = ContainerConfig::from_cri(message).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{field}: {error}");
    }
}

proptest! {
    #[test]
    fn a_log_never_escapes_its_directory(path in "[a./]{0,24}") {
        let pod = PodConfig { log_directory: Some("/logs".into()), ..Default::default() };
        let config = ContainerConfig::from_cri(with(|c| c.log_path = path));
        if let Some(file) = config.ok().and_then(|config| config.log_file(&pod)) {
            prop_assert!(file.starts_with("/logs") && file != Path::new("/logs"));
            prop_assert!(!file.components().any(|part| part.as_os_str() == ".."));
        }
    }

    #[test]
    fn no_environment_makes_it_panic(key in any::<String>(), value in any::<Vec<u8>>()) {
        if let Ok(config) = ContainerConfig::from_cri(env(&key, &value)) {
            prop_assert!(config.envs.iter().all(|(key, value)| !key.contains(['=', '\0']) && !value.contains('\0')));
        }
    }
}

#[test]
fn mount_options_that_allow_more_or_contradict_are_refused() {
    let of = |options: &[&str]| {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        ContainerConfig::from_cri(mount(|m| m.mount_options = options)).map(|config| config.mounts[0].options.len())
    };
    assert_eq!(of(&["noexec", "nodev", "nosuid", "noatime", "nodiratime"]).unwrap(), 5);
    assert_eq!(of(&["relatime", "relatime"]).unwrap(), 1);
    for (options, at, why) in [
        (&["ro"][..], 0, "readonly"),
        (&["nosuid", "rro"], 1, "recursive_read_only"),
        (&["exec"], 0, "allow"),
        (&["suid"], 0, "allow"),
        (&["dev"], 0, "allow"),
        (&["rshared"], 0, "propagation"),
        (&["slave"], 0, "propagation"),
        (&["rbind"], 0, "every mount"),
        (&["noexec", "noatime", "strictatime"], 2, "contradicts \"noatime\""),
        (&["NOEXEC"], 0, "must be one of noexec"),
        (&["noexec,nosuid"], 0, "must be one of"),
        (&["remount"], 0, "must be one of"),
        (&["upperdir=/"], 0, "must be one of"),
        (&[""], 0, "must be one of"),
    ] {
        let error = of(options).unwrap_err().to_string();
        let expected = format!("invalid config.mounts[0].mount_options[{at}] {:?}: ", options[at]);
        assert!(error.starts_with(&expected) && error.contains(why), "{error}");
    }
}

fn image(change: impl FnOnce(&mut v1::Mount)) -> v1::ContainerConfig {
    mount(|m| {
        m.host_path.clear();
        m.readonly = true;
        m.image = Some(v1::ImageSpec { image: "data".into(), ..Default::default() });
        change(m);
    })
}

#[test]
fn images_are_mounted_read_only_with_a_part_of_them_if_asked() {
    for (asked, sub_path) in [("", None), (".", None), ("a", Some("a")), ("./a//b/", Some("a/b"))] {
        let got = ContainerConfig::from_cri(image(|m| m.image_sub_path = asked.into())).unwrap();
        let found = got.mounts[0].image().unwrap();
        assert_eq!((found.spec.image.as_str(), found.sub_path.as_deref()), ("data", sub_path.map(Path::new)));
        let record = serde_json::to_string(&got).unwrap();
        assert_eq!(serde_json::from_str::<ContainerConfig>(&record).unwrap(), got);
    }
    let cases = [
        ("readonly", image(|m| m.readonly = false)),
        ("host_path", image(|m| m.host_path = "/h".into())),
        ("propagation", image(|m| m.propagation = v1::MountPropagation::PropagationBidirectional.into())),
        ("image.image", image(|m| m.image.as_mut().unwrap().image.clear())),
        ("image_sub_path", image(|m| m.image_sub_path = "../a".into())),
        ("image_sub_path", image(|m| m.image_sub_path = "/a".into())),
        ("image_sub_path", mount(|m| m.image_sub_path = "a".into())),
    ];
    for (field, mut message) in cases {
        if field == "image.image" {
            message.mounts[0].image.as_mut().unwrap().image_ref = "x".into();
        }
        let error = ContainerConfig::from_cri(message).unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid config.mounts[0].{field} ")), "{field}: {error}");
    }
}

#[test]
fn a_mount_that_was_recorded_before_there_were_images_is_read() {
    let mount: Mount = serde_json::from_str(r#"{"container_path": "/m", "host_path": "/h"}"#).unwrap();
    assert_eq!(mount.source, Source::Host("/h".into()));
}
