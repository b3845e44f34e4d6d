//! Containers: launching, ending, exec, signals.

use std::io::Read;
use std::os::fd::AsFd;

use corten_monitor::protocol::{Answer, Call, CallError, HeldState};
use serde_json::json;

use crate::harness::{Pod, change, memfd, pipe, until};

#[test]
fn a_container_runs_logs_and_ends() {
    let mut pod = Pod::start();
    let container = pod.container("c", "echo out; echo err >&2; exit 7");
    let exit = pod.client.run(&container);
    assert_eq!((exit.code, exit.signal, exit.oom), (7, None, false));
    let mut records = pod.records("c");
    records.sort();
    let expected = [("stderr", "F", "err"), ("stdout", "F", "out")];
    assert_eq!(records, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    assert!(matches!(pod.client.state_of(&container.id), Some(HeldState::Exited { exit: held, .. }) if held == exit));
    let forget = Call::Forget { container: container.id.clone() };
    pod.client.call(forget.clone(), &[]).unwrap();
    assert!(matches!(pod.client.call(forget, &[]), Err(CallError::NotFound { .. })));
    assert_eq!(pod.leave(), "");
}

#[test]
fn a_signal_ends_a_container_and_is_reported() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    pod.client.signal(&container.id, None, libc::SIGKILL, false).unwrap();
    let exit = pod.client.exit(&container.id, None);
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    let again = pod.client.signal(&container.id, None, libc::SIGTERM, false);
    assert!(matches!(again, Err(CallError::NotRunning { .. })), "{again:?}");
    pod.leave();
}

#[test]
fn a_trapped_signal_reaches_the_container() {
    let mut pod = Pod::start();
    let container = pod.container("c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    pod.client.launch(&container).unwrap();
    until("the trap is set", || pod.lines("c") == ["ready"]);
    pod.client.signal(&container.id, None, libc::SIGTERM, false).unwrap();
    assert_eq!(pod.client.exit(&container.id, None).code, 3);
    assert_eq!(pod.lines("c"), ["ready", "bye"]);
    pod.leave();
}

#[test]
fn the_oom_killers_strike_is_reported() {
    let mut pod = Pod::start();
    let mut container = pod.container("c", "x=a; while :; do x=$x$x; done");
    change(&mut container, |spec| {
        spec["linux"]["resources"] = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    });
    let exit = pod.client.run(&container);
    assert!(exit.oom, "{exit:?}");
    let innocent = pod.container("d", "exit 1");
    assert!(!pod.client.run(&innocent).oom);
    pod.leave();
}

#[test]
fn a_program_that_is_not_there_is_the_containers_fault() {
    let mut pod = Pod::start();
    let mut container = pod.container("c", "");
    change(&mut container, |spec| spec["process"]["args"] = json!(["/nope"]));
    let error = pod.client.launch(&container);
    assert!(matches!(error, Err(CallError::Container { .. })), "{error:?}");
    assert_eq!(pod.client.state(), []);
    // The id is free again.
    let again = pod.container("c", "exit 4");
    assert_eq!(pod.client.run(&again).code, 4);
    pod.leave();
}

#[test]
fn a_process_runs_in_a_container_over_pipes() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let (stdin, write) = pipe();
    rustix::io::write(&write, b"hello\n").unwrap();
    drop(write);
    let ((mut out, stdout), (mut err, stderr)) = (pipe(), pipe());
    let script = "cat; echo err >&2; ps | head -n 2 | tail -n 1; exit 5";
    let (answer, fds) = pod.client.exec(&container, "e1", script, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
    assert!(matches!(answer, Ok(Answer::Launched { .. })), "{answer:?}");
    assert!(fds.is_empty());
    drop((stdin, stdout, stderr));
    let (mut said, mut complained) = (String::new(), String::new());
    out.read_to_string(&mut said).unwrap();
    err.read_to_string(&mut complained).unwrap();
    assert!(said.starts_with("hello\n") && said.contains("sleep 1000"), "{said:?}");
    assert_eq!(complained, "err\n");
    assert_eq!(pod.client.exit(&container.id, Some("e1")).code, 5);
    pod.leave();
}

#[test]
fn a_process_with_a_terminal_gets_one() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let (answer, mut fds) = pod.client.exec(&container, "e1", "tty; exit 6", &[]);
    assert!(matches!(answer, Ok(Answer::Launched { .. })), "{answer:?}");
    let master = fds.pop().expect("the terminal's master");
    assert_eq!(pod.client.exit(&container.id, Some("e1")).code, 6);
    let mut buffer = [0; 100];
    let n = rustix::io::read(&master, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"/dev/pts/0\r\n");
    pod.leave();
}

