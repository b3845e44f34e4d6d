//! Clients that follow a container's output and write to its stdin.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use corten_monitor::packet;
use corten_monitor::protocol::attached::{END, MAX_DATA, STDERR, STDOUT};
use corten_monitor::protocol::{Answer, Call, CallError, Launcher};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use serde_json::json;

use crate::harness::{Client, Container, PATIENCE, Pod, change, external, pipe, until};
use crate::logs::Disk;

const RUNC: &str = "/usr/sbin/runc";

/// A client of a container.
struct Attached {
    socket: OwnedFd,
    terminal: bool,
    input: Option<OwnedFd>,
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

fn call(container: &Container) -> Call {
    Call::Attach { container: container.id.clone() }
}

fn try_attach(client: &mut Client, container: &Container) -> Result<Attached, CallError> {
    let (socket, theirs) = pair(SocketType::SEQPACKET);
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
    let (answer, mut fds) = client.call_for_fds(call(container), &[theirs.as_fd()]);
    let Answer::Attached { terminal, stdin } = answer? else { panic!("not an answer to that") };
    assert_eq!(fds.len(), usize::from(stdin));
    Ok(Attached { socket, terminal, input: fds.pop() })
}

fn attach(pod: &mut Pod, container: &Container) -> Attached {
    try_attach(&mut pod.client, container).unwrap()
}

fn close_stdin(pod: &mut Pod, container: &Container) -> Result<Answer, CallError> {
    pod.client.call(Call::CloseStdin { container: container.id.clone() }, &[])
}

impl Attached {
    /// The next packet; `None` when the socket is closed.
    fn next(&self) -> Option<(u8, Vec<u8>)> {
        let packet = packet::receive(self.socket.as_fd(), MAX_DATA + 2).unwrap()?;
        let (kind, data) = packet.bytes.split_first().unwrap();
        assert!(data.len() <= MAX_DATA);
        Some((*kind, data.to_vec()))
    }

    fn say(&self, text: &str) {
        let input = self.input.as_ref().expect("its stdin is open");
        assert_eq!(rustix::io::write(input, text.as_bytes()), Ok(text.len()));
    }

    /// Reads stdout until so much has come.
    fn read(&self, length: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < length {
            let (kind, data) = self.next().expect("not cut off");
            assert_eq!(kind, STDOUT);
            read.extend(data);
        }
        read
    }

    /// Everything until the socket is closed: stdout, stderr, and whether the end was told.
    fn everything(&self) -> (String, String, bool) {
        let (mut out, mut err, mut ended) = (Vec::new(), Vec::new(), false);
        while let Some((kind, data)) = self.next() {
            assert!(!ended, "nothing follows the end");
            match kind {
                STDOUT => out.extend(data),
                STDERR => err.extend(data),
                END => ended = true,
                other => panic!("{other}"),
            }
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), ended)
    }
}

/// A container that waits for a line on its stdin before each of its words.
fn asks(pod: &Pod, name: &str, script: &str) -> Container {
    let mut container = pod.container(name, script);
    container.plan.stdin = true;
    container
}

