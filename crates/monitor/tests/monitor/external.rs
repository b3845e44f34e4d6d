//! Containers launched by Debian's runc.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;

use corten_monitor::protocol::{CallError, Launcher, POD_SHM};
use serde_json::json;

use crate::harness::{Container, Pod, change, external, pipe, plan, until};

const RUNC: &str = "/usr/sbin/runc";

fn container(pod: &Pod, name: &str, script: &str) -> Container {
    let mut container = pod.container(name, script);
    container.plan.launcher = external(pod, RUNC);
    container
}

#[test]
fn runc_runs_logs_and_ends() {
    let mut pod = Pod::start();
    let container = container(&pod, "c", "echo out; echo err >&2; exit 7");
    assert_eq!(pod.client.run(&container).code, 7);
    let mut lines = pod.lines("c");
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    nothing_is_left(&pod, &container);
    assert_eq!(pod.leave(), "");
}

/// When the exit is told, the runtime has forgotten the container.
fn nothing_is_left(pod: &Pod, container: &Container) {
    let Launcher::External { state, mounts, .. } = &container.plan.launcher else { panic!("not external") };
    assert_eq!(fs::read_dir(state).unwrap().count(), 0);
    assert_eq!(fs::read_dir(mounts).unwrap().count(), 0);
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&pod.id));
}

#[test]
fn runcs_root_is_in_no_mount_table_but_the_containers() {
    let mut pod = Pod::start_with(corten_monitor::protocol::PodPlan { private_ipc: true, ..plan() });
    let mut container = container(&pod, "c", "echo x > /dev/shm/y; cat /dev/shm/y; exec sleep 1000");
    change(&mut container, |spec| {
        let shm = json!({"destination": "/dev/shm", "type": "bind", "source": POD_SHM, "options": ["rbind"]});
        spec["mounts"].as_array_mut().unwrap().push(shm);
    });
    pod.client.launch(&container).unwrap();
    until("it has logged", || pod.lines("c") == ["x"]);
    let dir = pod.dir.path().to_str().unwrap().to_owned();
    for pid in [std::process::id(), u32::try_from(pod.pid).unwrap()] {
        assert!(!fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap().contains(&dir));
    }
    pod.leave();
}

#[test]
fn runc_runs_processes() {
    let mut pod = Pod::start();
    let container = container(&pod, "c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let ((mut out, stdout), (_err, stderr)) = (pipe(), pipe());
    let null = fs::File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), stdout.as_fd(), stderr.as_fd()];
    pod.client.exec(&container, "e", "ps; exit 5", &fds).0.unwrap();
    drop((stdout, stderr));
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    assert!(said.contains("sleep 1000"), "{said}");
    assert_eq!(pod.client.exit(&container.id, Some("e")).code, 5);
    let (answer, mut fds) = pod.client.exec(&container, "t", "tty; exit 6", &[]);
    answer.unwrap();
    let master = fds.pop().unwrap();
    assert_eq!(pod.client.exit(&container.id, Some("t")).code, 6);
    let mut buffer = [0; 100];
    let n = rustix::io::read(&master, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"/dev/pts/0\r\n");
    pod.client.signal(&container.id, None, libc::SIGKILL, true).unwrap();
    assert_eq!(pod.client.exit(&container.id, None).code, 137);
    nothing_is_left(&pod, &container);
    pod.leave();
}

#[test]
fn a_container_of_runcs_with_a_terminal_logs() {
    let mut pod = Pod::start();
    let mut container = container(&pod, "c", "tty; exit 3");
    change(&mut container, |spec| spec["process"]["terminal"] = json!(true));
    assert_eq!(pod.client.run(&container).code, 3);
    assert_eq!(pod.lines("c"), ["/dev/pts/0\r"]);
    pod.leave();
}

#[test]
fn runcs_errors_are_told() {
    let mut pod = Pod::start();
    let mut wrong = container(&pod, "c", "");
    change(&mut wrong, |spec| spec["process"]["args"] = json!(["/nope"]));
    match pod.client.launch(&wrong) {
        Err(CallError::Container { error, .. }) => assert!(error.contains("/nope"), "{error}"),
        other => panic!("{other:?}"),
    }
    nothing_is_left(&pod, &wrong);
    let mut missing = pod.container("d", "");
    missing.plan.launcher = external(&pod, "/no/such/runtime");
    match pod.client.launch(&missing) {
        Err(CallError::Node { step, .. }) => assert!(step.contains("/no/such/runtime"), "{step}"),
        other => panic!("{other:?}"),
    }
    pod.leave();
}
