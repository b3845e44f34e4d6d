//! Pod sandboxes.
//!
//! ```text
//!              run                 stop                      remove
//! (nothing) ────────▶ Starting ─▶ Ready ─────▶ Stopping ─▶ Stopped ─────▶ Removing ─▶ (nothing)
//!                        │ failed   │ monitor died  ▲
//!                        ▼          └──▶ Broken ────┘ stop
//!                    (nothing)
//! ```
//!
//! Every name of a thing that a pod has (directory, network namespace, cgroups, socket) follows from its id, so what a
//! daemon made before it was killed can be undone by another.

pub mod admit;
mod bandwidth;
pub mod cgroup;
pub mod config;
pub mod remove;
pub mod resources;
pub mod run;
pub mod stop;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use corten_host::cgroup::Created;
use corten_host::network::Attached;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cgroups::Place;
use crate::config::CgroupConfig;
use crate::error::Result;
use crate::monitor::Monitor;
use crate::node::Node;
use crate::operation::{Slot, lock};
use crate::record;
use crate::security::PodNamespace;
use crate::stats::CpuSamples;
use crate::timeline::{Timeline, now};
use config::PodConfig;
use resources::PodResources;

/// What is being done to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// RunPodSandbox
    Run,
    /// StopPodSandbox
    Stop,
    /// RemovePodSandbox
    Remove,
}

/// A pod sandbox.
pub struct Pod {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub config: PodConfig,
    /// The runtime handler, as it was asked for; empty for the default.
    pub handler: String,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created_at: i64,
    /// What was done to it.
    pub timeline: Timeline,
    /// The operation that runs.
    pub slot: Slot<Operation>,
    /// Its CPU time when somebody last looked.
    pub cpu: CpuSamples,
    /// Held by whoever changes its limits.
    pub updating: Arc<tokio::sync::Mutex<()>>,
    resources: Mutex<PodResources>,
    /// The cgroup directories that were made for it above its containers'.
    cgroup: Mutex<Option<Created>>,
    /// Its cgroup; said once.
    place: OnceLock<Place>,
    state: watch::Sender<State>,
}

/// A pod's state.
#[derive(Clone)]
pub enum State {
    /// Being set up. Not shown in lists: the kubelet would take it for a dead one.
    Starting,
    /// Its containers can run.
    Ready(Ready),
    /// Being stopped, with what it had while it was ready.
    Stopping(Option<Ready>),
    /// Stopped: only its records are left.
    Stopped,
    /// Being removed.
    Removing,
    /// Its monitor is gone, or a stop failed. It can be stopped and removed.
    Broken {
        /// What happened.
        why: String,
    },
}

/// What a ready pod has.
#[derive(Clone)]
pub struct Ready {
    /// Its monitor.
    pub monitor: Arc<Monitor>,
    /// Its network; `None` on the host's.
    pub network: Option<Attached>,
}

/// A pod's record on disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    id: String,
    handler: String,
    created_at: i64,
    config: PodConfig,
    cgroup: Option<Created>,
    /// Not in the records of daemons that knew nothing of systemd.
    #[serde(default)]
    place: Option<Place>,
    /// The limits, if they are not those of its configuration any longer.
    #[serde(default)]
    resources: Option<PodResources>,
    /// The state.
    pub state: RecordedState,
}

/// A pod's state as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedState {
    /// [`State::Starting`]
    Starting,
    /// [`State::Ready`]
    Ready {
        /// [`Ready::network`]
        network: Option<Attached>,
    },
    /// [`State::Stopping`]
    Stopping,
    /// [`State::Stopped`]
    Stopped,
    /// [`State::Removing`]
    Removing,
    /// [`State::Broken`]
    Broken {
        /// What happened.
        why: String,
    },
}

impl Record {
    /// Whether the pod's cgroup was not made by systemd.
    pub fn is_of_cgroupfs(&self) -> bool {
        !matches!(self.place, Some(Place::Systemd(_)))
    }
}

impl Pod {
    /// A pod that is starting.
    pub fn new(id: String, config: PodConfig, handler: String) -> Self {
        Self::with_state(id, config, handler, now(), None, State::Starting)
    }

    /// A pod as it was recorded; its state is for recovery to find out, until then it is `state`.
    pub fn from_record(record: Record, state: State, config: &CgroupConfig) -> Self {
        let changed = record.resources;
        // A pod that is stopped has no cgroup any more.
        let cgroup = record.cgroup.filter(|_| !matches!(state, State::Stopped | State::Removing));
        let place = record
            .place
            .unwrap_or_else(|| Place::unrecorded(config, record.config.cgroup_parent.as_deref(), &record.id));
        let pod = Self::with_state(record.id, record.config, record.handler, record.created_at, cgroup, state);
        // Nobody else has the pod yet.
        let _ = pod.place.set(place);
        if let Some(changed) = changed {
            *lock(&pod.resources) = changed;
        }
        pod
    }

    fn with_state(
        id: String,
        config: PodConfig,
        handler: String,
        created_at: i64,
        cgroup: Option<Created>,
        state: State,
    ) -> Self {
        Self {
            resources: Mutex::new(asked(&config)),
            id,
            config,
            handler,
            created_at,
            timeline: Timeline::default(),
            slot: Slot::default(),
            cpu: CpuSamples::default(),
            updating: Arc::default(),
            cgroup: Mutex::new(cgroup),
            place: OnceLock::new(),
            state: watch::Sender::new(state),
        }
    }

    /// The limits now: those of its configuration, or what they were changed to.
    pub fn resources(&self) -> PodResources {
        lock(&self.resources).clone()
    }

