//! Seccomp filters, written by hand: what `mkdir` answers tells whether one is loaded.

use serde_json::json;

use crate::harness::Fixture;

/// `struct sock_filter`, as bytes.
fn instruction(code: u16, jump_true: u8, jump_false: u8, value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&code.to_ne_bytes());
    bytes[2..4].copy_from_slice(&[jump_true, jump_false]);
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    bytes
}

/// A filter that answers some system calls with an errno.
pub fn refusing(calls: &[libc::c_long], errno: i32) -> Vec<u8> {
    // Load the call's number; for each: if it is equal, return the error; at the end allow.
    let mut program = vec![instruction(0x20, 0, 0, 0)];
    for call in calls {
        program.push(instruction(0x15, 0, 1, *call as u32));
        program.push(instruction(0x06, 0, 0, 0x0005_0000 | errno as u32));
    }
    program.push(instruction(0x06, 0, 0, 0x7fff_0000));
    program.concat()
}

/// `mkdir` fails in init and in exec'd processes, with and without no_new_privs.
#[test]
fn init_and_exec_have_the_filter() {
    let filter = refusing(&[libc::SYS_mkdir, libc::SYS_mkdirat], libc::EXDEV);
    for no_new_privileges in [true, false] {
        let mut fixture = Fixture::new("mkdir /x; grep Seccomp: /proc/self/status; echo up; sleep 100");
        for name in ["mkdir", "grep"] {
            std::os::unix::fs::symlink("busybox", fixture.file("bin").join(name)).unwrap();
        }
        fixture.process()["noNewPrivileges"] = json!(no_new_privileges);
        let mut running = fixture.launch_with(Some(&filter)).unwrap();
        assert_eq!(running.line(), "Seccomp:\t2");
        assert_eq!(running.line(), "up");
        let change = |process: &mut serde_json::Value| {
            process["args"] = json!(["sh", "-c", "mkdir /y; grep Seccomp: /proc/self/status"])
        };
        let ended = fixture.exec_with(&running, Some(&filter), change).unwrap().wait();
        assert_eq!(ended.stdout, "Seccomp:\t2\n");
        assert!(ended.stderr.contains("Invalid cross-device link"), "{ended:?}");
        running.kill();
        let ended = running.wait();
        assert!(ended.stderr.contains("Invalid cross-device link"), "{ended:?}");
        fixture.remove_cgroup();
    }
}

/// With no_new_privs the filter is loaded last: it may refuse all that the launcher does before.
#[test]
fn a_narrow_filter_does_not_hinder_the_launcher() {
    let calls =
        [libc::SYS_chdir, libc::SYS_setresuid, libc::SYS_capset, libc::SYS_prctl, libc::SYS_sendmsg, libc::SYS_openat2];
    let fixture = Fixture::new("echo fine");
    assert_eq!(fixture.run_with(Some(&refusing(&calls, libc::EPERM))).stdout, "fine\n");
}

/// A filter that refuses execve is an error and no container.
#[test]
fn a_filter_without_execve() {
    let fixture = Fixture::new("");
    let filter = refusing(&[libc::SYS_execve], libc::EPERM);
    let error = fixture.launch_with(Some(&filter)).map(|running| running.pid).unwrap_err().to_string();
    assert!(error.contains("/bin/sh") && error.contains("not permitted"), "{error}");
    assert!(!fixture.cgroup_exists());
}

/// What is not a filter is refused.
#[test]
fn what_is_not_a_filter() {
    let fixture = Fixture::new("");
    for bytes in [&b""[..], b"1234567", &[0; 8 * 4097], &[0xff; 8]] {
        let error = fixture.launch_with(Some(bytes)).map(|running| running.pid).unwrap_err().to_string();
        assert!(error.contains("seccomp"), "{error}");
        assert!(!fixture.cgroup_exists());
    }
}

/// Of the flags those of a filter are taken; one that would have the kernel do more (give a descriptor, for 8) is refused.
#[test]
fn flags_of_filters() {
    let mut fixture = Fixture::new("grep Seccomp: /proc/self/status");
    std::os::unix::fs::symlink("busybox", fixture.file("bin/grep")).unwrap();
    let filter = refusing(&[libc::SYS_mkdir], libc::EXDEV);
    for flags in [None, Some(0), Some(1), Some(2), Some(4), Some(7)] {
        fixture.seccomp_flags = flags;
        assert_eq!(fixture.run_with(Some(&filter)).stdout, "Seccomp:\t2\n", "{flags:?}");
    }
    for flags in [8, 16, 32, 1 << 31] {
        fixture.seccomp_flags = Some(flags);
        let error = fixture.launch_with(Some(&filter)).map(|running| running.pid).unwrap_err().to_string();
        assert!(error.contains("seccomp") && error.contains("Invalid argument"), "{flags}: {error}");
        assert!(!fixture.cgroup_exists());
    }
}
