//! The world of one test.

use std::{fs, panic::AssertUnwindSafe, path::Path};

use corten_cri::v1::{ContainerConfig, ContainerStatus, PodSandboxConfig};
use tempfile::TempDir;

use crate::{
    cri::Cri,
    daemon::{Daemon, Network, Paths, Setup},
    image,
    leaks::{self, Snapshot},
    namespace, pods,
    registry::Registry,
};

/// A daemon and a registry in namespaces of the test's own.
pub struct Lab {
    /// The CRI of the daemon.
    pub cri: Cri,
    /// The daemon.
    pub daemon: Daemon,
    /// The registry. The daemon is configured to speak plain HTTP to it.
    pub registry: Registry,
    /// Where the daemon keeps its things.
    pub paths: Paths,
    setup: Setup,
    clean: Snapshot,
}

/// Runs a test against a daemon that it has for itself. Afterwards every pod and image is removed through the CRI and
/// nothing may be left; then the daemon is ended, and nothing at all may be left.
///
/// # Panics
/// If the test does, or if something is left behind, with the daemon's log.
pub fn test(setup: Setup, body: impl AsyncFnOnce(&mut Lab) + Send + 'static) {
    namespace::isolated(move || {
        if setup.only_cgroup_v2 {
            namespace::mount_only_cgroup_v2();
        }
        let dir = tempfile::Builder::new().prefix("ce-").tempdir_in("/tmp").expect("make a directory");
        let paths = Paths::new(dir.path());
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(&dir, setup, body)));
        if let Err(panic) = outcome {
            eprintln!("--- cortend's log\n{}---", fs::read_to_string(paths.daemon_log()).unwrap_or_default());
            leaks::sweep(&paths);
            std::panic::resume_unwind(panic);
        }
        leaks::sweep(&paths);
    });
}

fn run(dir: &TempDir, setup: Setup, body: impl AsyncFnOnce(&mut Lab)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("make a runtime");
    runtime.block_on(async {
        let paths = Paths::new(dir.path());
        let network = setup.network;
        let untouched = machine(&paths, network);
        let mut lab = Lab::new(&paths, setup).await;
        body(&mut lab).await;
        lab.finish().await;
        leaks::assert_same(&untouched, || machine(&paths, network));
    });
}

/// What there is below `state` when there is no pod: the lock, the last address given, the pod CIDR's subnets, and empty directories.
const EMPTY_STATE: [&str; 9] = [
    "cortend.lock",
    "containers",
    "network",
    "network/last.json",
    "network/subnets.json",
    "network/pods",
    "pods",
    "runtimes",
    "runtimes/runc",
];

fn is_empty_state(file: &str, paths: &Paths) -> bool {
    EMPTY_STATE.iter().any(|own| Path::new(file) == paths.state().join(own))
}

/// What must be as it was when the daemon has ended. The files below `root` outlive it, as do the empty directories of its
/// state, the cgroup the test named, and CNI's bridge and (empty) iptables chains, which are the plugins'.
fn machine(paths: &Paths, network: Network) -> Snapshot {
    let cgroup = paths.cgroup();
    Snapshot::take(paths)
        .without("file", |file| Path::new(file).starts_with(paths.root()) || is_empty_state(file, paths))
        .without("cgroup", |path| path.ends_with(&cgroup))
        .without("link", |link| link == "e2e0")
        .without("nftables", |_| network == Network::Cni)
}

impl Lab {
    async fn new(paths: &Paths, setup: Setup) -> Self {
        let registry_dir = paths.dir.join("registry");
        fs::create_dir_all(&registry_dir).expect("make the registry's directory");
        let registry = Registry::start(&registry_dir);
        paths.plain_http(&registry.host());
        let daemon = Daemon::start(paths, &setup);
        let cri = Cri::connect(&paths.socket()).await;
        let clean = Snapshot::take(paths);
        Self { cri, daemon, registry, paths: paths.clone(), setup, clean }
    }

    /// Pushes an image to the registry and pulls it; its full reference.
    ///
    /// # Panics
    /// If that fails.
    pub async fn image(&self, name: &str, image: &image::Built) -> String {
        let reference = self.registry.push(name, "1", image).await;
        self.cri.pull(&reference).await.unwrap_or_else(|e| panic!("pull {reference}: {e}"));
        reference
    }

    /// The busybox image, pulled; its full reference.
    pub async fn busybox(&self) -> String {
        self.image("busybox", image::busybox()).await
    }

