//! The launcher's own program.

use std::os::unix::fs::MetadataExt;

use corten_cri::v1::*;
use corten_e2e::{
    image::{Entry, Layer},
    pods, programs,
};
use tar::EntryType;

use crate::world::{World, attack_on, sharing_pids, with_libraries};

/// Waits for the process that runs the launcher's program, opens that, and writes to it. The shell ends where it cannot.
const OVERWRITE: &str = "until [ \"$target\" ]; do for process in /proc/[0-9]*; do \
    [ \"$(cat $process/comm 2>/dev/null)\" = plain ] && target=$process; done; done; \
    exec 9<$target/exe; echo opened; (echo overwritten >/proc/self/fd/9) 2>&1 && echo WRITTEN; echo >FIFO";

/// Programs that are the launcher's, and a FIFO that keeps the dynamic loader, which is to load it, from starting the
/// program.
fn hostile_layer() -> Layer {
    Layer::new()
        .dir("evil", 0o755)
        .symlink("evil/self", "/proc/self/exe")
        .file("evil/plain", 0o755, b"#!/proc/self/exe\n")
        .entry(&Entry { path: "evil/fifo", kind: EntryType::Fifo, mode: 0o666, ..Entry::default() })
}

/// What the node's programs are: when they were last changed, and the content of the one that launches.
fn programs_of_the_node() -> (Vec<(i64, i64, u64)>, Vec<u8>) {
    let metadata = ["cortend", "corten-monitor"].map(|name| programs::built(name).metadata().unwrap());
    let changed = metadata.iter().map(|of| (of.ctime(), of.ctime_nsec(), of.len())).collect();
    (changed, std::fs::read(programs::built("corten-monitor")).unwrap())
}

/// CVE-2019-5736: who enters a container runs, until its execve, the launcher's program, which is a file of the node's.
/// An image makes its program a link to `/proc/self/exe`, or a script whose interpreter that is, and so has the launcher
/// execute itself inside of the container, under a loader of the image's. That opens its `/proc/self/exe`, becomes
/// another program, so that the file is not busy, and overwrites it through the descriptor. Or a process in the container
/// waits for one that enters and opens its `/proc/<pid>/exe`.
#[test]
fn cve_2019_5736_the_launchers_program_cannot_be_overwritten() {
    attack_on(sharing_pids, async |world| {
        let before = programs_of_the_node();
        let image = world.image_of("self", hostile_layer()).await;
        let id = world.start(&pods::sleeper("victim", &image)).await;
        let watcher = world.hostile(&["watch"], &[]).await;

        for program in ["/proc/self/exe", "/evil/self"] {
            let refused = world.attempt(&pods::container("link", &image, &[program])).await.unwrap_err();
            assert!(refused.message().contains("the launcher's own program"), "{refused}");
            let refused = world.lab.cri.exec_sync(&id, &[program], 10).await.unwrap_err();
            assert!(refused.message().contains("the launcher's own program"), "{refused}");
        }
        if is_dynamic() {
            run_and_overwrite(&world, &image, &id).await;
        } else {
            world.attempt(&pods::container("plain", &image, &["/evil/plain"])).await.unwrap();
            world.lab.cri.exec(&id, &["/evil/plain"]).await;
        }
        world.assert_nothing_reached(&watcher, &id).await;
        assert!(before == programs_of_the_node(), "a program of the node's has changed");
    });
}

/// Has the launcher's program run in a container by a script's first line, as its init and as an exec, kept where it is by
/// the loader, and tries to overwrite it.
async fn run_and_overwrite(world: &World<'_>, image: &str, attacker: &str) {
    let mut init = with_libraries(pods::container("plain", image, &["/evil/plain"]));
    init.envs.push(KeyValue { key: "LD_PRELOAD".into(), value: "/evil/fifo".into() });
    let mut victim = with_libraries(pods::sleeper("exec", image));
    victim.envs = init.envs.clone();
    let init = world.start(&init).await;
    let script = OVERWRITE.replace("FIFO", "$target/root/evil/fifo");
    assert_not_written(&world.lab.cri.shell(attacker, &script).await);
    world.lab.cri.wait_exited(&init).await;

    let victim = world.start(&victim).await;
    let cri = world.lab.cri.clone();
    let exec = tokio::spawn(async move { cri.exec_sync(&victim, &["/evil/plain"], 30).await });
    assert_not_written(&world.lab.cri.shell(attacker, &script).await);
    exec.await.unwrap().unwrap();
}

/// Whether the launcher's program needs a loader, which then is the image's: the path of it is at the beginning.
fn is_dynamic() -> bool {
    let program = std::fs::read(programs::built("corten-monitor")).unwrap();
    program.iter().take(4096).copied().collect::<Vec<_>>().windows(4).any(|bytes| bytes == b"/ld-")
}

/// The program was opened, and could not be written to. Not because it is busy: that would end.
fn assert_not_written(log: &str) {
    assert!(log.contains("opened\n"), "{log}");
    assert!(log.contains("Read-only file system") && !log.contains("WRITTEN"), "{log}");
}
