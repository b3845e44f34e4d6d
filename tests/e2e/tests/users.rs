//! Pods with user namespaces: who is root inside is nobody on the node.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_security},
};
use tonic::Code;

for_each_launcher!(
    root_inside_is_nobody_on_the_node,
    two_pods_of_one_image_have_ids_of_their_own,
    a_terminal_is_the_users,
    everything_goes_on_after_a_restart,
    the_nodes_network_can_be_had,
    what_does_not_fit_is_refused,
);

/// The first id outside of most pods here.
const OUTSIDE: u32 = 0x0010_0000;

fn ids(outside: u32) -> Vec<IdMapping> {
    vec![IdMapping { host_id: outside, container_id: 0, length: 65536 }]
}

fn users(outside: u32) -> Option<UserNamespace> {
    Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids(outside), gids: ids(outside) })
}

fn pod(lab: &Lab, name: &str, outside: u32) -> PodSandboxConfig {
    pods::with_namespaces(lab.pod(name), |namespaces| namespaces.userns_options = users(outside))
}

fn within(container: ContainerConfig, outside: u32) -> ContainerConfig {
    with_security(container, |security| {
        security.namespace_options.get_or_insert_default().userns_options = users(outside);
    })
}

/// A file of a container's writable layer, on the node.
fn written(lab: &Lab, id: &str, path: &str) -> PathBuf {
    lab.paths.root().join("images/s").join(id).join("u").join(path)
}

fn owner(path: &std::path::Path) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.uid(), metadata.gid())
}

fn root_inside_is_nobody_on_the_node(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let mut config = pod(lab, "users", OUTSIDE);
        config.linux.as_mut().unwrap().sysctls =
            [("net.ipv4.ip_forward".to_owned(), "1".to_owned()), ("kernel.shmmax".to_owned(), "123456".to_owned())]
                .into();
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &within(pods::sleeper("c", &image), OUTSIDE)).await;
        let shell = async |script: &str| lab.cri.shell(&id, script).await;
        let map = format!("0 {OUTSIDE} 65536");
        for file in ["uid_map", "gid_map"] {
            for process in ["1", "self"] {
                let shown = shell(&format!("cat /proc/{process}/{file}")).await;
                assert_eq!(shown.split_whitespace().collect::<Vec<_>>().join(" "), map);
            }
        }
        assert_eq!(shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax").await, "1\n123456\n");
        let stat = "stat -c %u:%g / /bin/busybox /dev /dev/shm /etc/hosts /etc/resolv.conf /proc/1";
        assert!(shell(stat).await.lines().all(|line| line == "0:0"), "{}", shell(stat).await);
        shell("touch /root-made /dev/shm/made; touch /user-made; chown 7:8 /user-made; echo > /dev/null").await;
        assert_eq!(owner(&written(lab, &id, "root-made")), (OUTSIDE, OUTSIDE));
        assert_eq!(owner(&written(lab, &id, "user-made")), (OUTSIDE + 7, OUTSIDE + 8));
        // The pod's network is its root's; the node's kernel is not.
        assert_eq!(shell("timeout 1 nc -l -p 80 < /dev/null 2> /dev/null; echo $?").await, "143\n");
        let outside =
            "echo 1 > /proc/sys/kernel/panic || echo no; mount -t tmpfs x /mnt || echo no; mknod /n b 8 0 || echo no";
        assert_eq!(shell(&format!("({outside}) 2>/dev/null")).await, "no\nno\nno\n");
        let stats = lab.cri.stats(&id).await.expect("stats");
        assert!(stats.memory.is_some());
    });
}

fn two_pods_of_one_image_have_ids_of_their_own(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        for (name, outside) in [("one", OUTSIDE), ("two", OUTSIDE + 65536)] {
            let config = pod(lab, name, outside);
            let pod = lab.run_pod(&config).await;
            let id = lab.start(&pod, &config, &within(pods::sleeper("c", &image), outside)).await;
            assert_eq!(lab.cri.shell(&id, "touch /made; stat -c %u /bin/busybox /made").await, "0\n0\n");
            assert_eq!(owner(&written(lab, &id, "made")), (outside, outside));
        }
        let config = lab.pod("plain");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        assert_eq!(lab.cri.shell(&id, "stat -c %u /bin/busybox").await, "0\n");
    });
}

fn a_terminal_is_the_users(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = pod(lab, "terminal", OUTSIDE);
        let pod = lab.run_pod(&config).await;
        let script = "tty; stat -c %u $(tty); echo again > /dev/stdout; echo x > $(tty)";
        let mut container = within(pods::script("c", &image, script), OUTSIDE);
        container.tty = true;
        let container = with_security(container, |security| security.run_as_user = Some(Int64Value { value: 1000 }));
        let said = lab.run_to_end(&pod, &config, &container).await.1.replace('\r', "");
        assert_eq!(said, "/dev/pts/0\n1000\nagain\nx\n");
    });
}

