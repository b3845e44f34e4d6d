//! Mounts, devices, masks, and images that try to lead them outside.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use corten_host::{mount, process};
use corten_monitor::launcher::PodHandles;
use corten_monitor::protocol::{ImageMount, image_source};
use serde_json::json;

use crate::harness::Fixture;

fn mountinfo(fixture: &Fixture, point: &str) -> String {
    let text = fixture.output();
    let line = text.lines().find(|line| line.split(' ').nth(4) == Some(point));
    line.unwrap_or_else(|| panic!("{point} is not mounted: {text}")).to_owned()
}

/// The mounts of the specification have its options.
#[test]
fn mounts_have_their_options() {
    let mut fixture = Fixture::new("cat /proc/self/mountinfo");
    let source = fixture.dir.path().to_owned();
    fixture.mount("/t", "tmpfs", Path::new("tmpfs"), &["ro", "nosuid", "noexec", "size=64k", "mode=700"]);
    fixture.mount("/v", "bind", &source, &["rbind", "rprivate", "ro", "nodev"]);
    for (point, parts) in [
        ("/", &["overlay", " rw,relatime "][..]),
        ("/proc", &["nosuid,nodev,noexec", "proc"]),
        ("/sys", &["ro,nosuid,nodev,noexec", "sysfs"]),
        ("/dev", &["nosuid", "tmpfs", "mode=755", "size=65536k"]),
        ("/dev/pts", &["gid=5,mode=620,ptmxmode=666", "nosuid,noexec"]),
        ("/t", &["ro,nosuid,noexec", "size=64k", "mode=700"]),
        ("/v", &["ro,nodev"]),
    ] {
        let line = mountinfo(&fixture, point);
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    }
}

/// A read-only root is read-only, its mounts are not.
#[test]
fn a_readonly_root() {
    let mut fixture = Fixture::new("touch /x; touch /t/x && echo ok");
    fixture.mount("/t", "tmpfs", Path::new("tmpfs"), &[]);
    fixture.spec["root"]["readonly"] = json!(true);
    let ended = fixture.run();
    assert_eq!(ended.stdout, "ok\n");
    assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
}

