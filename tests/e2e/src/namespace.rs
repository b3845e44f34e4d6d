//! Namespaces of a test's own.
//!
//! A test runs on a thread with a mount and a network namespace of its own, and so does everything it starts. What it
//! would leave behind (mounts, links, nftables) can be listed exactly, no other test or program on the machine is in the
//! way, and a failed test leaves no trace of them.

use std::{fs::File, path::Path, process::Command};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::Uid,
};

/// Runs `body` on a new thread in a mount and a network namespace of its own. In the mount namespace `/` is shared, as it
/// is under systemd, but nothing propagates from or to the machine's. In the network namespace loopback is up.
///
/// # Panics
/// If `body` does, or if this is not root.
pub fn isolated<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    assert!(Uid::effective().is_root(), "the end-to-end tests need root: they make namespaces, mounts and cgroups");
    let thread = std::thread::Builder::new().name("lab".into()).spawn(|| {
        enter_fresh();
        body()
    });
    match thread.expect("start a thread").join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Where `ip netns` keeps its files.
const NAMED: &str = "/run/netns";

fn enter_fresh() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("unshare mount and network namespace");
    for propagation in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(None::<&str>, "/", None::<&str>, propagation | MsFlags::MS_REC, None::<&str>)
            .expect("change the propagation of /");
    }
    // `ip netns` keeps its files there: this test's are its own.
    std::fs::create_dir_all(NAMED).expect("make the directory of named network namespaces");
    mount(Some("tmpfs"), NAMED, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount a tmpfs");
    run("ip", &["link", "set", "lo", "up"]);
}

/// Mounts cgroup v2 in the place of all hierarchies, in this thread's mount namespace.
///
/// # Panics
/// If that fails.
pub fn mount_only_cgroup_v2() {
    umount2("/sys/fs/cgroup", MntFlags::MNT_DETACH).expect("unmount the cgroups");
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>).expect("mount cgroup v2");
}

/// Runs `body` on a new thread in the network namespace that `ip netns` knows by this name. A socket made there stays
/// there.
///
/// # Panics
/// If `body` does, or if there is no such namespace.
pub fn inside<T: Send>(name: &str, body: impl FnOnce() -> T + Send) -> T {
    inside_of(&Path::new(NAMED).join(name), body)
}

/// The same in the network namespace that a file stands for.
///
/// # Panics
/// If `body` does, or if the file stands for none.
pub fn inside_of<T: Send>(file: &Path, body: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(file).expect("open the network namespace");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a program to its end in this thread's namespaces and returns its standard output.
///
/// # Panics
/// If it cannot be started or fails, with its standard error.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("start {program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
