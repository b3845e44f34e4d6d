//! Writable layers on file systems with project quotas: real ones, made in a file and mounted in a mount namespace of the
//! test's own, with the kernel's overlayfs over them. Needs root, and a kernel with quotas for the effects.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Error, Write},
    ops::RangeInclusive,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use corten_host::{process, quota};
use corten_images::{Image, Store, WritableLimits};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags},
    thread::UnshareFlags,
};
use support::{
    build::{Built, BuiltLayer, Packing, layout},
    store,
};

const MIB: u64 = 1 << 20;
/// The projects that a store gives away.
const RANGE: RangeInclusive<u32> = 0x4000_0000..=0x7fff_ffff;
const EXT4: &[&str] = &["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"];
const XFS: &[&str] = &["mkfs.xfs", "-q"];

/// Runs a test where a new file system is mounted. Says that it was skipped if the kernel cannot mount it.
fn on(test: &str, make: &[&str], options: &str, body: impl AsyncFnOnce(&Path) + Send) {
    let directory = tempfile::tempdir().unwrap();
    let (image, disk) = (directory.path().join("image"), directory.path().join("disk"));
    File::create(&image).unwrap().set_len(512 * MIB).unwrap();
    std::fs::create_dir(&disk).unwrap();
    run(Command::new(make[0]).args(&make[1..]).arg(&image)).unwrap();
    let mounted = || {
        // A thread shares its root directory with the others, which would be in the way of a namespace.
        process::new_namespaces((UnshareFlags::FS | UnshareFlags::NEWNS).bits().try_into().unwrap()).unwrap();
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        if let Err(why) = run(Command::new("mount").args(["-o", &format!("loop,{options}")]).args([&image, &disk])) {
            let why = why.lines().next().unwrap_or_default();
            // Not `eprintln!`, which the test harness keeps to itself.
            let _ =
                writeln!(std::io::stderr(), "corten: SKIPPED {test}: this kernel cannot mount with {options}: {why}");
            return;
        }
        // The threads that it starts are in the namespace, too.
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body(&disk));
    };
    let outcome = std::thread::scope(|scope| scope.spawn(mounted).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

async fn image(store: &Store) -> std::sync::Arc<Image> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(5);
    tar.append_data(&mut header, "etc/passwd", &b"lower"[..]).unwrap();
    let layer = BuiltLayer::new(&tar.into_inner().unwrap(), Packing::Plain);
    let archive = layout(&Built::new(vec![layer]), "example.test/quota:1");
    store.load(archive.as_slice()).await.unwrap().remove(0)
}

/// A container's root, as the kernel shows it.
struct Root(OwnedFd);

impl Root {
    async fn of(store: &Store, container: &str) -> Self {
        let snapshot = store.prepare_snapshot(container, &*image(store).await, None, &[]).await.unwrap();
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        let set = |key, value: &Path| rustix::mount::fsconfig_set_string(&context, key, value).unwrap();
        set("lowerdir", &snapshot.lower[0]);
        set("upperdir", &snapshot.upper);
        set("workdir", &snapshot.work);
        rustix::mount::fsconfig_create(&context).unwrap();
        Self(rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap())
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        rustix::fs::openat(&self.0, name, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).map(File::from)
    }

    /// Writes so many bytes into a new file; how many could be written, and why not more.
    fn write(&self, name: &str, bytes: u64) -> (u64, Option<i32>) {
        let mut file = self.open(name, OFlags::WRONLY | OFlags::CREATE).unwrap();
        let mut written = 0;
        while written < bytes {
            match file.write(&[7; 1 << 16]) {
                Ok(length) => written += length as u64,
                Err(error) => return (written, error.raw_os_error()),
            }
        }
        (written, None)
    }

    /// Makes files until that fails; how many there are, and why not more.
    fn fill(&self) -> (usize, i32) {
        let refused = (0..).find_map(|number| {
            let made = self.open(&format!("f{number}"), OFlags::WRONLY | OFlags::CREATE);
            made.err().map(|errno| (number, errno.raw_os_error()))
        });
        refused.unwrap()
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::fstatvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }
}

fn limits(bytes: u64, inodes: u64) -> WritableLimits {
    WritableLimits { bytes: Some(bytes), inodes: Some(inodes) }
}

fn is_full(why: Option<i32>) -> bool {
    why == Some(Errno::DQUOT.raw_os_error()) || why == Some(Errno::NOSPC.raw_os_error())
}

fn record(disk: &Path, container: &str) -> PathBuf {
    disk.join("images/s").join(container).join("snapshot.json")
}