    /// A pod configuration (see [`pods::pod`]).
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        pods::pod(&self.paths, name)
    }

    /// Runs a pod by the default handler.
    ///
    /// # Panics
    /// If that fails.
    pub async fn run_pod(&self, config: &PodSandboxConfig) -> String {
        self.cri.run_pod(config, "").await.unwrap_or_else(|e| panic!("RunPodSandbox: {e}"))
    }

    /// Creates and starts a container.
    ///
    /// # Panics
    /// If that fails.
    pub async fn start(&self, pod: &str, pod_config: &PodSandboxConfig, config: &ContainerConfig) -> String {
        let id = self.cri.create(pod, pod_config, config).await.unwrap_or_else(|e| panic!("CreateContainer: {e}"));
        self.cri.start(&id).await.unwrap_or_else(|e| panic!("StartContainer: {e}"));
        id
    }

    /// Runs a container to its end; its status and what it logged.
    ///
    /// # Panics
    /// If it does not start or end.
    pub async fn run_to_end(
        &self,
        pod: &str,
        pod_config: &PodSandboxConfig,
        config: &ContainerConfig,
    ) -> (ContainerStatus, String) {
        let id = self.start(pod, pod_config, config).await;
        let status = self.cri.wait_exited(&id).await;
        let text = self.log(&status);
        (status, text)
    }

    /// What a container logged, both streams, without the CRI's framing.
    ///
    /// # Panics
    /// If the log cannot be read or is not in the CRI's format.
    pub fn log(&self, status: &ContainerStatus) -> String {
        let lines = read_log(Path::new(&status.log_path));
        lines.into_iter().map(|line| if line.full { line.text + "\n" } else { line.text }).collect()
    }

    /// A snapshot of what the daemon has to do with.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.paths)
    }

    /// The directories of a container's cgroup, one in each hierarchy.
    pub fn cgroup_directories(&self, id: &str) -> Vec<String> {
        let mut all = self.snapshot().all("cgroup");
        all.retain(|path| path.trim_end_matches(".scope").ends_with(&format!("-{id}")));
        all
    }

    /// A container's cgroup, below each hierarchy's root.
    ///
    /// # Panics
    /// If it has none.
    pub fn cgroup_of(&self, id: &str) -> String {
        let own = self.cgroup_directories(id).into_iter().next();
        let own = own.unwrap_or_else(|| panic!("no cgroup of {id}"));
        own[own.find(&self.paths.cgroup()).expect("below that of the tests")..].to_owned()
    }

    /// Kills the daemon, as a crash would, and starts it again.
    pub async fn crash_and_restart(&mut self) {
        self.daemon.crash();
        self.restart().await;
    }

    /// Starts the daemon again after its end.
    pub async fn restart(&mut self) {
        self.daemon.start_again();
        self.cri = Cri::connect(&self.paths.socket()).await;
    }

    /// The configuration this lab was made with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Removes every pod and image through the CRI and asserts that nothing of them is left.
    ///
    /// # Panics
    /// If something is.
    pub async fn assert_nothing_left(&self) {
        for pod in self.cri.list_pods(None).await.expect("ListPodSandbox") {
            self.cri.stop_pod(&pod).await.unwrap_or_else(|e| panic!("StopPodSandbox {pod}: {e}"));
            self.cri.remove_pod(&pod).await.unwrap_or_else(|e| panic!("RemovePodSandbox {pod}: {e}"));
        }
        for image in self.cri.list_images().await {
            self.cri.remove_image(&image.id).await.unwrap_or_else(|e| panic!("RemoveImage {}: {e}", image.id));
        }
        leaks::assert_same(&settled(&self.clean, &self.paths), || settled(&self.snapshot(), &self.paths));
    }

    async fn finish(mut self) {
        self.assert_nothing_left().await;
        let status = self.daemon.stop().await;
        assert!(status.success(), "cortend ended with {status}");
    }
}

/// What may differ while the daemon runs: the bridge, its rules and its notes of addresses that become free stay for the
/// next pod, as does the pods' cgroup.
fn settled(snapshot: &Snapshot, paths: &Paths) -> Snapshot {
    let cgroup = paths.cgroup();
    let addresses = paths.state().join("network/pods");
    snapshot
        .clone()
        .without("file", |file| is_empty_state(file, paths) || Path::new(file).starts_with(&addresses))
        .without("file", |file| Path::new(file) == paths.root().join("cni"))
        .without("link", |link| !link.starts_with("veth") && !link.contains('@'))
        .without("nftables", |_| true)
        .without("cgroup", |path| path.ends_with(&cgroup))
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The timestamp.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the line ends here (`F`), not in a later one (`P`).
    pub full: bool,
    /// What was written.
    pub text: String,
}

/// Reads a log in the CRI's format.
///
/// # Panics
/// If it is not in that format.
pub fn read_log(path: &Path) -> Vec<LogLine> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).lines().map(parse_log_line).collect()
}

fn parse_log_line(line: &str) -> LogLine {
    let parts: Vec<&str> = line.splitn(4, ' ').collect();
    let [time, stream, tag, text] = parts[..] else { panic!("not a log line of the CRI's: {line:?}") };
    assert!(time.contains('T') && time.len() >= 20, "not a timestamp: {time:?} in {line:?}");
    assert!(matches!(stream, "stdout" | "stderr"), "not a stream: {line:?}");
    let full = match tag {
        "F" => true,
        "P" => false,
        _ => panic!("neither full nor partial: {line:?}"),
    };
    LogLine { time: time.to_owned(), stream: stream.to_owned(), full, text: text.to_owned() }
}
