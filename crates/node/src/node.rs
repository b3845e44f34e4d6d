//! The node: everything the handlers share.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use corten_host::cgroup::{Cgroup, Hierarchies, Mode};
use corten_images::{INDEX_FILE, Pins, Store};

use crate::cgroups::Driver;
use crate::check;
use crate::config::{BUILT_IN, Config};
use crate::error::{Error, Result};
use crate::events::Events;
use crate::handler_features::Probes;
use crate::monitor::Program;
use crate::network::Network;
use crate::operation::Slot;
use crate::pod::cgroup::Locks;
use crate::registry::{Containers, Pods};
use crate::streaming::{Endpoint, Listener};
use crate::{recovery, seccomp, spec};

/// Everything the handlers share.
pub struct Node {
    /// The configuration.
    pub config: Config,
    /// Images and writable layers.
    pub images: Store,
    /// The pod network.
    pub network: Network,
    /// Looking whether the network is ready: one look at a time.
    pub network_check: Slot<()>,
    /// Whether the network was ready at the last look; if not, why.
    pub network_seen: Mutex<Result<(), String>>,
    /// The pods.
    pub pods: Pods,
    /// The containers.
    pub containers: Containers,
    /// What happens, for those who listen.
    pub events: Events,
    /// Compiled seccomp profiles.
    pub seccomp: seccomp::Cache,
    /// The architecture and kernel that profiles depend on.
    pub platform: seccomp::Platform,
    /// What this host can grant.
    pub host: spec::Host,
    /// What the runtime handlers can do.
    pub probes: Probes,
    /// Where clients of exec, attach and port-forward are sent to.
    pub streaming: Endpoint,
    /// The `corten-monitor` program.
    pub monitor: Arc<Program>,
    /// Who makes cgroups.
    pub driver: Driver,
    /// Who may make and remove cgroups that several pods are in.
    pub cgroup_locks: Locks,
    hierarchies: Hierarchies,
}

/// Who launches a pod's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// The pod's monitor.
    BuiltIn,
    /// A program with runc's command line.
    External {
        /// The handler's name.
        name: String,
        /// The program.
        binary: PathBuf,
    },
}

impl Node {
    /// Opens the stores, looks at the host, and listens for streams.
    pub async fn open(config: Config) -> Result<(Self, Listener)> {
        let images = open_images(&config).await?;
        let network = Network::open(&config.network, &config.state, &config.root)?;
        let hierarchies = Hierarchies::detect().map_err(|error| Error::node("cgroups", error))?;
        let driver = Driver::open(&config.cgroup, hierarchies.mode(), || recovery::pod_of_cgroupfs(&config.state))?;
        let (streaming, listener) = Endpoint::listen(&config.streaming).await?;
        let node = Self {
            images,
            network,
            network_check: Slot::default(),
            network_seen: Mutex::new(Err("its state is not known yet".to_owned())),
            pods: Pods::default(),
            containers: Containers::default(),
            events: Events::default(),
            seccomp: seccomp::Cache::default(),
            platform: seccomp::Platform::current(),
            host: spec::Host::probe()?,
            probes: Probes::default(),
            monitor: Arc::new(Program::open(monitor_program(&config)?)?),
            cgroup_locks: Locks::default(),
            driver,
            hierarchies,
            streaming,
            config,
        };
        Ok((node, listener))
    }

    /// A pod's state directory.
    pub fn pod_directory(&self, id: &str) -> PathBuf {
        self.config.state.join("pods").join(id)
    }

    /// A container's state directory.
    pub fn container_directory(&self, id: &str) -> PathBuf {
        self.config.state.join("containers").join(id)
    }

    /// The file of a pod's network namespace.
    pub fn netns_path(&self, id: &str) -> PathBuf {
        self.config.netns_dir.join(format!("corten-{id}"))
    }

    /// The directory below which a monitor mounts roots for an external runtime, in a mount namespace of its own.
    pub fn external_mounts(&self) -> PathBuf {
        self.config.state.join("external")
    }

    /// A cgroup by its path below each hierarchy's root.
    pub fn cgroup(&self, path: &str) -> Result<Cgroup> {
        self.hierarchies
            .cgroup(path)
            .map_err(|error| Error::invalid("config.linux.cgroup_parent", path, error.to_string()))
    }

    /// How cgroups are set up on this machine.
    pub fn cgroup_mode(&self) -> Mode {
        self.hierarchies.mode()
    }

    /// The runtime handler of a name; the default one for an empty name.
    pub fn handler(&self, name: &str) -> Result<Handler> {
        self.handler_of("runtime_handler", name)
    }

    /// The same, of a name that is in another field of the request.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field.
    pub fn handler_of(&self, field: &str, name: &str) -> Result<Handler> {
        let name = if name.is_empty() { &self.config.default_runtime } else { name };
        if name == BUILT_IN {
            return Ok(Handler::BuiltIn);
        }
        match self.config.runtimes.get(name) {
            Some(runtime) => Ok(Handler::External { name: name.to_owned(), binary: runtime.binary.clone() }),
            None => Err(Error::invalid(field, check::shown(name), "no runtime of this name is configured")),
        }
    }

    /// Runs `work`, which blocks, on a thread for such work.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let node = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&node)).await;
        done.unwrap_or_else(|error| Err(Error::node("blocking work", error)))
    }
}

async fn open_images(config: &Config) -> Result<Store> {
    let (directory, snapshots) = (config.images_directory(), config.snapshots_directory());
    if let Some(root) = &config.images.root {
        is_own(root)?;
    }
    let registry = config.registry.clone();
    let images = Store::open_with_snapshots_in(&directory, &snapshots, registry).await?;
    let images = images.pinning(Pins::new(&config.images.pinned)).keeping_blobs(config.images.keep_blobs)?;
    images.limiting(config.images.limits()).map_err(|error| Error::node(limited(config), error))
}

/// Refuses a directory with anything in it but an image store: what is unknown in one is deleted.
fn is_own(root: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| Error::node("images.root", error))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>();
    let names = names.map_err(|error| Error::node("images.root", error))?;
    // What mkfs.ext4 makes in a new file system, whose root this may be.
    let foreign = names.iter().any(|name| name != "lost+found");
    if foreign && !names.iter().any(|name| name == INDEX_FILE) {
        let why = "is not empty, and holds no images: it has to be a directory of their own";
        return Err(Error::invalid("images.root", root.display(), why));
    }
    Ok(())
}

/// The key that limits what containers write.
fn limited(config: &Config) -> &'static str {
    match config.images.writable_layer_bytes {
        Some(_) => "images.writable_layer_bytes",
        None => "images.writable_layer_inodes",
    }
}

/// The configured program, or the one beside our own, or the first in `PATH`.
fn monitor_program(config: &Config) -> Result<PathBuf> {
    const NAME: &str = "corten-monitor";
    if let Some(path) = &config.monitor {
        return match path.is_file() {
            true => Ok(path.clone()),
            false => Err(Error::invalid("monitor", path.display(), "there is no such program")),
        };
    }
    let own = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = own.into_iter().chain(std::env::split_paths(&path).map(|directory| directory.join(NAME)));
    let mut found = candidates.filter(|candidate| candidate.is_file());
    found
        .next()
        .ok_or_else(|| Error::node(NAME, "neither beside cortend nor in PATH; set `monitor` in the configuration"))
}