/// An image whose links lead outside shows what they lead to inside, and otherwise nothing. The daemon refuses most of
/// these before, but nothing here relies on that.
#[test]
fn parts_of_images_are_confined_to_them() {
    let fixture = |sub_path: &str| {
        let mut fixture = Fixture::new("cat /image/file; touch /image/new");
        let layers = ["above", "below"].map(|name| fixture.dir.path().join(name)).to_vec();
        let (above, below) = (&layers[0], &layers[1]);
        for directory in [above.join("in/deep"), below.join("in"), below.join("tmp")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(below.join("in/file"), "inside\n").unwrap();
        // The host has it, and the image has not.
        for (link, target) in [("host", "/etc"), ("up", "../../../../../../../etc"), ("proc", "/proc/self/root/etc")] {
            symlink(target, above.join(link)).unwrap();
        }
        symlink("/../../in", above.join("absolute")).unwrap();
        symlink("../../../in", above.join("in/deep/relative")).unwrap();
        fixture.images = vec![ImageMount { layers, sub_path: Some(sub_path.into()) }];
        fixture.mount("/image", "bind", &image_source(0), &["rbind", "rprivate", "ro", "nodev"]);
        fixture
    };
    let is_seen = |fixture: &Fixture| {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.contains(fixture.dir.path().to_str().unwrap())
    };
    for part in ["in", "absolute", "in/deep/relative", "../../in", "/in", "in/deep/../../../../in/"] {
        let fixture = fixture(part);
        let ended = fixture.run();
        assert!(!is_seen(&fixture), "{part}");
        assert_eq!(ended.stdout, "inside\n", "{part}: {ended:?}");
        assert!(ended.stderr.contains("Read-only file system"), "{part}: {ended:?}");
    }
    for part in ["host", "up", "proc", "../etc", "/etc", "missing", "in/file"] {
        let fixture = fixture(part);
        let error = fixture.error().to_string();
        assert!(!is_seen(&fixture) && error.contains("mount an image") && error.contains(part), "{part}: {error}");
    }
}

/// Directories and files are mounted, with what is mounted below them, read-only at any depth if asked.
#[test]
fn volumes() {
    let mut fixture = Fixture::new("cat /v/f /etc/one /v/sub/inner; touch /v/sub/x; touch /w/x && echo written");
    let dir = fixture.dir.path().join("volume");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::create_dir_all(fixture.dir.path().join("other")).unwrap();
    fs::write(dir.join("f"), "f\n").unwrap();
    let inner = mount::Filesystem::open("tmpfs").unwrap().mount(0).unwrap();
    mount::attach_path(&inner, &dir.join("sub")).unwrap();
    fs::write(dir.join("sub/inner"), "inner\n").unwrap();
    fixture.mount("/v", "bind", &dir, &["rbind", "rro"]);
    fixture.mount("/etc/one", "bind", &dir.join("f"), &["bind"]);
    fixture.mount("/w", "bind", &fixture.dir.path().join("other"), &["bind"]);
    let ended = fixture.run();
    rustix::mount::unmount(dir.join("sub"), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(ended.stdout, "f\nf\ninner\nwritten\n", "{ended:?}");
    assert!(ended.stderr.contains("/v/sub/x: Read-only"), "{ended:?}");
    assert!(fixture.dir.path().join("other/x").exists());
}

/// A shared source propagates into an rslave volume, and out of an rshared one; what is not shared is refused.
#[test]
fn propagation() {
    let mut fixture = Fixture::new("echo up; until [ -e /v/new/file ]; do sleep 0.01; done; echo seen");
    let dir = fixture.dir.path().join("volume");
    fs::create_dir_all(dir.join("new")).unwrap();
    let volume = mount::clone_path(&dir, false).unwrap();
    mount::attach_path(&volume, &dir).unwrap();
    let becomes = |propagation| {
        let change = mount::Change { propagation: Some(propagation), ..mount::Change::default() };
        mount::change(volume.as_fd(), false, change).unwrap();
    };
    fixture.mount("/v", "bind", &dir, &["rbind", "rslave"]);
    // Whatever the machine's own root is.
    becomes(mount::Propagation::Private);
    let error = fixture.error().to_string();
    assert!(error.contains("not a shared or slave mount"), "{error}");
    becomes(mount::Propagation::Shared);
    let mut running = fixture.launch().unwrap();
    assert_eq!(running.line(), "up");
    let new = mount::Filesystem::open("tmpfs").unwrap().mount(0).unwrap();
    mount::attach_path(&new, &dir.join("new")).unwrap();
    fs::write(dir.join("new/file"), "").unwrap();
    assert_eq!(running.line(), "seen");
    running.wait();
    fixture.remove_cgroup();
    // The end of the container must not unmount the host's.
    assert!(dir.join("new/file").exists());
    for path in [dir.join("new"), dir] {
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// What a container mounts in an rshared volume is mounted on the host, also below a root that is shared itself.
#[test]
fn propagation_out_of_a_container() {
    let mut fixture =
        Fixture::new("mount -t tmpfs new /v/new && touch /v/new/file && echo mounted; grep ' / ' /proc/self/mountinfo");
    let dir = fixture.dir.path().join("volume");
    fs::create_dir_all(dir.join("new")).unwrap();
    let shared = mount::clone_path(&dir, false).unwrap();
    mount::attach_path(&shared, &dir).unwrap();
    let change = mount::Change { propagation: Some(mount::Propagation::Shared), ..mount::Change::default() };
    mount::change(shared.as_fd(), false, change).unwrap();
    fixture.mount("/v", "bind", &dir, &["rbind", "rshared"]);
    fixture.spec["linux"]["rootfsPropagation"] = json!("rshared");
    let sys_admin = json!(["CAP_SYS_ADMIN"]);
    fixture.process()["capabilities"] = json!({"bounding": sys_admin, "effective": sys_admin, "permitted": sys_admin});
    let text = fixture.output();
    assert!(text.starts_with("mounted") && text.contains("shared:"), "{text}");
    assert!(dir.join("new/file").exists());
    for path in [dir.join("new"), dir] {
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

/// The volumes of an image are directories of the writable layer, with what the image has there; a link does not lead out.
#[test]
fn an_images_volumes_are_made() {
    let mut fixture = Fixture::new("cat /has/file; touch /made/deep/new /link/new && echo written");
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(fixture.file("has")).unwrap();
    fs::write(fixture.file("has/file"), "kept\n").unwrap();
    symlink(&outside, fixture.file("link")).unwrap();
    fixture.directories = ["/has", "/made/deep", "/link"].map(Into::into).to_vec();
    assert_eq!(fixture.output(), "kept\nwritten\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Links in the image do not lead a mount, or what is made for it, outside.
#[test]
fn hostile_destinations_stay_inside() {
    let mut fixture = Fixture::new("cat /proc/self/mountinfo");
    let outside = fixture.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.file("absolute")).unwrap();
    symlink("../../../../../../../..", fixture.file("up")).unwrap();
    fixture.mount("/absolute/here", "tmpfs", Path::new("tmpfs"), &[]);
    fixture.mount("/up/tmp", "tmpfs", Path::new("tmpfs"), &[]);
    let text = fixture.output();
    let inside = format!(" {}/here ", outside.display());
    assert!(text.contains(&inside) && text.contains(" /tmp "), "{text}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// A mount over the root, into `/proc` (through a link as well), or of a proc over a link is refused.
#[test]
fn forbidden_destinations_are_refused() {
    for (destination, kind, link) in [
        ("/", "tmpfs", None),
        ("/proc/self", "tmpfs", None),
        ("/trick/sys", "tmpfs", Some("/proc")),
        ("/trick", "tmpfs", Some(".")),
        ("/trick", "proc", Some("tmp")),
    ] {
        let mut fixture = Fixture::new("true");
        if let Some(target) = link {
            symlink(target, fixture.file("trick")).unwrap();
        }
        fixture.mount(destination, kind, Path::new(kind), &[]);
        let error = fixture.error();
        assert!(matches!(error, corten_monitor::protocol::CallError::Container { .. }), "{destination}: {error}");
    }
}

/// The default devices and links are there and work, with those of the specification.
#[test]
fn devices() {
    let script = "echo x > /dev/null; for d in null zero full random urandom tty extra; do stat -c '%n %t:%T %a %u' /dev/$d; done;
        for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; dd if=/dev/zero bs=4 count=1 2>/dev/null | wc -c";
    let mut fixture = Fixture::new(script);
    for name in ["dd", "wc"] {
        symlink("busybox", fixture.file("bin").join(name)).unwrap();
    }
    fixture.spec["linux"]["devices"] =
        json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 5, "gid": 6}]);
    let expected = "/dev/null 1:3 666 0\n/dev/zero 1:5 666 0\n/dev/full 1:7 666 0\n/dev/random 1:8 666 0\n\
        /dev/urandom 1:9 666 0\n/dev/tty 5:0 666 0\n/dev/extra 1:7 640 5\n\
        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n4\n";
    assert_eq!(fixture.output(), expected);
}

/// The pod's `/dev/shm` is one and the same in every container.
#[test]
fn the_pods_shm() {
    let mut fixture = Fixture::new("cat /dev/shm/from-pod; stat -f -c %T /dev/shm");
    fixture.mount(
        "/dev/shm",
        "bind",
        Path::new(corten_monitor::protocol::POD_SHM),
        &["rbind", "nosuid", "nodev", "noexec"],
    );
    let namespace = shm_namespace();
    let running = fixture.launch_in(&PodHandles { shm_ns: Some(namespace.as_fd()), ..PodHandles::default() }).unwrap();
    let ended = running.wait();
    fixture.remove_cgroup();
    assert_eq!(ended.stdout, "hello\ntmpfs\n", "{ended:?}");
    let error = fixture.error().to_string();
    assert!(error.contains("/dev/shm"), "{error}");
}

/// A mount namespace whose root is a tmpfs, made in a thread that ends.
fn shm_namespace() -> OwnedFd {
    let (made, is_made) = std::sync::mpsc::channel();
    let (end, may_end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let tmpfs = mount::Filesystem::open("tmpfs").unwrap().mount(0).unwrap();
        // The thread must not share its root with the others to change it.
        process::new_namespaces(libc::CLONE_FS | libc::CLONE_NEWNS).unwrap();
        let private = mount::Change { propagation: Some(mount::Propagation::Private), ..mount::Change::default() };
        mount::change_path(Path::new("/"), true, private).unwrap();
        mount::attach_path(&tmpfs, Path::new("/")).unwrap();
        rustix::process::fchdir(&tmpfs).unwrap();
        rustix::process::pivot_root(".", ".").unwrap();
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).unwrap();
        fs::write("/from-pod", "hello\n").unwrap();
        // No /proc in here: somebody outside has to look, as long as the thread is there.
        made.send(rustix::thread::gettid()).unwrap();
        let _ = may_end.recv();
    });
    let id = is_made.recv().unwrap().as_raw_nonzero();
    let namespace = fs::File::open(format!("/proc/self/task/{id}/ns/mnt")).unwrap();
    drop(end);
    thread.join().unwrap();
    namespace.into()
}
