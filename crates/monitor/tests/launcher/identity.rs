//! User, groups, capabilities, environment, working directory, streams and terminals.

use std::os::fd::AsFd;

use corten_monitor::launcher::{self, PodHandles};
use serde_json::json;

use crate::harness::{Fixture, as_launcher};

/// User and groups are exactly those given.
#[test]
fn user_and_groups() {
    let mut fixture = Fixture::new("id -u; id -g; id -G");
    assert_eq!(fixture.output(), "0\n0\n0\n");
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [1002, 1003]});
    assert_eq!(fixture.output(), "1000\n1001\n1001 1002 1003\n");
}

fn status_of(fixture: &Fixture) -> Vec<String> {
    let text = fixture.output();
    let wanted = |line: &&str| ["Cap", "NoNewPrivs", "Seccomp:"].iter().any(|prefix| line.starts_with(prefix));
    text.lines().filter(wanted).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Root has the capabilities given; another user has only the ambient ones of them, and cannot get more.
#[test]
fn capabilities_are_those_given() {
    let mut fixture = Fixture::new("cat /proc/self/status");
    let status = status_of(&fixture);
    for line in [
        "CapInh: 0000000000000000",
        "CapPrm: 00000000a80425fb",
        "CapEff: 00000000a80425fb",
        "CapBnd: 00000000a80425fb",
        "NoNewPrivs: 1",
    ] {
        assert!(status.contains(&line.to_owned()), "{line}: {status:?}");
    }
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    let status = status_of(&fixture);
    for line in
        ["CapPrm: 0000000000000000", "CapEff: 0000000000000000", "CapAmb: 0000000000000000", "CapBnd: 00000000a80425fb"]
    {
        assert!(status.contains(&line.to_owned()), "{line}: {status:?}");
    }
    let one = json!(["CAP_NET_BIND_SERVICE"]);
    fixture.process()["capabilities"] =
        json!({"bounding": one, "effective": one, "permitted": one, "inheritable": one, "ambient": one});
    fixture.process()["noNewPrivileges"] = json!(false);
    let status = status_of(&fixture);
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        assert!(status.contains(&format!("Cap{set}: 0000000000000400")), "{set}: {status:?}");
    }
    assert!(status.contains(&"NoNewPrivs: 0".to_owned()), "{status:?}");
}

/// Capabilities that the node does not have itself are left out; asking for all of them is no error.
#[test]
fn capabilities_of_the_node_are_the_limit() {
    let mut fixture = Fixture::new("cat /proc/self/status");
    let all: Vec<_> = ["CAP_SYS_RESOURCE", "CAP_SYS_ADMIN", "CAP_CHOWN"].into();
    fixture.process()["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    let own = rustix::thread::capabilities(None).unwrap().permitted.bits();
    let expected = own & (1 << 24 | 1 << 21 | 1);
    let status = status_of(&fixture);
    assert!(status.contains(&format!("CapEff: {expected:016x}")), "{status:?}");
}

/// HOME comes from the container's passwd file, unless it is given; of doubled variables the last counts.
#[test]
fn environment_is_completed() {
    let mut fixture = Fixture::new("echo $HOME $A");
    fixture.process()["env"] = json!(["PATH=/bin", "A=1", "A=2"]);
    assert_eq!(fixture.output(), "/root 2\n");
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(fixture.output(), "/home/u\n".replace('\n', " 2\n"));
    fixture.process()["user"] = json!({"uid": 77, "gid": 77});
    assert_eq!(fixture.output(), "/ 2\n");
    fixture.process()["env"] = json!(["HOME=/h"]);
    assert_eq!(fixture.output(), "/h\n");
}

/// A passwd file that is a FIFO, or huge, delays nothing.
#[test]
fn hostile_passwd_files_are_no_obstacle() {
    let fixture = Fixture::new("echo $HOME");
    let path = fixture.file("etc/passwd");
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    assert_eq!(fixture.output(), "/\n");
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(fixture.output(), "/\n");
}

/// The working directory is made if it is missing, and may be one that only its user may enter.
#[test]
fn working_directories() {
    let mut fixture = Fixture::new("pwd");
    fixture.process()["cwd"] = json!("/made/here");
    assert_eq!(fixture.output(), "/made/here\n");
    std::fs::create_dir(fixture.file("private")).unwrap();
    std::os::unix::fs::chown(fixture.file("private"), Some(1000), Some(1000)).unwrap();
    std::fs::set_permissions(fixture.file("private"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fixture.process()["cwd"] = json!("/private");
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    fixture.process()["capabilities"] = json!({});
    assert_eq!(fixture.output(), "/private\n");
}

/// Nothing but the three streams is open, and a user can open its own anew.
#[test]
fn descriptors_and_streams() {
    let mut fixture = Fixture::new("ls /proc/self/fd | wc -l; echo again > /dev/stdout; echo bad > /dev/stderr");
    std::os::unix::fs::symlink("busybox", fixture.file("bin/wc")).unwrap();
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let ended = fixture.run();
    // ls has the directory itself open, too.
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("4\nagain\n", "bad\n"));
}

/// A terminal is the container's own, the controlling one, of the size asked for, its user's, and `/dev/console`.
#[test]
fn terminals() {
    let mut fixture =
        Fixture::new("stty size; tty; ls -ln /dev/console; echo ok > /dev/tty; echo console > /dev/console");
    for name in ["stty", "tty"] {
        std::os::unix::fs::symlink("busybox", fixture.file("bin").join(name)).unwrap();
    }
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000});
    fixture.process()["terminal"] = json!(true);
    fixture.process()["consoleSize"] = json!({"height": 33, "width": 77});
    let plan = fixture.plan(false);
    let (pid, text) =
        as_launcher(|| launcher::launch(&plan, &PodHandles::default(), None, None), read_terminal).unwrap();
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    fixture.remove_cgroup();
    for expected in ["33 77\r\n", "/dev/pts/0\r\n", " 1000     5 ", "ok\r\n", "console\r\n"] {
        assert!(text.contains(expected), "{expected:?}: {text:?}");
    }
}

/// Everything until the other end is closed, which a terminal says with EIO.
fn read_terminal(master: std::os::fd::OwnedFd) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = rustix::io::read(master.as_fd(), &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}