#[test]
fn killing_a_process_kills_its_group() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let ((mut out, stdout), (_err, stderr)) = (pipe(), pipe());
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), stdout.as_fd(), stderr.as_fd()];
    pod.client.exec(&container, "e1", "sleep 1000 & sleep 1001", &fds).0.unwrap();
    drop((stdout, stderr));
    pod.client.signal(&container.id, Some("e1"), libc::SIGKILL, true).unwrap();
    assert_eq!(pod.client.exit(&container.id, Some("e1")).code, 137);
    // The one in the background is gone too: nobody has the pipe any longer.
    assert_eq!(out.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert!(matches!(pod.client.state_of(&container.id), Some(HeldState::Running { .. })));
    let unknown = pod.client.signal(&container.id, Some("e1"), libc::SIGKILL, true);
    assert!(matches!(unknown, Err(CallError::NotFound { .. })), "{unknown:?}");
    pod.leave();
}

#[test]
fn short_processes_exits_are_never_lost() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    for code in 0..50 {
        let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
        let id = format!("e{code}");
        pod.client.exec(&container, &id, &format!("exit {code}"), &fds).0.unwrap();
        assert_eq!(pod.client.exit(&container.id, Some(&id)).code, code);
    }
    pod.leave();
}

#[test]
fn many_at_once_are_told_apart() {
    let mut pod = Pod::start();
    let containers: Vec<_> = (0..8).map(|n| pod.container(&format!("c{n}"), "exec sleep 1000")).collect();
    for container in &containers {
        pod.client.launch(container).unwrap();
    }
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let mut asked = Vec::new();
    for code in 0..96 {
        let container = &containers[code % containers.len()];
        let process =
            json!({"cwd": "/", "args": ["/bin/sh", "-c", format!("exit {code}")], "user": {"uid": 0, "gid": 0}});
        let plan =
            memfd(&serde_json::to_vec(&json!({"process": process, "terminal": false, "seccomp": false})).unwrap());
        let fds = [plan.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
        let exec = format!("e{code}");
        asked.push(pod.client.ask(Call::Exec { container: container.id.clone(), exec }, &fds));
    }
    pod.client.replies(&asked);
    for code in 0..96 {
        let exit = pod.client.exit(&containers[code % containers.len()].id, Some(&format!("e{code}")));
        assert_eq!(usize::try_from(exit.code).unwrap(), code);
    }
    pod.leave();
}

#[test]
fn a_container_ends_while_processes_run_in_it() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    for id in ["e1", "e2"] {
        let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
        pod.client.exec(&container, id, "sleep 1000", &fds).0.unwrap();
    }
    pod.client.signal(&container.id, None, libc::SIGKILL, true).unwrap();
    assert_eq!(pod.client.exit(&container.id, None).code, 137);
    for id in ["e1", "e2"] {
        assert_eq!(pod.client.exit(&container.id, Some(id)).code, 137);
    }
    pod.leave();
}

#[test]
fn two_containers_do_not_know_each_other() {
    let mut pod = Pod::start();
    let one = pod.container("one", "echo 1; exec sleep 1000");
    let two = pod.container("two", "echo 2; exit 2");
    pod.client.launch(&one).unwrap();
    assert_eq!(pod.client.run(&two).code, 2);
    assert!(matches!(pod.client.state_of(&one.id), Some(HeldState::Running { .. })));
    until("one has logged", || pod.lines("one") == ["1"]);
    assert_eq!(pod.lines("two"), ["2"]);
    let again = pod.client.launch(&one);
    assert!(matches!(again, Err(CallError::BadRequest { .. })), "{again:?}");
    pod.leave();
}

#[test]
fn a_container_with_a_terminal_logs_to_stdout() {
    let mut pod = Pod::start();
    let mut container = pod.container("c", "tty; echo err >&2; exit 3");
    change(&mut container, |spec| spec["process"]["terminal"] = json!(true));
    assert_eq!(pod.client.run(&container).code, 3);
    let expected = [("stdout", "F", "/dev/pts/0\r"), ("stdout", "F", "err\r")];
    assert_eq!(pod.records("c"), expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    pod.leave();
}

#[test]
fn stdin_is_open_only_if_asked_for() {
    let mut pod = Pod::start();
    let closed = pod.container("closed", "cat; echo end");
    assert_eq!(pod.client.run(&closed).code, 0);
    let mut open = pod.container("open", "echo begin; cat; echo end");
    open.plan.stdin = true;
    pod.client.launch(&open).unwrap();
    until("it has begun", || pod.lines("open") == ["begin"]);
    pod.client.signal(&open.id, None, libc::SIGKILL, false).unwrap();
    pod.client.exit(&open.id, None);
    assert_eq!(pod.lines("open"), ["begin"]);
    pod.leave();
}
