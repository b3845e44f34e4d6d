//! Containers.
//!
//! ```text
//!            create               start                  exit
//! (nothing) ───────▶ Creating ─▶ Created ─▶ Starting ─▶ Running ─────▶ Exited ─▶ Removing ─▶ (nothing)
//!                       │ failed               │ failed   │    ▲ exit
//!                       ▼                      ▼          ▼    │
//!                   (nothing)                Exited     Stopping
//! ```
//!
//! `Lost` is where a container goes whose monitor died: nobody saw how it ended.

pub mod admit;
pub mod config;
pub mod create;
pub mod exec;
pub mod exits;
pub mod image_mounts;
pub mod launch;
pub mod log;
pub mod process;
pub mod remove;
pub mod start;
pub mod stop;
pub mod update;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use corten_cri::v1::ContainerEventType;
use corten_monitor::protocol::Exit;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cgroups::Place;
use crate::error::Result;
use crate::node::Node;
use crate::operation::{Slot, lock};
use crate::pod::Pod;
use crate::record;
use crate::resources::Resources;
use crate::stats::Remembered;
use crate::timeline::now;
use crate::user::ResolvedUser;
use config::ContainerConfig;

/// What is being done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// CreateContainer
    Create,
    /// StartContainer
    Start,
    /// StopContainer
    Stop,
    /// RemoveContainer
    Remove,
}

/// A container.
pub struct Container {
    /// What is recorded of it and never changes.
    pub facts: Facts,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// The operation that runs.
    pub slot: Slot<Operation>,
    /// When a stop that runs kills; a second stop can only bring it forward.
    pub stop_deadline: watch::Sender<Option<Instant>>,
    /// Whether its stdin has been closed: whoever writes to it lets go of it.
    pub stdin_closed: watch::Sender<bool>,
    /// What its stats were when somebody last looked.
    pub remembered: Remembered,
    /// Held by whoever changes its limits.
    pub updating: Arc<tokio::sync::Mutex<()>>,
    resources: Mutex<Resources>,
    resolved: OnceLock<Resolved>,
    state: watch::Sender<State>,
}

/// What is recorded of a container and never changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Facts {
    /// Its id.
    pub id: String,
    /// Its pod's id.
    pub pod_id: String,
    /// What was asked for.
    pub config: ContainerConfig,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created_at: i64,
}

/// What a create found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The image's id.
    pub image_id: String,
    /// The image by digest if it has one, else by id.
    pub image_ref: String,
    /// The user it runs as.
    pub user: ResolvedUser,
    /// The signal that stops it.
    pub stop_signal: i32,
    /// The volumes that its image declares and nothing is mounted on: directories of the writable layer.
    #[serde(default)]
    pub volumes: Vec<PathBuf>,
    /// The ids of the images that its mounts show, in their order.
    #[serde(default)]
    pub mounted_images: Vec<String>,
}

/// A container's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being created. Not shown.
    Creating,
    /// Created, never started.
    Created,
    /// Being launched.
    Starting,
    /// Running.
    Running(Run),
    /// Running, and being stopped.
    Stopping(Run),
    /// Ended.
    Exited(Ended),
    /// Its monitor died: how it ended nobody knows.
    Lost(Ended),
    /// Being removed. Shown as it was before.
    Removing(Option<Ended>),
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its init's process id.
    pub pid: i32,
    /// When it was started, in nanoseconds since the Unix epoch.
    pub started_at: i64,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When it was started, in nanoseconds since the Unix epoch; `None` if it never was.
    pub started_at: Option<i64>,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub finished_at: i64,
    /// The exit code.
    pub code: i32,
    /// Why.
    pub reason: Reason,
    /// More about it, for people.
    pub message: String,
}

/// Why a container ended, in the words the kubelet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// With exit code 0.
    Completed,
    /// With another exit code, or by a signal.
    Error,
    /// By the kernel's OOM killer.
    OOMKilled,
    /// It could not be started.
    StartError,
    /// Nobody knows.
    Unknown,
}

impl Reason {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OOMKilled => "OOMKilled",
            Self::StartError => "StartError",
            Self::Unknown => "Unknown",
        }
    }
}

impl Ended {
    /// As a monitor saw it.
    pub fn seen(started_at: i64, exit: &Exit) -> Self {
        let reason = match exit {
            Exit { oom: true, .. } => Reason::OOMKilled,
            Exit { code: 0, .. } => Reason::Completed,
            _ => Reason::Error,
        };
        Self { started_at: Some(started_at), finished_at: exit.at, code: exit.code, reason, message: String::new() }
    }

    /// Unseen.
    pub fn unseen(started_at: Option<i64>, message: impl Into<String>) -> Self {
        Self { started_at, finished_at: now(), code: 255, reason: Reason::Unknown, message: message.into() }
    }

    /// Never begun. 128 is what other runtimes report then.
    pub fn not_started(message: impl Into<String>) -> Self {
        Self { started_at: None, finished_at: now(), code: 128, reason: Reason::StartError, message: message.into() }
    }
}

