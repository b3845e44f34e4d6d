//! A host for tests: fresh network and mount namespaces around a thread, and a temporary directory.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;

use super::{link, netns};

pub(super) struct TestHost {
    directory: tempfile::TempDir,
}

impl TestHost {
    /// Runs a test on a host of its own. Whatever the test leaves ends with it.
    pub(super) fn run(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let test = || {
                // SAFETY: the namespaces are this thread's alone.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.unwrap();
                rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
                link::bring_up_loopback().unwrap();
                test();
            };
            if let Err(panic) = scope.spawn(test).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    pub(super) fn new() -> Self {
        TestHost { directory: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A neighbour on a link of its own: the host is `subnet`.1, the neighbour `subnet`.2.
    pub(super) fn outside(&self, subnet: &str) -> PathBuf {
        let namespace = self.path("outside");
        netns::create(&namespace).unwrap();
        run("ip link add up0 type veth peer name peer0");
        run(&format!("ip addr add {subnet}.1/24 dev up0"));
        run("ip link set up0 up");
        let file = netns::open(&namespace).unwrap();
        move_link("peer0", &file);
        netns::enter(&namespace, || {
            run(&format!("ip addr add {subnet}.2/24 dev peer0"));
            run("ip link set peer0 up");
        })
        .unwrap();
        namespace
    }

    /// No namespace file, and no mount, is left below the directory.
    pub(super) fn assert_no_namespaces(&self) {
        let files = std::fs::read_dir(self.path("netns")).map(|entries| entries.count()).unwrap_or(0);
        assert_eq!(files, 0);
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.directory.path().to_string_lossy()), "{mounts}");
    }
}

impl Drop for TestHost {
    /// Files that are mounted on cannot be removed with the directory.
    fn drop(&mut self) {
        let namespaces = std::fs::read_dir(self.path("netns")).into_iter().flatten().flatten().map(|e| e.path());
        for path in namespaces.chain([self.path("outside")]) {
            let _ = netns::remove(&path);
        }
    }
}

fn move_link(name: &str, namespace: &impl std::os::fd::AsRawFd) {
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd()));
    run(&format!("ip link set {name} netns {}", path.display()));
}

/// Runs a command in the thread's namespaces; its words are separated by spaces, and `{ … }` is one of them.
pub(super) fn run(line: &str) -> String {
    let (words, block) = line.split_once(" {").map_or((line, None), |(words, rest)| (words, Some(format!("{{{rest}"))));
    let mut words = words.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).args(block).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Writes an executable script.
pub(super) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
