//! A `cortend` of a test's own.

use std::{
    fmt::Write as _,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};

use crate::{cgroups::Driver, cri::PATIENCE, programs};

/// The environment variable by which everything a test started can be told: its value is the lab's id.
pub const MARK: &str = "CORTEN_E2E";

/// How the pod network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// By the built-in bridge.
    Bridge,
    /// By Debian's CNI plugins.
    Cni,
    /// By CNI, with no configuration installed.
    CniUnconfigured,
}

/// How a test wants its daemon.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The pod network.
    pub network: Network,
    /// The runtime handler of pods that name none: `corten` or `runc`.
    pub handler: &'static str,
    /// More lines of configuration: whole tables.
    pub extra: String,
    /// Whether every execve of the daemon and its descendants is recorded (see [`Daemon::executed`]), and every seccomp
    /// filter that they load (see [`Daemon::filters`]).
    pub traced: bool,
    /// Whether cgroup v2 is all that is mounted, with the controllers that v1 has left it.
    pub only_cgroup_v2: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { network: Network::Bridge, handler: "corten", extra: String::new(), traced: false, only_cgroup_v2: false }
    }
}

/// Where a daemon keeps its things.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The directory of all the others.
    pub dir: PathBuf,
    /// The last part of its name: unique on this machine.
    pub id: String,
}

impl Paths {
    /// The paths below `dir`.
    pub fn new(dir: &Path) -> Self {
        let id = dir.file_name().expect("the directory has a name").to_string_lossy().into_owned();
        Self { dir: dir.to_owned(), id }
    }

    /// Images and writable layers.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Records and sockets of running pods.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The CRI's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// Network namespace files.
    pub fn netns(&self) -> PathBuf {
        self.dir.join("netns")
    }

    /// hosts.toml directories.
    pub fn certs(&self) -> PathBuf {
        self.dir.join("certs.d")
    }

    /// CNI configurations.
    pub fn cni(&self) -> PathBuf {
        self.dir.join("cni.d")
    }

    /// Container logs, a directory a pod.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The daemon's own log.
    pub fn daemon_log(&self) -> PathBuf {
        self.dir.join("cortend.log")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    fn executions(&self) -> PathBuf {
        self.dir.join("execve")
    }

    /// Says that `host` is a registry without TLS.
    pub fn plain_http(&self, host: &str) {
        self.mirror(host, host);
    }

    /// Says that images of `registry` are fetched from `host`, without TLS.
    pub fn mirror(&self, registry: &str, host: &str) {
        let dir = self.certs().join(registry);
        fs::create_dir_all(&dir).expect("make the registry's directory");
        let text =
            format!("server = \"http://{host}\"\n[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        fs::write(dir.join("hosts.toml"), text).expect("write hosts.toml");
    }
}

/// The daemon. Killed when dropped; its pods are not.
pub struct Daemon {
    process: Option<Child>,
    paths: Paths,
    traced: bool,
}

impl Daemon {
    /// Starts `cortend` with these paths.
    ///
    /// # Panics
    /// If it does not listen soon, with its log.
    pub fn start(paths: &Paths, setup: &Setup) -> Self {
        prepare(paths, setup);
        let mut daemon = Self { process: None, paths: paths.clone(), traced: setup.traced };
        daemon.launch();
        daemon
    }

    fn launch(&mut self) {
        let cortend = programs::built("cortend");
        let mut command = if self.traced { self.under_strace(&cortend) } else { Command::new(cortend) };
        let log = fs::File::options().create(true).append(true).open(self.paths.daemon_log()).expect("open the log");
        let process = command
            .arg("--config")
            .arg(self.paths.config())
            .env(MARK, &self.paths.id)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the log"))
            .stderr(log)
            .spawn()
            .expect("start cortend");
        self.process = Some(process);
        self.wait_listening();
    }

    /// `strace -D` traces from a process of its own, so the child we hold is `cortend` itself.
    fn under_strace(&self, cortend: &Path) -> Command {
        let mut command = Command::new(programs::installed("strace", "strace"));
        command.args([
            "-D",
            "-f",
            "-qq",
            "-s",
            "256",
            "-e",
            "trace=execve,execveat,seccomp",
            "-e",
            "signal=none",
            "-o",
        ]);
        command.arg(self.paths.executions()).arg(cortend);
        command
    }

    fn wait_listening(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.listens() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("wait for cortend"));
            assert!(ended.is_none(), "cortend ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < deadline, "cortend does not listen:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it is this daemon that listens: a program that a killed one was just starting has the old socket still, for a moment.
    fn listens(&self) -> bool {
        let Ok(stream) = UnixStream::connect(self.paths.socket()) else { return false };
        let peer = getsockopt(&stream, PeerCredentials).expect("ask who listens");
        peer.pid() == i32::try_from(self.pid()).expect("a pid fits")
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it is not running.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("cortend runs").id()
    }

    /// Ends it by SIGTERM and returns how it ended.
    ///
    /// # Panics
    /// If it does not end, with its log.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut process = self.process.take().expect("cortend runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().expect("wait for cortend") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = process.kill();
                let _ = process.wait();
                panic!("cortend does not end after SIGTERM:\n{}", self.log());
            }
            // Not `thread::sleep`: our own connection has to be let to close.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills it, as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill cortend");
            process.wait().expect("wait for cortend");
        }
    }

