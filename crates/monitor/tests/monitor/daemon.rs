//! The daemon's side: connections that break, packets that make no sense, clients that do not read.

use std::os::fd::{AsFd, BorrowedFd};

use corten_monitor::protocol::{Call, CallError, HeldState, MAX_PACKET, Message};

use crate::harness::{Pod, memfd, until};

fn is_bad_request(result: &Result<corten_monitor::protocol::Answer, CallError>) -> bool {
    matches!(result, Err(CallError::BadRequest { .. }))
}

#[test]
fn a_new_daemon_finds_everything_that_happened() {
    let mut pod = Pod::start();
    let (runs, ends) = (pod.container("runs", "exec sleep 1000"), pod.container("ends", "sleep 0.2; echo x; exit 9"));
    let pid = pod.client.launch(&runs).unwrap();
    pod.client.launch(&ends).unwrap();
    pod.client = pod.connect();
    until("the container has ended", || matches!(pod.client.state_of(&ends.id), Some(HeldState::Exited { .. })));
    let Some(HeldState::Exited { exit, .. }) = pod.client.state_of(&ends.id) else { panic!() };
    assert_eq!(exit.code, 9);
    assert_eq!(pod.lines("ends"), ["x"]);
    assert!(matches!(pod.client.state_of(&runs.id), Some(HeldState::Running { pid: held, .. }) if held == pid));
    pod.leave();
}

#[test]
fn a_launch_goes_on_when_its_daemon_is_gone() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    let plan = memfd(&serde_json::to_vec(&container.plan).unwrap());
    pod.client.ask(Call::Launch { container: container.id.clone() }, &[plan.as_fd()]);
    pod.client = pod.connect();
    until("it runs", || matches!(pod.client.state_of(&container.id), Some(HeldState::Running { .. })));
    pod.leave();
}

#[test]
fn exits_are_told_to_every_connection() {
    let mut pod = Pod::start();
    let mut other = pod.connect();
    let container = pod.container("c", "exit 8");
    assert_eq!(pod.client.run(&container).code, 8);
    assert_eq!(other.exit(&container.id, None).code, 8);
    pod.leave();
}

#[test]
fn nonsense_is_refused_and_the_monitor_goes_on() {
    let mut pod = Pod::start();
    let expect = |pod: &mut Pod, seq: u64, what: &str| {
        let (result, _) = pod.client.reply(seq);
        assert!(is_bad_request(&result), "{what}: {result:?}");
    };
    for bytes in [b"not JSON".as_slice(), b"{}", b"{\"seq\":", b"[]", b"\xff\xfe"] {
        pod.client.send_raw(bytes, &[]);
        expect(&mut pod, 0, "nonsense");
    }
    pod.client.send_raw(br#"{"seq": 77, "call": {"Fly": {}}}"#, &[]);
    expect(&mut pod, 77, "an unknown call");
    pod.client.send_raw(&vec![b' '; MAX_PACKET + 1], &[]);
    expect(&mut pod, 0, "too large a packet");
    let one = memfd(b"");
    let many: Vec<BorrowedFd<'_>> = (0..8).map(|_| one.as_fd()).collect();
    pod.client.send_raw(b"too many descriptors, which are closed", &many);
    expect(&mut pod, 0, "descriptors");

    let launch = |container: &str| Call::Launch { container: container.to_owned() };
    let refused = |pod: &mut Pod, call: Call, fds: &[BorrowedFd<'_>], what: &str| {
        let result = pod.client.call(call, fds);
        assert!(is_bad_request(&result), "{what}: {result:?}");
    };
    refused(&mut pod, launch("c"), &[], "no plan");
    refused(&mut pod, launch("c"), &[memfd(b"nonsense").as_fd()], "a plan that is not JSON");
    refused(&mut pod, launch("c"), &[memfd(b"{}").as_fd()], "an empty plan");
    let (read, _write) = crate::harness::pipe();
    refused(&mut pod, launch("c"), &[read.as_fd()], "a pipe instead of a memfd");
    for id in ["", "../x", "a/b", ".", "-x", &"x".repeat(200)] {
        refused(&mut pod, launch(id), &[memfd(b"{}").as_fd()], "an id");
    }
    let exec = Call::Exec { container: "nobody".to_owned(), exec: "e".to_owned() };
    assert!(matches!(pod.client.call(exec, &[]), Err(CallError::NotFound { .. })));
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    for signal in [0, -1, 65, i32::MAX] {
        let result = pod.client.signal(&container.id, None, signal, false);
        assert!(matches!(result, Err(CallError::BadRequest { .. })), "{signal}: {result:?}");
    }
    let plan = memfd(
        br#"{"process":{"cwd":"/","args":["/bin/sh"],"user":{"uid":0,"gid":0}},"terminal":false,"seccomp":false}"#,
    );
    let exec = Call::Exec { container: container.id.clone(), exec: "e".to_owned() };
    refused(&mut pod, exec, &[plan.as_fd()], "exec without streams");
    refused(&mut pod, Call::Forget { container: container.id.clone() }, &[], "forgetting a running container");
    pod.leave();
}

#[test]
fn a_client_that_reads_nothing_is_dropped_and_nobody_else_notices() {
    let mut pod = Pod::start();
    let mut lazy = pod.connect();
    let mut asked = 0;
    // The monitor answers until it has had enough, and closes.
    while rustix::net::send(lazy.socket(), &state_request(asked), rustix::net::SendFlags::NOSIGNAL).is_ok() {
        asked += 1;
        assert!(asked < 100_000, "the monitor keeps everything");
        if asked % 100 == 0 {
            pod.client.state();
        }
    }
    while lazy.message().is_some() {}
    let container = pod.container("c", "exit 1");
    assert_eq!(pod.client.run(&container).code, 1);
    assert!(pod.leave().contains("the client does not read"));
}

fn state_request(seq: u64) -> Vec<u8> {
    serde_json::to_vec(&corten_monitor::protocol::Request { seq, call: Call::State }).unwrap()
}

#[test]
fn leaving_ends_everything() {
    let mut pod = Pod::start();
    let container = pod.container("c", "trap '' TERM; sleep 1000 & sleep 1000");
    let pid = pod.client.launch(&container).unwrap();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
    pod.client.exec(&container, "e", "setsid sleep 1000 & sleep 1000", &fds).0.unwrap();
    let seq = pod.client.ask(Call::Leave, &[]);
    pod.client.reply(seq).0.unwrap();
    assert!(pod.client.message().is_none());
    pod.await_end();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_monitor_ignores_signals_that_are_meant_for_the_daemon() {
    let mut pod = Pod::start();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: the monitor is this process's child and not reaped.
        assert_eq!(unsafe { libc::kill(pod.pid, signal) }, 0);
    }
    // A container has none of them ignored.
    let container = pod.container("c", "exec cat /proc/self/status");
    pod.client.run(&container);
    let status = pod.lines("c");
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(status.contains(&format!("{field}:\t0000000000000000")), "{status:?}");
    }
    assert!(!matches!(pod.client.message_if_any(), Some(Message::Failed { .. })));
    pod.leave();
}