fn project(disk: &Path, container: &str) -> u32 {
    recorded(&record(disk, container))
}

/// The project that the record of a snapshot names.
fn recorded(record: &Path) -> u32 {
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    json["project"].as_u64().unwrap().try_into().unwrap()
}

fn project_usage(disk: &Path, project: u32) -> quota::Usage {
    quota::usage(File::open(disk).unwrap().as_fd(), project).unwrap()
}

/// Waits until what was removed is deleted.
async fn drained(disk: &Path, project: u32) {
    until("nothing is left", async || project_usage(disk, project).inodes == 0).await;
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_limit_stops_one_container(disk: &Path) {
    let root = disk.join("images");
    let open = async || store(&root).await;
    let held = open().await.limiting(limits(8 * MIB, 200)).unwrap();
    let (one, two) = (Root::of(&held, "one").await, Root::of(&held, "two").await);
    let (first, second) = (project(disk, "one"), project(disk, "two"));
    assert!(first != second && RANGE.contains(&first) && RANGE.contains(&second), "{first} {second}");
    assert!(one.free() <= 8 * MIB, "{}", one.free());
    // A file of the image is moved from the working directory when it is changed.
    assert_eq!(one.open("etc/passwd", OFlags::WRONLY).unwrap().write(b"upper").unwrap(), 5);
    assert_eq!(rustix::fs::renameat(&one.0, "etc/passwd", &one.0, "moved"), Ok(()));

    let (written, why) = one.write("big", 100 * MIB);
    assert!(is_full(why) && written > 4 * MIB && written <= 8 * MIB, "{written} {why:?}");
    let usage = held.snapshot_usage("one").await.unwrap();
    assert!(usage.bytes >= written && usage.bytes <= 8 * MIB && usage.inodes < 20, "{usage:?} {written}");
    // Nobody else is hurt.
    assert_eq!(two.write("big", 6 * MIB), (6 * MIB, None));
    image(&held).await;
    // What was deleted counts until it is closed, which no walk would find.
    let open_file = one.open("big", OFlags::RDONLY).unwrap();
    rustix::fs::unlinkat(&one.0, "big", AtFlags::empty()).unwrap();
    assert!(held.snapshot_usage("one").await.unwrap().bytes >= written);
    drop(open_file);
    // The kernel may close what is below an overlay's file a moment later.
    until("the file is gone", async || held.snapshot_usage("one").await.unwrap().bytes < written).await;
    assert_eq!(one.write("again", 3 * MIB), (3 * MIB, None));
    let (files, why) = two.fill();
    assert!(is_full(Some(why)) && (150..200).contains(&files), "{files} {why}");
    let usage = held.snapshot_usage("two").await.unwrap();
    assert_eq!(usage.inodes, 200, "{usage:?}");

    // A daemon that starts with other limits applies them to all; without limits nothing is in the way.
    drop(held);
    let held = open().await.limiting(limits(30 * MIB, 1000)).unwrap();
    let (written, why) = one.write("more", 100 * MIB);
    assert!(is_full(why) && written > 10 * MIB && written <= 30 * MIB, "{written} {why:?}");
    drop(held);
    let held = open().await.limiting(WritableLimits::default()).unwrap();
    assert_eq!(one.write("most", 40 * MIB), (40 * MIB, None));
    let before = held.snapshot_usage("one").await.unwrap();
    assert!(before.bytes >= 40 * MIB, "{before:?}");

    // A number is another's as long as it has files, also those that are only open.
    drop(held);
    let held = open().await.limiting(limits(8 * MIB, 200)).unwrap();
    let last = one.open("most", OFlags::RDONLY).unwrap();
    drop(one);
    held.remove_snapshot("one").await.unwrap();
    let _three = Root::of(&held, "three").await;
    let third = project(disk, "three");
    assert!(third != first && third != second, "{first} {second} {third}");
    assert!(project_usage(disk, first).bytes >= 40 * MIB);
    drop(last);
    drained(disk, first).await;
    let four = Root::of(&held, "four").await;
    assert!(is_full(four.write("big", 20 * MIB).1));
}

#[test]
fn a_limit_stops_one_container_on_ext4() {
    on("a_limit_stops_one_container_on_ext4", EXT4, "prjquota", a_limit_stops_one_container);
}

#[test]
fn a_limit_stops_one_container_on_xfs() {
    on("a_limit_stops_one_container_on_xfs", XFS, "prjquota", a_limit_stops_one_container);
}

async fn projects_of_others_are_left_alone(disk: &Path) {
    const THEIRS: u32 = *RANGE.start();
    let others = disk.join("others");
    std::fs::create_dir_all(&others).unwrap();
    quota::assign(File::open(&others).unwrap().as_fd(), THEIRS).unwrap();
    std::fs::create_dir(others.join("inside")).unwrap();
    let held = store(&disk.join("images")).await.limiting(limits(8 * MIB, 200)).unwrap();
    let roots = (Root::of(&held, "one").await, Root::of(&held, "two").await);
    // Another daemon's store beside this one.
    let beside = store(&disk.join("beside")).await;
    let _root = Root::of(&beside, "one").await;
    let (one, two, third) =
        (project(disk, "one"), project(disk, "two"), recorded(&disk.join("beside/s/one/snapshot.json")));
    assert_eq!(BTreeSet::from([THEIRS, one, two, third]).len(), 4);
    assert!(project_usage(disk, third).inodes >= 3);
    // It has no limits.
    std::fs::write(others.join("big"), vec![7; 16 << 20]).unwrap();
    drop(roots);
    held.remove_snapshot("one").await.unwrap();
    drained(disk, one).await;

    // A snapshot of an earlier release has no project: it is walked.
    let held_record = record(disk, "two");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&held_record).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("project");
    std::fs::write(&held_record, json.to_string()).unwrap();
    drop(held);
    let held = store(&disk.join("images")).await.limiting(limits(8 * MIB, 200)).unwrap();
    let upper = held.snapshot("two").unwrap().upper;
    std::fs::write(upper.join("f"), vec![7; 1 << 20]).unwrap();
    let usage = held.snapshot_usage("two").await.unwrap();
    assert!(usage.inodes == 2 && usage.bytes >= MIB, "{usage:?}");
    held.remove_snapshot("two").await.unwrap();

    // What is in somebody's project cannot be in ours.
    let inside = others.join("inside/images");
    let error = store(&inside).await.limiting(limits(8 * MIB, 200)).err().unwrap().to_string();
    assert!(error.contains(&inside.display().to_string()) && error.contains(&THEIRS.to_string()), "{error}");
    let inside = store(&inside).await;
    inside.prepare_snapshot("c", &*image(&inside).await, None, &[]).await.unwrap();
    inside.remove_snapshot("c").await.unwrap();
}