    /// Notes that its limits are these now, and records it.
    fn set_resources(&self, node: &Node, resources: PodResources) -> Result<()> {
        *lock(&self.resources) = resources;
        self.record(node)
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Runs `f` while the state cannot change.
    pub fn with<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.borrow())
    }

    /// Sets the state and records it.
    pub fn set(&self, node: &Node, state: State) -> Result<()> {
        self.change(node, |_| Some(state))
    }

    /// Changes the state by `change` (which may decline by returning `None`) and records it, while it cannot change
    /// otherwise. A pod whose record cannot be written does not become ready: the next daemon would undo it.
    pub fn change(&self, node: &Node, change: impl FnOnce(&State) -> Option<State>) -> Result<()> {
        let mut recorded = Ok(());
        self.state.send_if_modified(|state| {
            let Some(new) = change(state) else { return false };
            recorded = self.write_record(node, &new);
            let changed = recorded.is_ok() || !matches!(new, State::Ready(_));
            if changed {
                *state = new;
            }
            changed
        });
        recorded
    }

    /// Resolves when the pod is not ready (any longer).
    pub async fn unready(&self) {
        // It fails when the sender is gone, which is this pod's own.
        let _ = self.state.subscribe().wait_for(|state| !matches!(state, State::Ready(_))).await;
    }

    /// Writes the pod's record as it is now. One at a time, as in [`Pod::change`]: another pod's stop may do so while
    /// this one is being stopped.
    pub fn record(&self, node: &Node) -> Result<()> {
        let mut recorded = Ok(());
        self.state.send_if_modified(|state| {
            recorded = self.write_record(node, state);
            false
        });
        recorded
    }

    fn write_record(&self, node: &Node, state: &State) -> Result<()> {
        let record = Record {
            id: self.id.clone(),
            handler: self.handler.clone(),
            created_at: self.created_at,
            config: self.config.clone(),
            cgroup: lock(&self.cgroup).clone(),
            place: Some(self.place(node).clone()),
            resources: Some(self.resources()).filter(|resources| *resources != asked(&self.config)),
            state: state.recorded(),
        };
        record::write(&record_path(&node.pod_directory(&self.id)), &record)
    }

    /// The ready pod's parts.
    pub fn ready(&self) -> Option<Ready> {
        match &*self.state.borrow() {
            State::Ready(ready) => Some(ready.clone()),
            _ => None,
        }
    }

    /// What it had when it was ready, also while it is being stopped.
    pub fn parts(&self) -> Option<Ready> {
        match &*self.state.borrow() {
            State::Ready(ready) | State::Stopping(Some(ready)) => Some(ready.clone()),
            _ => None,
        }
    }

    /// The monitor, also while the pod is being stopped.
    pub fn monitor(&self) -> Option<Arc<Monitor>> {
        self.parts().map(|ready| ready.monitor)
    }

    /// Whether the pod has a network of its own.
    pub fn has_network(&self) -> bool {
        self.config.security.namespaces.network == PodNamespace::Pod
    }

    /// The cgroup that the pod's containers are in: the one the kubelet named, or one of the pod's own.
    pub fn place(&self, node: &Node) -> &Place {
        self.place.get_or_init(|| node.driver.pod(self.config.cgroup_parent.as_deref(), &self.id))
    }

    /// Its path.
    pub fn cgroup_parent(&self, node: &Node) -> String {
        self.place(node).path().to_owned()
    }

    /// The cgroup of the pod's monitor.
    pub fn monitor_place(&self, node: &Node) -> Place {
        self.place(node).leaf(&format!("{}-monitor-{}", node.config.cgroup.prefix, self.id))
    }

    /// Its path.
    pub fn monitor_cgroup(&self, node: &Node) -> String {
        self.monitor_place(node).path().to_owned()
    }

    fn set_cgroup(&self, created: Option<Created>) {
        *lock(&self.cgroup) = created;
    }

    /// Has no cgroup any more; `false` if more than this was handed over to it meanwhile.
    fn give_up_cgroup(&self, created: &Created) -> bool {
        let mut own = lock(&self.cgroup);
        let all = own.as_ref() == Some(created);
        if all {
            *own = None;
        }
        all
    }

    /// Takes over what was made for another pod, and records it; `false` if it has no cgroup any more.
    fn adopt_cgroup(&self, node: &Node, created: &Created) -> Result<bool> {
        let is_new = match &mut *lock(&self.cgroup) {
            Some(own) => {
                let before = own.clone();
                own.adopt(created);
                *own != before
            }
            None => return Ok(false),
        };
        if is_new {
            self.record(node)?;
        }
        Ok(true)
    }

    fn cgroup(&self) -> Option<Created> {
        lock(&self.cgroup).clone()
    }
}

/// The limits that a pod was made with.
fn asked(config: &PodConfig) -> PodResources {
    PodResources { overhead: config.overhead.clone(), resources: config.resources.clone() }
}

impl State {
    fn recorded(&self) -> RecordedState {
        match self {
            Self::Starting => RecordedState::Starting,
            Self::Ready(ready) => RecordedState::Ready { network: ready.network.clone() },
            Self::Stopping(_) => RecordedState::Stopping,
            Self::Stopped => RecordedState::Stopped,
            Self::Removing => RecordedState::Removing,
            Self::Broken { why } => RecordedState::Broken { why: why.clone() },
        }
    }

    /// The state's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Stopping(_) => "stopping",
            Self::Stopped => "stopped",
            Self::Removing => "being removed",
            Self::Broken { .. } => "broken",
        }
    }
}

/// Where a pod's record is.
pub fn record_path(directory: &Path) -> PathBuf {
    directory.join("pod.json")
}
