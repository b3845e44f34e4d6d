//! `/proc` and `/sys`: what stands in for them, what is mounted in them, and what is written to them.

use std::fs;
use std::os::unix::fs::symlink;

use corten_cri::v1::*;
use corten_e2e::{
    image::Layer,
    pods::{self, with_security},
};
use serde_json::json;

use crate::world::{World, attack, attack_on, with_volume};

/// How many containers are started while an attacker is at work.
const STARTS: usize = 20;

/// Tells where a container's procfs and sysfs are, and everything mounted in procfs.
const SHOW: &str = "awk '{for (i = 7; $i != \"-\"; i++); if ($(i+1) == \"proc\" || $(i+1) == \"sysfs\" || $5 ~ \"^/proc\") \
    print $4, $5, $(i+1), $6}' /proc/self/mountinfo";

/// Asks for what the kubelet asks for, in short.
fn confined(container: ContainerConfig) -> ContainerConfig {
    with_security(container, |security| {
        security.masked_paths = vec!["/proc/keys".into()];
        security.readonly_paths = vec!["/proc/sys".into()];
    })
}

/// The container's procfs is its own, with its mask and its read-only part, and nothing else is mounted in it.
#[track_caller]
fn assert_genuine(log: &str) {
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    let at = |point: &str| lines.iter().filter(|fields| fields[1] == point).collect::<Vec<_>>();
    let expected = [("/proc", "/", "proc"), ("/sys", "/", "sysfs"), ("/proc/sys", "/sys", "proc")];
    for (point, root, kind) in expected {
        let [mount] = at(point)[..] else { panic!("{point}: {log}") };
        assert_eq!((mount[0], mount[2]), (root, kind), "{log}");
    }
    assert!(at("/proc/sys")[0][3].starts_with("ro,"), "{log}");
    assert_eq!(at("/proc/keys").len(), 1, "{log}");
    assert_eq!(lines.len(), 4, "{log}");
}

