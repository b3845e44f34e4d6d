//! A daemon for tests: it starts the real monitor over real sockets, as `cortend` does.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_host::cgroup::{Cgroup, Hierarchies};
use corten_host::spawn::spawn;
use corten_monitor::fork::wait;
use corten_monitor::packet::{self, Packet};
use corten_monitor::protocol::{
    Answer, Call, CallError, Exec, Exit, Held, HeldState, Launch, Launcher, MAX_PACKET, Message, OverlayRoot, PodPlan,
    Request,
};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, socketpair, sockopt,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A test that hears nothing for so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A pod with its monitor.
pub struct Pod {
    pub dir: TempDir,
    pub id: String,
    pub pid: i32,
    /// The first connection.
    pub client: Client,
    pub init_pid: Option<i32>,
    gone: bool,
}

/// A connection to a monitor.
pub struct Client {
    socket: OwnedFd,
    seq: u64,
    /// Exits that came while something else was awaited.
    exits: Vec<(String, Option<String>, Exit)>,
}

/// A container to launch.
pub struct Container {
    pub id: String,
    pub plan: Launch,
}

/// A plan for a pod without namespaces of its own.
pub fn plan() -> PodPlan {
    let id = format!("pod-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    PodPlan {
        cgroup: Some(format!("/corten-test-monitor-{id}")),
        id,
        hostname: None,
        private_ipc: false,
        shared_pid: false,
        netns: None,
        users: None,
        sysctls: Vec::new(),
        in_v2: false,
        shm_size: 1024 * 1024,
        shm_label: None,
        oom_score_adj: 0,
    }
}

pub fn memfd(bytes: &[u8]) -> OwnedFd {
    let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    file.into()
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

impl Pod {
    pub fn start() -> Self {
        Self::start_with(plan())
    }

    pub fn start_with(plan: PodPlan) -> Self {
        match Self::try_start(plan) {
            Ok(pod) => pod,
            Err(error) => panic!("{error}"),
        }
    }

    /// The monitor's own error if the pod cannot be set up.
    pub fn try_start(plan: PodPlan) -> Result<Self, String> {
        let dir = tempfile::tempdir().unwrap();
        let listener = seqpacket();
        bind(&listener, &SocketAddrUnix::new(dir.path().join("monitor.sock")).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let plan_fd = memfd(&serde_json::to_vec(&plan).unwrap());
        let null = File::open("/dev/null").unwrap();
        let log = File::create(dir.path().join("monitor.log")).unwrap();
        let fds = [null.as_fd(), log.as_fd(), log.as_fd(), listener.as_fd(), theirs.as_fd(), plan_fd.as_fd()];
        let program = Path::new(env!("CARGO_BIN_EXE_corten-monitor"));
        let pid = spawn(program, &["corten-monitor", &plan.id], &fds, None).unwrap();
        drop((theirs, listener, plan_fd));
        let mut client = Client::new(ours);
        let pod = |client, init_pid| Self { dir, id: plan.id.clone(), pid, client, init_pid, gone: false };
        match client.message() {
            Some((Message::Hello { pod: id, pid: said, init_pid, version }, _)) => {
                assert_eq!((id.as_str(), said, version), (plan.id.as_str(), pid, corten_monitor::protocol::VERSION));
                Ok(pod(client, init_pid))
            }
            Some((Message::Failed { error }, _)) => {
                assert_eq!(wait(pid).unwrap(), 1);
                remove_cgroup(&plan.id);
                Err(error)
            }
            other => panic!("{other:?}, and its log says {:?}", pod(Client::new(seqpacket()), None).log()),
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("monitor.log")).unwrap()
    }

    /// Another connection.
    pub fn connect(&self) -> Client {
        let socket = seqpacket();
        connect(&socket, &SocketAddrUnix::new(self.dir.path().join("monitor.sock")).unwrap()).unwrap();
        let mut client = Client::new(socket);
        assert!(matches!(client.message(), Some((Message::Hello { .. }, _))));
        client
    }

    /// A container that runs `sh -c script`.
    pub fn container(&self, name: &str, script: &str) -> Container {
        let id = format!("{}-{name}", self.id);
        let dir = self.dir.path().join(name);
        let lower = self.dir.path().join("image");
        if !lower.exists() {
            image(&lower);
        }
        for part in ["upper", "work"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let plan = Launch {
            spec: serde_json::from_value(spec(script, &self.cgroup_path(name))).unwrap(),
            root: OverlayRoot {
                lower: vec![lower],
                upper: dir.join("upper"),
                work: dir.join("work"),
                directories: Vec::new(),
            },
            images: Vec::new(),
            seccomp: false,
            seccomp_flags: None,
            launcher: Launcher::BuiltIn,
            stdin: false,
            log: Some(dir.join("0.log")),
            max_log_line: 16384,
        };
        Container { id, plan }
    }

    fn cgroup_path(&self, name: &str) -> String {
        format!("/corten-test-monitor-{}-{name}", self.id)
    }

    pub fn cgroup(&self, name: &str) -> Cgroup {
        Hierarchies::detect().unwrap().cgroup(&self.cgroup_path(name)).unwrap()
    }

    /// The log of a container: stream, tag and content of each record.
    pub fn records(&self, name: &str) -> Vec<(String, String, String)> {
        whole_records(&self.dir.path().join(name).join("0.log"))
    }

    /// The contents of a container's log.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.records(name).into_iter().map(|(_, _, line)| line).collect()
    }

    /// Says Leave and waits for the monitor's end; nothing may be left.
    pub fn leave(mut self) -> String {
        self.client.call(Call::Leave, &[]).unwrap();
        self.await_end()
    }

    /// Waits for the monitor's end.
    pub fn await_end(&mut self) -> String {
        self.gone = true;
        assert_eq!(wait(self.pid).unwrap(), 0, "{}", self.log());
        let processes = |cgroup: &Cgroup| cgroup.processes().unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let cgroup = self.cgroup(&entry.unwrap().file_name().into_string().unwrap());
            assert_eq!(processes(&cgroup), Vec::<i32>::new());
        }
        self.log()
    }
}

/// Whether the test succeeded or not: nothing is left of it.
impl Drop for Pod {
    fn drop(&mut self) {
        if !self.gone {
            // SAFETY: the monitor is this process's child and not reaped.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            let _ = wait(self.pid);
        }
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if let Ok(name) = entry.file_name().into_string() {
                let cgroup = self.cgroup(&name);
                let _ = cgroup.kill(libc::SIGKILL);
                let _ = cgroup.remove();
            }
        }
        remove_cgroup(&self.id);
    }
}

