//! A monitor that cannot have a thread for a while.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Container, Pod, until};

/// One that has begun, whose writer thread has ended, and that says something more when it is told to end.
fn quiet(pod: &mut Pod) -> (Container, i32) {
    let container = pod.container("c", "trap 'echo last; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let init = pod.client.launch(&container).unwrap();
    until("it has logged", || pod.lines("c") == ["ready"]);
    let tasks = format!("/proc/{}/task", pod.pid);
    until("its writer has ended", || fs::read_dir(&tasks).unwrap().count() == 1);
    (container, init)
}

/// Sets how many descriptors the monitor may have; a writer thread needs one to be woken by. What it was.
fn limit(pod: &Pod, current: Option<u64>) -> Option<u64> {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    prlimit(Pid::from_raw(pod.pid), Resource::Nofile, Rlimit { current, maximum }).unwrap().current
}

fn end(pod: &mut Pod, container: &Container, init: i32) {
    pod.client.signal(&container.id, None, libc::SIGTERM, false).unwrap();
    until("it has ended", || !fs::exists(format!("/proc/{init}")).unwrap());
}

#[test]
fn the_last_output_waits_for_a_thread() {
    let mut pod = Pod::start();
    let (container, init) = quiet(&mut pod);
    let before = limit(&pod, Some(3));
    end(&mut pod, &container, init);
    assert!(matches!(pod.client.state_of(&container.id), Some(corten_monitor::protocol::HeldState::Running { .. })));
    limit(&pod, before);
    assert_eq!(pod.client.exit(&container.id, None).code, 3);
    assert_eq!(pod.lines("c"), ["ready", "last"]);
    pod.leave();
}

#[test]
fn a_last_output_for_which_there_is_no_thread_does_not_hide_the_exit() {
    let mut pod = Pod::start();
    let (container, init) = quiet(&mut pod);
    let before = limit(&pod, Some(3));
    end(&mut pod, &container, init);
    assert_eq!(pod.client.exit(&container.id, None).code, 3);
    limit(&pod, before);
    assert!(pod.log().contains("its last output is lost"), "{}", pod.log());
    pod.leave();
}
