//! A daemon with a pod and a container for clients to come to, and what the daemon and the pod's monitor hold.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, TcpListener as StdTcpListener},
    thread,
    time::{Duration, Instant},
};

use corten_e2e::{
    cri::{Cri, PATIENCE, until},
    daemon::Setup,
    lab::{self, Lab},
    leaks, pods,
    streaming::{OUTPUT, PIPES, TRANSPORTS},
};
use corten_streaming::remote_command::Outcome;
use nix::sched::{CloneFlags, setns};
use tokio::net::TcpListener;

/// What a process may grow by on account of a client, whatever the client does.
pub const ROOM: u64 = 4 << 20;

/// The lab with a pod and a container that sleeps.
pub struct World<'a> {
    pub lab: &'a mut Lab,
    pub cri: Cri,
    pub image: String,
    pub pod: String,
    pub container: String,
    pub cortend: Process,
    pub monitor: Process,
    calm: Calm,
}

/// What there is when no client is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Calm {
    cortend: usize,
    monitor: usize,
    processes: BTreeSet<i32>,
}

/// Runs a test with a daemon that gives abandoned processes one second. Afterwards no process, descriptor or connection of
/// any client may be left, nor anything else (see [`lab::test`]).
pub fn test(body: impl AsyncFnOnce(&mut World<'_>) + Send + 'static) {
    let extra = "[streaming]\nabandoned_seconds = 1\n".to_owned();
    lab::test(Setup { extra, ..Setup::default() }, async move |lab| {
        let mut world = World::new(lab).await;
        body(&mut world).await;
        world.is_well("the end").await;
    });
}

impl<'a> World<'a> {
    async fn new(lab: &'a mut Lab) -> Self {
        let image = lab.busybox().await;
        let config = lab.pod("limits");
        let pod = lab.run_pod(&config).await;
        let container = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let cortend = Process(lab.daemon.pid());
        let monitor = process(lab, |line| line.contains("corten-monitor") && line.contains(&pod)).unwrap();
        let cri = lab.cri.clone();
        let calm = Calm { cortend: 0, monitor: 0, processes: BTreeSet::new() };
        let mut world = Self { lab, cri, image, pod, container, cortend, monitor, calm };
        world.serves_the_next().await;
        world.calm = world.now();
        world
    }

    fn now(&self) -> Calm {
        let processes = leaks::process_ids(&self.lab.paths).into_iter().collect();
        Calm { cortend: self.cortend.descriptors().len(), monitor: self.monitor.descriptors().len(), processes }
    }

    /// Runs one hostile client to its end; asserts that the next one is served and that nothing of this one is left.
    pub async fn survives(&self, what: &str, hostile: impl AsyncFnOnce(&Self)) {
        eprintln!("{what}");
        hostile(self).await;
        self.is_well(what).await;
    }

    /// Asserts that clients are served and, soon, nothing is left of those before.
    pub async fn is_well(&self, after: &str) {
        self.serves_the_next().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.now();
            let new: Vec<_> = now.processes.difference(&self.calm.processes).collect();
            if new.is_empty() && now.cortend <= self.calm.cortend && now.monitor <= self.calm.monitor {
                return;
            }
            if Instant::now() > deadline {
                let (cortend, monitor) = (self.cortend.descriptors(), self.monitor.descriptors());
                let processes = leaks::processes(&self.lab.paths);
                panic!("after {after}: {now:?}, not {:?}\n{cortend:#?}\n{monitor:#?}\n{processes:#?}", self.calm);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asserts that clients of either transport are served.
    pub async fn serves_the_next(&self) {
        for transport in TRANSPORTS {
            let command = ["sh", "-c", "echo well; exit 7"];
            let said = self.cri.exec_to_end(&self.container, &command, OUTPUT, transport, b"").await;
            assert_eq!((said.text().as_str(), &said.outcome), ("well\n", &Outcome::Exited(7)));
        }
    }

    /// Has some megabytes go each way, so that what is allocated once and kept is allocated.
    pub async fn warm_up(&self) {
        let bytes = vec![b'x'; 4 << 20];
        for transport in TRANSPORTS {
            let said = self.cri.exec_to_end(&self.container, &["cat"], PIPES, transport, &bytes).await;
            assert_eq!((said.stdout.len(), &said.outcome), (bytes.len(), &Outcome::Exited(0)));
        }
    }

    /// The process of the container's that runs this command line.
    pub async fn find(&self, command: &str) -> Process {
        until(command, async || process(self.lab, |line| line == command)).await
    }

    /// Listens on a port of the pod's loopback; the port.
    pub fn listen_in_pod(&self) -> (TcpListener, u16) {
        let namespace = fs::File::open(self.lab.paths.netns().join(format!("corten-{}", self.pod))).unwrap();
        let listening = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
        });
        let listener = listening.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        (TcpListener::from_std(listener).unwrap(), port)
    }
}

/// A process of the lab's, or one of its pods', with a command line that `is_it` says yes to: the oldest.
fn process(lab: &Lab, is_it: impl Fn(&str) -> bool) -> Option<Process> {
    let mut pids = leaks::process_ids(&lab.paths).into_iter();
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_it(String::from_utf8_lossy(&line).replace('\0', " ").trim_end())
    })
    .map(|pid| Process(u32::try_from(pid).unwrap()))
}

/// A process, looked at from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process(u32);

impl Process {
    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }

    /// What its descriptors are of.
    pub fn descriptors(self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().flatten();
        entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect()
    }

    /// Its resident memory in bytes.
    pub fn memory(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that its resident memory was since [`Process::forget_peak`].
    pub fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Begins a new peak.
    pub fn forget_peak(self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").unwrap();
    }

    fn status(self, key: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} of {self:?}"));
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Resolves when it waits in write(2) and has not written anything for a while; how much it has written then.
    pub async fn blocked_writing(self) -> u64 {
        let (mut last, mut times) = (0, 0);
        let blocked = until("a process to wait until its output is read", async || {
            let written = self.written();
            let waits = self.read("syscall").split(' ').next() == Some(WRITE) && self.state() == Some('S');
            times = if waits && written == last { times + 1 } else { 0 };
            last = written;
            (times >= STILL).then_some(written)
        });
        blocked.await
    }

    fn written(self) -> u64 {
        let io = self.read("io");
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{self:?} has ended"))
    }

    fn state(self) -> Option<char> {
        self.read("stat").rsplit(") ").next()?.chars().next()
    }
}

/// The number of write(2).
const WRITE: &str = if cfg!(target_arch = "x86_64") { "1" } else { "64" };

/// So many looks in a row, 10 ms from one to the next, at which nothing has changed.
const STILL: u32 = 30;

/// What a process's memory grows by.
pub struct Gauge {
    process: Process,
    before: u64,
}

impl Gauge {
    /// From now on.
    pub fn new(process: Process) -> Self {
        process.forget_peak();
        Self { process, before: process.memory() }
    }

    /// The most so far, in bytes.
    pub fn growth(&self) -> u64 {
        self.process.peak().saturating_sub(self.before)
    }

    /// Asserts that it is at most [`ROOM`].
    #[track_caller]
    pub fn assert_bounded(&self, what: &str) {
        let growth = self.growth();
        eprintln!("{what}: {} KiB more", growth >> 10);
        assert!(growth < ROOM, "{what}: {growth} bytes more");
    }
}