fn remove_cgroup(id: &str) {
    let cgroup = Hierarchies::detect().unwrap().cgroup(&format!("/corten-test-monitor-{id}")).unwrap();
    let _ = cgroup.kill(libc::SIGKILL);
    let _ = cgroup.remove();
}

impl Client {
    fn new(socket: OwnedFd) -> Self {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).unwrap();
        Self { socket, seq: 0, exits: Vec::new() }
    }

    /// The next message; `None` when the monitor has closed the connection.
    pub fn message(&mut self) -> Option<(Message, Vec<OwnedFd>)> {
        let Packet { bytes, fds, .. } = match packet::receive(self.socket.as_fd(), MAX_PACKET) {
            Ok(packet) => packet?,
            Err(rustix::io::Errno::CONNRESET) => return None,
            Err(error) => panic!("no message: {error}"),
        };
        Some((serde_json::from_slice(&bytes).unwrap(), fds))
    }

    pub fn send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        packet::send(self.socket.as_fd(), bytes, fds, true).unwrap();
    }

    /// Asks without waiting for the answer.
    pub fn ask(&mut self, call: Call, fds: &[BorrowedFd<'_>]) -> u64 {
        self.seq += 1;
        self.send_raw(&serde_json::to_vec(&Request { seq: self.seq, call }).unwrap(), fds);
        self.seq
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, call: Call, fds: &[BorrowedFd<'_>]) -> Result<Answer, CallError> {
        self.call_for_fds(call, fds).0
    }

    pub fn call_for_fds(&mut self, call: Call, fds: &[BorrowedFd<'_>]) -> (Result<Answer, CallError>, Vec<OwnedFd>) {
        let seq = self.ask(call, fds);
        self.reply(seq)
    }

    /// Waits for the answer to an earlier request.
    pub fn reply(&mut self, wanted: u64) -> (Result<Answer, CallError>, Vec<OwnedFd>) {
        loop {
            match self.message() {
                Some((Message::Reply { seq, result }, fds)) if seq == wanted => return (result, fds),
                Some((Message::Exited { container, exec, exit, .. }, _)) => self.exits.push((container, exec, exit)),
                other => panic!("waiting for reply {wanted}: {other:?}"),
            }
        }
    }

    /// Waits for the answers to earlier requests, in whatever order they come; all must be good.
    pub fn replies(&mut self, wanted: &[u64]) {
        let mut wanted: Vec<u64> = wanted.to_vec();
        while !wanted.is_empty() {
            match self.message() {
                Some((Message::Reply { seq, result: Ok(_) }, _)) => wanted.retain(|other| *other != seq),
                Some((Message::Exited { container, exec, exit, .. }, _)) => self.exits.push((container, exec, exit)),
                other => panic!("waiting for replies {wanted:?}: {other:?}"),
            }
        }
    }

    pub fn launch(&mut self, container: &Container) -> Result<i32, CallError> {
        let plan = memfd(&serde_json::to_vec(&container.plan).unwrap());
        match self.call(Call::Launch { container: container.id.clone() }, &[plan.as_fd()])? {
            Answer::Launched { pid, .. } => Ok(pid),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end of a container, or of a process run in it.
    pub fn exit(&mut self, container: &str, exec: Option<&str>) -> Exit {
        loop {
            let found = self.exits.iter().position(|(id, process, _)| id == container && process.as_deref() == exec);
            if let Some(index) = found {
                return self.exits.remove(index).2;
            }
            match self.message() {
                Some((Message::Exited { container, exec, exit, .. }, _)) => self.exits.push((container, exec, exit)),
                other => panic!("waiting for the exit of {container} {exec:?}: {other:?}"),
            }
        }
    }

    /// Launches and waits for the end.
    pub fn run(&mut self, container: &Container) -> Exit {
        self.launch(container).unwrap();
        self.exit(&container.id, None)
    }

    /// Runs `sh -c script` in a container with these streams.
    pub fn exec(
        &mut self,
        container: &Container,
        id: &str,
        script: &str,
        stdio: &[BorrowedFd<'_>],
    ) -> (Result<Answer, CallError>, Vec<OwnedFd>) {
        let process = container.plan.spec.process().clone().unwrap();
        let mut process: Value = serde_json::to_value(process).unwrap();
        process["args"] = json!(["/bin/sh", "-c", script]);
        let terminal = stdio.is_empty();
        process["terminal"] = json!(terminal);
        let plan =
            Exec { process: serde_json::from_value(process).unwrap(), terminal, seccomp: false, seccomp_flags: None };
        let plan = memfd(&serde_json::to_vec(&plan).unwrap());
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(plan.as_fd()).chain(stdio.iter().copied()).collect();
        self.call_for_fds(Call::Exec { container: container.id.clone(), exec: id.to_owned() }, &fds)
    }

    pub fn signal(&mut self, container: &str, exec: Option<&str>, signal: i32, all: bool) -> Result<(), CallError> {
        let exec = exec.map(str::to_owned);
        self.call(Call::Signal { container: container.to_owned(), exec, signal, all }, &[]).map(drop)
    }

    pub fn state(&mut self) -> Vec<Held> {
        match self.call(Call::State, &[]) {
            Ok(Answer::State { containers }) => containers,
            other => panic!("{other:?}"),
        }
    }

    pub fn state_of(&mut self, container: &str) -> Option<HeldState> {
        self.state().into_iter().find(|held| held.container == container).map(|held| held.state)
    }
}

/// Stream, tag and content of each record of a log. Every record must be well-formed.
pub fn records(path: &Path) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    assert!(text.is_empty() || text.ends_with('\n'), "torn: {text:?}");
    parse(&text)
}

/// Those of a log that is being written.
pub fn whole_records(path: &Path) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    parse(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

fn parse(text: &str) -> Vec<(String, String, String)> {
    text.split_terminator('\n')
        .map(|line| {
            let mut parts = line.splitn(4, ' ');
            let mut next = || parts.next().unwrap_or_else(|| panic!("{line:?}")).to_owned();
            let (stamp, stream, tag, content) = (next(), next(), next(), next());
            assert!(stamp.len() == 30 && stamp.ends_with('Z'), "{line:?}");
            (stream, tag, content)
        })
        .collect()
}

fn image(root: &Path) {
    for name in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("Debian's busybox-static");
    for name in
        ["sh", "cat", "echo", "sleep", "kill", "head", "tail", "dd", "seq", "ps", "tty", "hostname", "yes", "setsid"]
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

fn spec(script: &str, cgroup: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        ],
        "linux": {"cgroupsPath": cgroup, "namespaces": [{"type": "mount"}, {"type": "pid"}]},
    })
}

/// A pipe: read end, write end.
pub fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (read.into(), write)
}

/// Changes a container's specification.
pub fn change(container: &mut Container, change: impl FnOnce(&mut Value)) {
    let mut spec = serde_json::to_value(&container.plan.spec).unwrap();
    change(&mut spec);
    container.plan.spec = serde_json::from_value(spec).unwrap();
}

/// Waits until something is so.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come about: {what}");
}

/// Where a container's runtime works, for an external one.
pub fn external(pod: &Pod, binary: &str) -> Launcher {
    let dir = |name: &str| -> PathBuf {
        let dir = pod.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    Launcher::External {
        binary: binary.into(),
        state: dir("runtime-state"),
        bundle: dir("bundle"),
        mounts: dir("mounts"),
        systemd: false,
    }
}

impl Client {
    /// For what a client must not do.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// A message that is there already.
    pub fn message_if_any(&mut self) -> Option<Message> {
        let flags = rustix::fs::fcntl_getfl(&self.socket).unwrap();
        rustix::fs::fcntl_setfl(&self.socket, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let packet = packet::receive(self.socket.as_fd(), MAX_PACKET).ok().flatten();
        rustix::fs::fcntl_setfl(&self.socket, flags).unwrap();
        packet.map(|packet| serde_json::from_slice(&packet.bytes).unwrap())
    }
}