fn both_launchers(pod: &Pod) -> [(&'static str, Launcher); 2] {
    [("own", Launcher::BuiltIn), ("runc", external(pod, RUNC))]
}

#[test]
fn a_client_gets_all_that_is_said_after_it_came_and_the_end() {
    let mut pod = Pod::start();
    for (name, launcher) in both_launchers(&pod) {
        let mut container = asks(&pod, name, "echo before; read x; seq 1 2000; echo $x >&2; exit 3");
        container.plan.launcher = launcher;
        pod.client.launch(&container).unwrap();
        until("it has logged", || pod.lines(name) == ["before"]);
        let (one, two) = (attach(&mut pod, &container), attach(&mut pod, &container));
        assert!(!one.terminal);
        one.say("go\n");
        assert_eq!(pod.client.exit(&container.id, None).code, 3);
        let numbers: String = (1..=2000).map(|n| format!("{n}\n")).collect();
        for client in [one, two] {
            assert_eq!(client.everything(), (numbers.clone(), "go\n".to_owned(), true));
        }
        assert_eq!(pod.lines(name).len(), 2002);
        let late = try_attach(&mut pod.client, &container).err();
        assert!(matches!(late, Some(CallError::NotRunning { .. })), "{late:?}");
    }
    assert_eq!(pod.leave(), "");
}

#[test]
fn what_is_said_after_the_answer_is_never_missed() {
    let mut pod = Pod::start();
    let container = asks(&pod, "c", "cat");
    pod.client.launch(&container).unwrap();
    let first = attach(&mut pod, &container);
    for round in 0..200 {
        // Its output is being read, or about to be, when the client comes.
        first.say("noise\n");
        let client = attach(&mut pod, &container);
        let line = format!("line {round}\n");
        first.say(&line);
        for client in [&first, &client] {
            let mut said = String::new();
            while !said.ends_with(&line) {
                said.push_str(str::from_utf8(&client.read(1)).unwrap());
            }
        }
    }
    pod.leave();
}

#[test]
fn a_terminal_is_reached_over_its_master() {
    let mut pod = Pod::start();
    for (name, launcher) in both_launchers(&pod) {
        let mut container = pod.container(name, "read x; echo got $x; echo err >&2; exit 4");
        container.plan.launcher = launcher;
        change(&mut container, |spec| spec["process"]["terminal"] = json!(true));
        pod.client.launch(&container).unwrap();
        let client = attach(&mut pod, &container);
        assert!(client.terminal);
        client.say("hello\n");
        assert_eq!(pod.client.exit(&container.id, None).code, 4);
        let said = "hello\r\ngot hello\r\nerr\r\n".to_owned();
        assert_eq!(client.everything(), (said, String::new(), true));
        assert_eq!(pod.lines(name), ["hello\r", "got hello\r", "err\r"]);
    }
    let mut container = pod.container("c", "read x");
    change(&mut container, |spec| spec["process"]["terminal"] = json!(true));
    pod.client.launch(&container).unwrap();
    let answer = close_stdin(&mut pod, &container);
    assert!(matches!(answer, Err(CallError::BadRequest { .. })), "{answer:?}");
    pod.leave();
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_stops_nobody() {
    let mut pod = Pod::start();
    let round = 40_000;
    // No log: the output is followed all the same.
    let mut container =
        asks(&pod, "c", &format!("while read x && [ $x = more ]; do head -c {round} /dev/zero; done; exit 5"));
    container.plan.log = None;
    pod.client.launch(&container).unwrap();
    let (sleeper, reader) = (attach(&mut pod, &container), attach(&mut pod, &container));
    for _ in 0..30 {
        // Only as fast as it reads: it has room for more than that.
        reader.say("more\n");
        assert_eq!(reader.read(round), vec![0; round]);
    }
    let (said, _, ended) = sleeper.everything();
    assert!(!ended && !said.is_empty() && said.len() < 30 * round, "{}", said.len());
    reader.say("enough\n");
    assert_eq!(pod.client.exit(&container.id, None).code, 5);
    assert_eq!(reader.everything(), (String::new(), String::new(), true));
    pod.leave();
}

#[test]
fn the_end_is_the_containers_not_that_of_its_streams() {
    let mut pod = Pod::start();
    let container = asks(&pod, "c", "echo last; exec >&- 2>&-; read x; exit 6");
    pod.client.launch(&container).unwrap();
    until("it has logged", || pod.lines("c") == ["last"]);
    let client = attach(&mut pod, &container);
    rustix::io::ioctl_fionbio(&client.socket, true).unwrap();
    assert_eq!(packet::receive(client.socket.as_fd(), 10).unwrap_err(), rustix::io::Errno::AGAIN);
    rustix::io::ioctl_fionbio(&client.socket, false).unwrap();
    client.say("go\n");
    assert_eq!(pod.client.exit(&container.id, None).code, 6);
    assert_eq!(client.everything(), (String::new(), String::new(), true));
    pod.leave();
}

#[test]
fn stdin_is_closed_when_the_daemon_says_so() {
    let mut pod = Pod::start();
    let container = asks(&pod, "c", "cat; echo end; exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let mut client = attach(&mut pod, &container);
    client.say("hello\n");
    assert_eq!(client.read(6), b"hello\n");
    for _ in 0..2 {
        assert_eq!(close_stdin(&mut pod, &container), Ok(Answer::Done));
    }
    assert!(attach(&mut pod, &container).input.is_none());
    // The client's own is the last.
    client.say("still\n");
    assert_eq!(client.read(6), b"still\n");
    client.input = None;
    assert_eq!(client.read(4), b"end\n");
    let unknown = pod.container("unknown", "");
    assert!(matches!(close_stdin(&mut pod, &unknown), Err(CallError::NotFound { .. })));
    pod.leave();
}

/// How many sockets the monitor has open.
fn sockets(pod: &Pod) -> usize {
    let links = fs::read_dir(format!("/proc/{}/fd", pod.pid)).unwrap().flatten();
    let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn nothing_is_left_of_clients_that_vanish() {
    let mut pod = Pod::start();
    let idle = pod.container("idle", "exec sleep 1000");
    let busy = pod.container("busy", "while :; do echo x; sleep 0.02; done");
    for container in [&idle, &busy] {
        pod.client.launch(container).unwrap();
    }
    until("the launchers have ended", || sockets(&pod) == 2);
    for container in [&idle, &busy] {
        let clients: Vec<Attached> = (0..10).map(|_| attach(&mut pod, container)).collect();
        assert_eq!(sockets(&pod), 12);
        for client in &clients {
            rustix::io::write(&client.socket, b"what is this?").unwrap();
        }
        drop(clients);
        until("they are gone", || sockets(&pod) == 2);
    }
    pod.leave();
}

#[test]
fn a_container_has_so_many_clients_and_no_more() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    let mut clients: Vec<Attached> = (0..64).map(|_| attach(&mut pod, &container)).collect();
    match try_attach(&mut pod.client, &container).err() {
        Some(CallError::Node { step, error }) => assert!(step == "attach" && error.contains("64"), "{error}"),
        other => panic!("{other:?}"),
    }
    clients.pop();
    until("there is room again", || try_attach(&mut pod.client, &container).is_ok());
    pod.client.signal(&container.id, None, libc::SIGKILL, false).unwrap();
    pod.client.exit(&container.id, None);
    assert!(clients.iter().all(|client| client.everything().2));
    until("the monitor has closed them", || sockets(&pod) == 2);
    pod.leave();
}

#[test]
fn attach_takes_one_seqpacket_socket() {
    let mut pod = Pod::start();
    let container = pod.container("c", "exec sleep 1000");
    pod.client.launch(&container).unwrap();
    until("the launcher has ended", || sockets(&pod) == 2);
    let (good, _other) = pair(SocketType::SEQPACKET);
    let (stream, _other) = pair(SocketType::STREAM);
    let (datagram, _other) = pair(SocketType::DGRAM);
    let (read, _write) = pipe();
    let wrong =
        [vec![], vec![good.as_fd(), good.as_fd()], vec![stream.as_fd()], vec![datagram.as_fd()], vec![read.as_fd()]];
    for fds in wrong {
        let answer = pod.client.call(call(&container), &fds);
        assert!(matches!(answer, Err(CallError::BadRequest { .. })), "{answer:?}");
    }
    let unknown = pod.container("unknown", "");
    let answer = pod.client.call(call(&unknown), &[good.as_fd()]);
    assert!(matches!(answer, Err(CallError::NotFound { .. })), "{answer:?}");
    assert_eq!(sockets(&pod), 2);
    pod.leave();
}

#[test]
fn a_log_disk_that_hangs_keeps_no_client_from_coming_and_going() {
    let mut pod = Pod::start();
    let disk = Disk::new(pod.dir.path());
    let mut container = asks(&pod, "c", "echo ready; read x; echo said; read x; exit 7");
    container.plan.log = Some(disk.mounted.join("0.log"));
    pod.client.launch(&container).unwrap();
    let client = attach(&mut pod, &container);
    let log = container.plan.log.clone().unwrap();
    until("it has logged", || fs::metadata(&log).unwrap().len() > 0);
    disk.hang();
    client.say("go\n");
    // It may have come before "ready".
    until("it is told", || client.next().expect("not cut off").1.ends_with(b"said\n"));
    assert_eq!(sockets(&pod), 3);
    drop(attach(&mut pod, &container));
    until("it is gone", || sockets(&pod) == 3);
    client.say("go\n");
    let forget = Call::Forget { container: container.id.clone() };
    assert_eq!(pod.client.exit(&container.id, None).code, 7);
    // The end is not told: what is still to be read would come before it.
    pod.client.call(forget, &[]).unwrap();
    assert_eq!(client.everything(), (String::new(), String::new(), false));
    until("it is closed", || sockets(&pod) == 2);
    disk.go_on();
    drop(disk);
    pod.leave();
}