    /// Starts it again after [`Daemon::stop`] or [`Daemon::crash`].
    pub fn start_again(&mut self) {
        self.launch();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid fits");
        kill(Pid::from_raw(pid), signal).expect("signal cortend");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.paths.daemon_log()).unwrap_or_default()
    }

    /// The programs that the daemon and its descendants have executed so far, in order. Needs [`Setup::traced`].
    pub fn executed(&self) -> Vec<String> {
        let trace = fs::read_to_string(self.paths.executions()).expect("read the record of execve");
        trace.lines().filter_map(executed_program).collect()
    }

    /// The flags of the seccomp filters that the daemon and its descendants have loaded so far, in order, as in
    /// `SECCOMP_FILTER_FLAG_TSYNC|SECCOMP_FILTER_FLAG_LOG`, or `0`. Needs [`Setup::traced`].
    ///
    /// # Panics
    /// If there is no record.
    pub fn filters(&self) -> Vec<String> {
        let trace = fs::read_to_string(self.paths.executions()).expect("read the record of seccomp");
        let loaded = trace.lines().filter(|line| !line.contains(" = -1 "));
        let flags = loaded.filter_map(|line| line.split_once("seccomp(SECCOMP_SET_MODE_FILTER, ")?.1.split_once(", "));
        flags.map(|(flags, _)| flags.to_owned()).collect()
    }
}

/// Runs `cortend` with a configuration file that it must refuse; what it says.
///
/// # Panics
/// If it ends without an error.
pub fn refusal(config: &Path) -> String {
    let output = Command::new(programs::built("cortend")).arg("--config").arg(config).output().expect("run cortend");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "cortend accepted {}: {text}", config.display());
    text
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The program of a line like `123 execve("/bin/sh", ["sh"], 0x.. /* 2 vars */) = 0`; failed attempts do not count.
fn executed_program(line: &str) -> Option<String> {
    let (_, call) = line.split_once("exec")?;
    if line.contains(" = -1 ") {
        return None;
    }
    let mut quoted = call.split('"');
    quoted.next()?;
    quoted.next().map(str::to_owned)
}

fn prepare(paths: &Paths, setup: &Setup) {
    for dir in [paths.root(), paths.state(), paths.netns(), paths.certs(), paths.cni(), paths.logs()] {
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("make {}: {e}", dir.display()));
    }
    if setup.network == Network::Cni {
        fs::write(paths.cni().join("10-e2e.conflist"), cni_config(paths)).expect("write the CNI configuration");
    }
    fs::write(paths.config(), configuration(paths, setup)).expect("write the configuration");
}

fn configuration(paths: &Paths, setup: &Setup) -> String {
    let mut text = String::new();
    let mode = if setup.network == Network::Bridge { "bridge" } else { "cni" };
    let lines = [
        format!("root = {:?}", paths.root()),
        format!("state = {:?}", paths.state()),
        format!("socket = {:?}", paths.socket()),
        format!("netns_dir = {:?}", paths.netns()),
        format!("default_runtime = {:?}", setup.handler),
        format!("[runtimes.runc]\nbinary = {:?}", programs::installed("runc", "runc")),
        format!("[registry]\nconfig_path = [{:?}]", paths.certs()),
        format!("[network]\nmode = {mode:?}\nconf_dir = {:?}\nbin_dirs = [{:?}]", paths.cni(), programs::CNI_PLUGINS),
        format!("[cgroup]\ndriver = {:?}\nprefix = {:?}", Driver::chosen().name(), prefix(paths)),
        format!("default_parent = {:?}", paths.cgroup()),
        format!("[seccomp]\nlocalhost_root = {:?}", paths.dir.join("seccomp")),
        "[log]\nfilter = \"debug\"".to_owned(),
        setup.extra.clone(),
    ];
    for line in lines {
        writeln!(text, "{line}").expect("write to memory");
    }
    text
}

/// The prefix of containers' cgroups, told apart from any other program's.
pub fn prefix(paths: &Paths) -> String {
    format!("e2e-{}", paths.id.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

fn cni_config(paths: &Paths) -> String {
    let leases = paths.dir.join("leases");
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "e2e", "plugins": [
  {{"type": "bridge", "bridge": "e2e0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": {leases:?}, "ranges": [[{{"subnet": "10.77.0.0/24"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}, "snat": true}}]}}"#
    )
}