fn everything_goes_on_after_a_restart(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = pods::with_namespaces(pod(lab, "restart", OUTSIDE), |n| n.pid = NamespaceMode::Pod as i32);
        let pod = lab.run_pod(&config).await;
        let shared = |name: &str| {
            with_security(within(pods::sleeper(name, &image), OUTSIDE), |security| {
                security.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod as i32;
            })
        };
        let old = lab.start(&pod, &config, &shared("old")).await;
        lab.crash_and_restart().await;
        let new = lab.start(&pod, &config, &shared("new")).await;
        let [own, other] = ["self", "1"].map(|process| format!("readlink /proc/{process}/ns/user || true"));
        let of_new = lab.cri.shell(&new, &own).await;
        assert_eq!(lab.cri.shell(&old, &own).await, of_new);
        assert!(["", of_new.as_str()].contains(&lab.cri.shell(&new, &other).await.as_str()));
        assert_eq!(lab.cri.shell(&old, "id -u; stat -c %u /proc/1").await, "0\n0\n");
    });
}

fn the_nodes_network_can_be_had(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let host = |namespaces: &mut NamespaceOption| namespaces.network = NamespaceMode::Node as i32;
        let config = pods::with_namespaces(pod(lab, "host", OUTSIDE), host);
        let pod = lab.run_pod(&config).await;
        let container = with_security(within(pods::sleeper("c", &image), OUTSIDE), |security| {
            host(security.namespace_options.get_or_insert_default());
        });
        let id = lab.start(&pod, &config, &container).await;
        let net = lab.cri.shell(&id, "readlink /proc/self/ns/net").await;
        assert_eq!(net.trim(), fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string());
        assert!(lab.cri.shell(&id, "cat /proc/self/uid_map").await.contains(&OUTSIDE.to_string()));
        assert!(lab.cri.shell(&id, "ls /sys/class/net").await.contains("lo"));
        assert_eq!(lab.cri.shell(&id, "(ip link set lo mtu 1400 || echo no) 2>/dev/null").await, "no\n");
    });
}

fn what_does_not_fit_is_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let field = "namespace_options.userns_options";
        let two = pods::with_namespaces(lab.pod("bad"), |namespaces| {
            namespaces.userns_options = users(OUTSIDE);
            namespaces.userns_options.as_mut().unwrap().uids.extend(ids(1000));
        });
        assert_refused(lab.cri.run_pod(&two, "").await, Code::InvalidArgument, &[field, "uids"]);
        let processes = pods::with_namespaces(pod(lab, "bad", OUTSIDE), |n| n.pid = NamespaceMode::Node as i32);
        assert_refused(lab.cri.run_pod(&processes, "").await, Code::InvalidArgument, &["namespace_options.pid"]);
        let config = pod(lab, "users", OUTSIDE);
        let pod = lab.run_pod(&config).await;
        for container in [pods::sleeper("c", &image), within(pods::sleeper("c", &image), OUTSIDE + 1)] {
            assert_refused(lab.cri.create(&pod, &config, &container).await, Code::InvalidArgument, &[field]);
        }
        let stranger = with_security(within(pods::sleeper("c", &image), OUTSIDE), |security| {
            security.run_as_user = Some(Int64Value { value: 65536 });
        });
        assert_refused(lab.cri.create(&pod, &config, &stranger).await, Code::InvalidArgument, &["run_as_user"]);
    });
}

/// A container with a volume whose ids are mapped as its pod's are.
fn with_volume(image: &str, volume: &str) -> ContainerConfig {
    let script = "stat -c %u:%g /v /v/old; touch /v/new; chown 7:8 /v/new; stat -c %u:%g /v/new";
    let mut container = pods::with_mount(within(pods::script("c", image, script), OUTSIDE), volume, "/v", false);
    let mount = container.mounts.first_mut().unwrap();
    mount.uid_mappings = ids(OUTSIDE);
    mount.gid_mappings = ids(OUTSIDE);
    container
}

fn volume(lab: &Lab) -> PathBuf {
    let volume = lab.paths.dir.join("volume");
    fs::create_dir(&volume).unwrap();
    // Only the node's root comes here: it is the runtime that has to.
    fs::set_permissions(&lab.paths.dir, fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(volume.join("old"), "").unwrap();
    volume
}

#[test]
fn a_volume_stores_the_ids_of_the_inside() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = pod(lab, "volume", OUTSIDE);
        let pod = lab.run_pod(&config).await;
        let volume = volume(lab);
        let container = with_volume(&image, &volume.display().to_string());
        let (status, said) = lab.run_to_end(&pod, &config, &container).await;
        assert_eq!((status.exit_code, said.as_str()), (0, "0:0\n0:0\n7:8\n"));
        assert_eq!(status.mounts[0].uid_mappings, ids(OUTSIDE));
        assert_eq!(owner(&volume.join("new")), (7, 8));
    });
}

/// Debian's runc would mount it as it is, without a word.
#[test]
fn a_runtime_that_cannot_map_a_volume_is_not_asked_to() {
    lab::test(Setup { handler: "runc", ..Default::default() }, async |lab| {
        let image = lab.busybox().await;
        let config = pod(lab, "volume", OUTSIDE);
        let pod = lab.run_pod(&config).await;
        let container = with_volume(&image, &volume(lab).display().to_string());
        let refused = lab.cri.create(&pod, &config, &container).await;
        assert_refused(refused, Code::Unimplemented, &["/v", "runc", "map the ids"]);
    });
}