/// A volume with files in it as of a `/proc` that takes every label and applies none.
fn false_proc(world: &World<'_>) -> std::path::PathBuf {
    let volume = world.volume("false");
    for file in
        ["attr/exec", "attr/apparmor/exec", "self/attr/exec", "self/attr/apparmor/exec", "oom_score_adj", "exec"]
    {
        let file = volume.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
    volume
}

fn assert_untouched(volume: &std::path::Path) {
    for file in ["attr/exec", "self/attr/exec", "self/attr/apparmor/exec", "oom_score_adj"] {
        assert_eq!(fs::read_to_string(volume.join(file)).unwrap(), "", "{file} was written");
    }
}

/// CVE-2019-16884: an image declares a volume over `/proc`, or a container has one mounted there or in it, so that the
/// label of an LSM, and everything else that the launcher writes to its own `/proc`, goes to an ordinary file; the masks
/// lie on ordinary files then, too.
#[test]
fn cve_2019_16884_nothing_is_mounted_over_procfs() {
    attack(async |world| {
        let volume = false_proc(&world);
        let links = Layer::new().symlink("to-proc", "/proc").symlink("to-self", "to-proc/../proc/self").dir("d", 0o755);
        let declared = json!({"Volumes": {"/proc": {}, "/proc/self/attr": {}, "/to-self": {}, "/to-proc/sys": {}}});
        let image = world.image("declares", links, declared).await;
        let log = world.attempt(&confined(pods::script("declared", &image, SHOW))).await.unwrap();
        assert_genuine(&log);
        for destination in [
            "/proc",
            "/to-proc",
            "/proc/self/attr",
            "/to-self",
            "/to-self/attr",
            "/proc/sys",
            "/d/../proc/1",
            "/proc/keys",
        ] {
            let container = with_volume(confined(pods::script("over", &image, "echo ran")), &volume, destination);
            let outcome = world.attempt(&container).await;
            assert!(
                outcome.as_ref().is_err_and(|refused| refused.message().contains("/proc")),
                "{destination}: {outcome:?}"
            );
        }
        let file = with_volume(
            confined(pods::script("file", &image, "echo ran")),
            &volume.join("exec"),
            "/proc/self/attr/exec",
        );
        world.attempt(&file).await.unwrap_err();
        assert_untouched(&volume);
    });
}

/// CVE-2023-27561 (CVE-2019-19921 come back): the image's `/proc` is a link into a volume in which another container
/// exchanges directories, so that procfs is mounted in one, and its masks and read-only paths are applied to the other.
#[test]
fn cve_2023_27561_procfs_is_not_mounted_through_a_link() {
    attack(async |world| {
        let volume = world.volume("contested");
        for name in ["level1", "level1~"] {
            fs::create_dir_all(volume.join(name).join("level2")).unwrap();
        }
        world.hostile(&["swap", "/evil/level1", "/evil/level1~"], &[(&volume, "/evil")]).await;
        let hostile = Layer::new().dir("evil/level1/level2", 0o755).symlink("proc", "/evil/level1/level2");
        let image = world.image_of("level2", hostile).await;
        for number in 0..STARTS {
            let container = confined(pods::script(&format!("victim-{number}"), &image, "echo ran"));
            let refused = world.attempt(&with_volume(container, &volume, "/evil")).await.unwrap_err();
            assert!(refused.message().contains("/proc"), "{refused}");
        }
        for name in ["level1/level2", "level1~/level2"] {
            assert_eq!(fs::read_dir(volume.join(name)).unwrap().count(), 0);
        }
    });
}

/// CVE-2023-28642: the image's `/proc` (or `/sys`) is a link to a directory of its own, where false files take what the
/// launcher writes: no AppArmor profile is applied. The same for `/dev`, whose null device masks are made of.
#[test]
fn cve_2023_28642_proc_and_sys_are_no_links() {
    attack(async |world| {
        let volume = false_proc(&world);
        for (name, link) in
            [("proc", "/false"), ("sys", "/false"), ("proc", "false/self/.."), ("sys", "/proc"), ("dev", "/false")]
        {
            let layer = Layer::new().dir("false", 0o755).dir("false/self", 0o755).symlink(name, link);
            let image = world.image_of(&format!("linked-{name}"), layer).await;
            for mounted in [false, true] {
                let container = confined(pods::script("victim", &image, "echo ran"));
                let container = if mounted { with_volume(container, &volume, "/false") } else { container };
                let outcome = world.attempt(&container).await;
                let named = format!("/{name}");
                assert!(
                    outcome.as_ref().is_err_and(|refused| refused.message().contains(&named)),
                    "{name}: {outcome:?}"
                );
            }
        }
        assert_untouched(&volume);
        assert!(!volume.join("null").exists(), "devices were made in a volume");
    });
}

/// CVE-2025-52881: what the launcher writes to procfs (labels, `oom_score_adj`, sysctls) is redirected to another file of
/// procfs, which being one passes for genuine: by a volume mounted in `/proc`, at a destination that another container
/// exchanges for a link to there. What was written to `/proc/self/attr/exec` could crash the node as
/// `/proc/sysrq-trigger`, and a sysctl's value break out as `/proc/sys/kernel/core_pattern`.
#[test]
fn cve_2025_52881_what_is_written_to_procfs_arrives() {
    let sysctls = |config: &mut PodSandboxConfig| {
        let sysctls = [("net.ipv4.ip_forward", "1"), ("kernel.shmmax", "123456")];
        let sysctls = sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        config.linux.as_mut().unwrap().sysctls = sysctls;
    };
    attack_on(sysctls, async |world| {
        let pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        let before = pattern();
        // Links to other files of procfs, in the names of those that are written.
        let redirecting = world.volume("redirecting");
        for name in ["exec", "oom_score_adj", "ip_forward", "shmmax"] {
            symlink("/proc/self/sched", redirecting.join(name)).unwrap();
        }
        let contested = world.volume("contested");
        fs::create_dir_all(contested.join("place/attr")).unwrap();
        fs::create_dir_all(contested.join("place/sys/net/ipv4")).unwrap();
        symlink("/proc/self", contested.join("link")).unwrap();
        world.hostile(&["swap", "/vol/place", "/vol/link"], &[(&contested, "/vol")]).await;
        let image = world.image_of("raced", Layer::new().symlink("self", "/proc/self").dir("vol", 0o755)).await;
        let script =
            format!("{SHOW}; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/self/oom_score_adj");
        let mut started = 0;
        for number in 0..STARTS {
            let container = confined(pods::script(&format!("victim-{number}"), &image, &script));
            let container = with_volume(container, &contested, "/vol");
            let container = with_volume(container, &redirecting, "/vol/place/attr");
            let Ok(log) = world.attempt(&container).await else { continue };
            started += 1;
            let (written, mounts): (Vec<_>, Vec<_>) = log.lines().partition(|line| line.parse::<u64>().is_ok());
            assert_eq!(written, ["1", "123456", "1000"], "start {number}");
            assert_genuine(&mounts.join("\n"));
        }
        assert!(started > 0, "no container was started");
        for destination in
            ["/proc/sys/net/ipv4", "/proc/sys/kernel", "/self/attr", "/proc/thread-self/attr", "/proc/1/attr"]
        {
            let container = with_volume(confined(pods::script("over", &image, "echo ran")), &redirecting, destination);
            world.attempt(&container).await.unwrap_err();
        }
        assert_eq!(before, pattern());
    });
}
