//! Processes run in a running container.

use corten_monitor::launcher;
use corten_monitor::protocol::{CallError, Exec};
use serde_json::json;

use crate::harness::{Fixture, Running, as_launcher};

fn running(fixture: &Fixture) -> Running {
    let mut running = fixture.launch().unwrap();
    assert_eq!(running.line(), "up");
    running
}

fn end(fixture: &Fixture, running: Running) {
    running.kill();
    running.wait();
    fixture.remove_cgroup();
}

/// It has the namespaces, cgroups, root and confinement that init has.
#[test]
fn as_confined_as_init() {
    let show = "for n in pid ipc uts mnt net cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup; \
        grep -E '^(Cap|NoNewPrivs|Uid|Gid|Groups|Sig(Ign|Blk))' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; \
        ls /proc/self/fd; pwd; env; umask; echo x > /proc/sys/kernel/panic";
    let mut fixture = Fixture::new(&format!("({show}) 2>&1; echo up; sleep 100"));
    std::os::unix::fs::symlink("busybox", fixture.file("bin/grep")).unwrap();
    fixture.process()["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
    fixture.process()["cwd"] = json!("/data");
    let mut running = fixture.launch().unwrap();
    let mut lines = Vec::new();
    loop {
        match running.line() {
            line if line == "up" => break,
            line => lines.push(line),
        }
    }
    let change = |process: &mut serde_json::Value| process["args"] = json!(["sh", "-c", format!("({show}) 2>&1")]);
    let ended = fixture.exec(&running, change).unwrap().wait();
    let exec: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
    let comparable =
        |line: &&String| !line.starts_with("SHLVL") && !line.starts_with("/bin/sh:") && !line.starts_with("sh:");
    assert_eq!(exec.iter().filter(comparable).collect::<Vec<_>>(), lines.iter().filter(comparable).collect::<Vec<_>>());
    end(&fixture, running);
}

/// Its exit code comes back, and a program that is not there is the container's fault.
#[test]
fn exit_codes_and_missing_programs() {
    let fixture = Fixture::new("echo up; sleep 100");
    let running = running(&fixture);
    let ended = fixture.exec(&running, |process| process["args"] = json!(["sh", "-c", "exit 3"])).unwrap().wait();
    assert_eq!(ended.code, Some(3));
    let error = fixture.exec(&running, |process| process["args"] = json!(["foo"])).map(|r| r.pid).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"foo\": executable file not found in $PATH");
    assert!(matches!(error, CallError::Container { .. }));
    end(&fixture, running);
}

/// A terminal is opened in the container's own devpts.
#[test]
fn a_terminal() {
    let fixture = Fixture::new("echo up; sleep 100");
    std::os::unix::fs::symlink("busybox", fixture.file("bin/tty")).unwrap();
    let running = running(&fixture);
    let mut process = fixture.spec["process"].clone();
    process["args"] = json!(["sh", "-c", "tty; echo ok > /dev/tty"]);
    let plan =
        Exec { process: serde_json::from_value(process).unwrap(), terminal: true, seccomp: false, seccomp_flags: None };
    let read = |master: std::os::fd::OwnedFd| {
        let mut text = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = rustix::io::read(&master, &mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let (pid, text) = as_launcher(|| launcher::exec(&plan, running.pid, None, None), read).unwrap();
    assert_eq!(text, "/dev/pts/0\r\nok\r\n");
    // SAFETY: a child of ours.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    end(&fixture, running);
}

/// A container that has ended cannot be entered.
#[test]
fn an_ended_container() {
    let fixture = Fixture::new("echo up; sleep 100");
    let running = running(&fixture);
    let pid = running.pid;
    end(&fixture, running);
    let plan = Exec {
        process: serde_json::from_value(fixture.spec["process"].clone()).unwrap(),
        terminal: false,
        seccomp: false,
        seccomp_flags: None,
    };
    let error = as_launcher(|| launcher::exec(&plan, pid, None, None), |_| String::new()).unwrap_err();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error:?}");
}

/// An id that has come to mean a process of somebody else is not joined.
#[test]
fn another_process_of_that_id_is_not_joined() {
    let fixture = Fixture::new("echo up; sleep 100");
    let mut running = running(&fixture);
    let real = std::mem::replace(&mut running.pid, 1);
    let error = fixture.exec(&running, |_| ()).err().unwrap();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error}");
    running.pid = real;
    end(&fixture, running);
}