impl State {
    /// The state's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Creating => "being created",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running(_) => "running",
            Self::Stopping(_) => "stopping",
            Self::Exited(_) => "exited",
            Self::Lost(_) => "lost",
            Self::Removing(_) => "being removed",
        }
    }

    /// What listeners are told when a container gets into this state from another.
    fn events_after(&self, before: &Self) -> &'static [ContainerEventType] {
        use ContainerEventType::{ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent};
        match self {
            Self::Created => &[ContainerCreatedEvent],
            Self::Running(_) if before.run().is_none() => &[ContainerStartedEvent],
            // Ended before its start was answered.
            Self::Exited(ended) if *before == Self::Starting && ended.started_at.is_some() => {
                &[ContainerStartedEvent, ContainerStoppedEvent]
            }
            Self::Exited(_) | Self::Lost(_) if before.ended().is_none() => &[ContainerStoppedEvent],
            _ => &[],
        }
    }

    /// The running container, also while it is being stopped.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Stopping(run) => Some(run),
            _ => None,
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Exited(ended) | Self::Lost(ended) | Self::Removing(Some(ended)) => Some(ended),
            _ => None,
        }
    }
}

/// A container's record on disk.
#[derive(Serialize, Deserialize)]
pub struct Record {
    /// What never changes.
    #[serde(flatten)]
    pub facts: Facts,
    /// What the create found out; `None` until it got there.
    pub resolved: Option<Resolved>,
    /// The limits, if they are not those of its configuration any longer.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// The state.
    pub state: State,
}

impl Container {
    /// A container as it is recorded.
    pub fn new(record: Record, pod: Arc<Pod>) -> Self {
        let resolved = record.resolved.map_or_else(OnceLock::new, OnceLock::from);
        let resources = record.resources.unwrap_or_else(|| record.facts.config.resources.clone());
        Self {
            facts: record.facts,
            pod,
            slot: Slot::default(),
            stop_deadline: watch::Sender::new(None),
            stdin_closed: watch::Sender::new(false),
            remembered: Remembered::default(),
            updating: Arc::default(),
            resources: Mutex::new(resources),
            resolved,
            state: watch::Sender::new(record.state),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// What was asked for.
    pub fn config(&self) -> &ContainerConfig {
        &self.facts.config
    }

    /// What the create found out.
    pub fn resolved(&self) -> Option<&Resolved> {
        self.resolved.get()
    }

    /// Notes what the create found out.
    pub fn resolve(&self, resolved: Resolved) {
        // A container is created once.
        let _ = self.resolved.set(resolved);
    }

    /// The limits now: those of its configuration, or what they were changed to.
    pub fn resources(&self) -> Resources {
        lock(&self.resources).clone()
    }

    /// Notes that its limits are these now, and records it.
    pub fn set_resources(&self, node: &Node, resources: Resources) -> Result<()> {
        *lock(&self.resources) = resources;
        let mut result = Ok(());
        // While the state is held still, so that the record has the state that is.
        self.state.send_if_modified(|state| {
            result = self.record(node, state);
            false
        });
        result
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Watches the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Changes the state by `change` (which may decline by returning `None`) and records it. What happened is true even
    /// if it cannot be recorded; what is only about to happen is not begun then.
    pub fn change(&self, node: &Node, change: impl FnOnce(&State) -> Option<State>) -> Result<()> {
        let mut result = Ok(());
        self.state.send_if_modified(|state| match change(state) {
            None => false,
            Some(new) => {
                result = self.record(node, &new);
                let begun = result.is_ok() || !matches!(new, State::Created | State::Starting);
                if begun {
                    for event in new.events_after(state) {
                        node.events.container(&self.pod, self.id(), *event);
                    }
                    *state = new;
                }
                begun
            }
        });
        result
    }

    /// Sets the state and records it.
    pub fn set(&self, node: &Node, state: State) -> Result<()> {
        self.change(node, |_| Some(state))
    }

    fn record(&self, node: &Node, state: &State) -> Result<()> {
        let record = Record {
            facts: self.facts.clone(),
            resolved: self.resolved().cloned(),
            resources: Some(self.resources()).filter(|resources| *resources != self.config().resources),
            state: state.clone(),
        };
        record::write(&record_path(&node.container_directory(self.id())), &record)
    }

    /// The container's cgroup.
    pub fn place(&self, node: &Node) -> Place {
        self.pod.place(node).leaf(&format!("{}-{}", node.config.cgroup.prefix, self.facts.id))
    }

    /// Its path.
    pub fn cgroup(&self, node: &Node) -> String {
        self.place(node).path().to_owned()
    }

    /// Where its log goes.
    pub fn log_file(&self) -> Option<PathBuf> {
        self.facts.config.log_file(&self.pod.config)
    }
}

/// Where a container's record is.
pub fn record_path(directory: &Path) -> PathBuf {
    directory.join("container.json")
}

/// Where a container's OCI runtime spec is.
pub fn spec_path(directory: &Path) -> PathBuf {
    directory.join("config.json")
}
