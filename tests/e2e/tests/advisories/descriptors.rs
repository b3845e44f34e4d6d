//! Descriptors and working directories that lead out.

use corten_e2e::{cri::until, image::Layer, pods};
use serde_json::json;

use crate::world::{attack_on, sharing_pids, with_volume};

/// The descriptors that the launcher could have left open.
const DESCRIPTORS: std::ops::Range<u32> = 3..16;

/// Tells of a process what its descriptors are, the mounts that the first three are on, and which mounts it has.
const SHOW: &str = "set -- $(pidof $NAME); at=/proc/$1; ls -l $at/fd | sed -n 's/.* \\([0-9]*\\) -> /fd \\1 /p'; \
    for fd in 0 1 2; do awk -v fd=$fd '/^mnt_id/ {print \"on\", fd, $2}' $at/fdinfo/$fd; done; \
    awk '{print \"mount\", $1}' $at/mountinfo";

/// Makes the working directory of the container, and so of every exec, a link to a descriptor: to each that is asked for.
const RELINK: &str = "while :; do number=$(cat /asked/number); [ \"$number\" = \"$done\" ] && continue; \
    rm -r /work; ln -s /proc/self/fd/$number /work; done=$number; echo linked $number; done";

/// Says whether the directory that one is in leads out of the container.
const OUT: &str =
    "pwd -P; ls ../../../../../.. | tr '\\n' ' '; cat ../../../../../../etc/hostname; ls -d /proc/1/cwd/.";

/// A process has nothing open but its three streams, and these are pipes, or files of the container's.
#[track_caller]
fn assert_nothing_of_the_node(shown: &str) {
    let lines = |word: &str| {
        let all = shown.lines().filter_map(|line| line.split_once(' ')).filter(|(first, _)| *first == word);
        all.map(|(_, rest)| rest.to_owned()).collect::<Vec<_>>()
    };
    let (descriptors, mounts) = (lines("fd"), lines("mount"));
    let numbers: Vec<&str> = descriptors.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{shown}");
    for (descriptor, on) in descriptors.iter().zip(lines("on")) {
        let inside =
            descriptor.contains("pipe:") || on.split(' ').nth(1).is_some_and(|id| mounts.iter().any(|m| m == id));
        assert!(inside, "{descriptor}, on mount {on}, is not the container's\n{shown}");
    }
}

/// CVE-2024-21626: a descriptor of a directory of the node's was open while a process entered a container, and a working
/// directory of `/proc/self/fd/7`, of the container, of the image or of an exec, was on the node then. So was what a
/// process in the container found behind the `/proc/<pid>/cwd` and `/proc/<pid>/fd` of one that entered it. An exec takes
/// the container's directory, which the container replaces by a link.
#[test]
fn cve_2024_21626_no_descriptor_leads_out() {
    attack_on(sharing_pids, async |world| {
        let layer = Layer::new().dir("work", 0o755).symlink("link", "/proc/self/fd/8");
        let image = world.image("links", layer, json!({"WorkingDir": "/link"})).await;
        let inside = |directory: String| {
            let mut container = pods::script("init", &image, OUT);
            container.working_dir = directory;
            container
        };
        for number in DESCRIPTORS {
            let outcome = world.attempt(&inside(format!("/proc/self/fd/{number}"))).await;
            assert!(outcome.is_err(), "{number}: {outcome:?}");
        }
        // The empty one is the image's.
        for directory in ["/proc/self/fd/8/etc", "/link", "/link/etc", "/proc/self/cwd", ""] {
            let outcome = world.attempt(&inside(directory.to_owned())).await;
            assert!(outcome.is_err(), "{directory:?}: {outcome:?}");
        }

        let asked = world.volume("asked");
        std::fs::write(asked.join("number"), "").unwrap();
        let mut container = with_volume(pods::script("exec", &image, RELINK), &asked, "/asked");
        container.working_dir = "/work".into();
        let id = world.start(&container).await;
        for number in DESCRIPTORS {
            std::fs::write(asked.join("next"), number.to_string()).unwrap();
            std::fs::rename(asked.join("next"), asked.join("number")).unwrap();
            let linked = format!("linked {number}\n");
            until("the link", async || world.said(&id).await.contains(&linked).then_some(())).await;
            let outcome = world.lab.cri.exec_sync(&id, &["/bin/sh", "-c", OUT], 10).await;
            assert!(outcome.is_err(), "{number}: {outcome:?}");
        }
        world.lab.cri.stop(&id, 0).await.unwrap();

        let watcher = world.hostile(&["watch"], &[]).await;
        let id = world.start(&pods::container("streams", &world.lab.busybox().await, &["/bin/sleep", "1000"])).await;
        let (cri, container) = (world.lab.cri.clone(), id.clone());
        let exec = tokio::spawn(async move { cri.exec_sync(&container, &["/bin/usleep", "1000000000"], 0).await });
        for name in ["sleep", "usleep"] {
            let show = SHOW.replace("$NAME", name);
            let shown = until("the process", async || {
                let output = world.lab.cri.exec(&id, &["/bin/sh", "-c", &show]).await;
                (output.code == 0).then_some(output.stdout)
            });
            assert_nothing_of_the_node(&shown.await);
        }
        world.assert_nothing_reached(&watcher, &id).await;
        world.lab.cri.stop(&id, 0).await.unwrap();
        // Killed with its container, perhaps before anybody saw how.
        let _ = exec.await.unwrap();
    });
}