#[test]
fn projects_of_others_are_left_alone_on_ext4() {
    on("projects_of_others_are_left_alone_on_ext4", EXT4, "prjquota", projects_of_others_are_left_alone);
}

#[test]
fn projects_of_others_are_left_alone_on_xfs() {
    on("projects_of_others_are_left_alone_on_xfs", XFS, "prjquota", projects_of_others_are_left_alone);
}

async fn counting_needs_no_limits(disk: &Path) {
    let held = store(&disk.join("images")).await;
    let root = Root::of(&held, "one").await;
    assert_eq!(root.write("big", 20 * MIB), (20 * MIB, None));
    let file = root.open("big", OFlags::RDONLY).unwrap();
    rustix::fs::unlinkat(&root.0, "big", AtFlags::empty()).unwrap();
    assert!(held.snapshot_usage("one").await.unwrap().bytes >= 20 * MIB);
    drop(file);
    let error = held.limiting(limits(8 * MIB, 200)).err().unwrap().to_string();
    assert!(error.contains(&disk.join("images/s").display().to_string()) && error.contains("prjquota"), "{error}");
}

#[test]
fn counting_needs_no_limits_on_ext4() {
    on("counting_needs_no_limits_on_ext4", EXT4, "rw", counting_needs_no_limits);
}

#[test]
fn counting_needs_no_limits_on_xfs() {
    on("counting_needs_no_limits_on_xfs", XFS, "pqnoenforce", counting_needs_no_limits);
}

#[test]
fn without_project_quotas_a_limit_is_refused_and_nothing_else_is() {
    on(
        "without_project_quotas_a_limit_is_refused_and_nothing_else_is",
        &["mkfs.ext4", "-q"],
        "rw",
        async |disk: &Path| {
            let held = store(&disk.join("images")).await.limiting(WritableLimits::default()).unwrap();
            let root = Root::of(&held, "one").await;
            root.write("big", 4 * MIB);
            let usage = held.snapshot_usage("one").await.unwrap();
            assert!(usage.bytes >= 4 * MIB && usage.inodes == 2, "{usage:?}");
            let error = held.limiting(limits(8 * MIB, 200)).err().unwrap();
            assert!(matches!(error, corten_images::Error::Quota { .. }), "{error}");
            let error = Error::other(error).to_string();
            assert!(error.contains(&disk.join("images/s").display().to_string()), "{error}");
        },
    );
}
