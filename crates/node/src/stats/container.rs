//! What one container uses.

use std::sync::Arc;
use std::time::Duration;

use corten_host::cgroup::Stats;

use super::{Measured, is_gone, layer};
use crate::container::{Container, State};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::timeline::now;

/// What a container uses.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// What its processes use; `None` if it does not run.
    pub running: Option<Running>,
    /// Its writable layer; `None` if it has not been measured yet.
    pub layer: Option<Measured>,
}

/// What a running container's processes use.
#[derive(Debug, Clone)]
pub struct Running {
    /// When it was read, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// The cgroup's usage.
    pub cgroup: Stats,
    /// The rate of CPU time, in nanoseconds per second.
    pub nano_cores: Option<u64>,
    /// How many processes there are.
    pub processes: u64,
}

/// Measures a container. One that does not run has only its writable layer; one that ends meanwhile does not run.
pub async fn container(node: &Arc<Node>, container: &Arc<Container>) -> Result<ContainerUsage> {
    let reading = container.clone();
    let running = node.blocking(move |node| running(node, &reading));
    let (running, layer) = futures::join!(running, layer::usage(node, container, layer::PATIENCE));
    Ok(ContainerUsage { running: running?, layer })
}

/// Whether a container is in lists: not while it is being made or removed.
pub fn is_listed(state: &State) -> bool {
    !matches!(state, State::Creating | State::Removing(_))
}

fn running(node: &Node, container: &Container) -> Result<Option<Running>> {
    let Some(started_at) = container.state().run().map(|run| run.started_at) else { return Ok(None) };
    let cgroup = node.cgroup(&container.cgroup(node))?;
    let at = now();
    let read = cgroup.stats().and_then(|stats| Ok((stats, cgroup.processes()?.len())));
    let (stats, processes) = match read {
        Ok(read) => read,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(Error::node("read the container's cgroup", error)),
    };
    let nano_cores = stats.cpu.and_then(|cpu| container.remembered.cpu.rate(cpu.usage, age(at, started_at)));
    Ok(Some(Running { at, cgroup: stats, nano_cores, processes: u64::try_from(processes).unwrap_or(u64::MAX) }))
}

/// The time between two times in nanoseconds.
pub(super) fn age(now: i64, then: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now.saturating_sub(then)).unwrap_or_default())
}
