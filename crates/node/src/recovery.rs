//! What a daemon does with what an earlier one left: finds running pods again, finishes what was begun, undoes the rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_host::network::Attached;
use corten_monitor::protocol::{Held, HeldState};
use tokio::sync::mpsc;

use crate::container::{self, Container, Ended, Run, exits};
use crate::error::{Error, Result};
use crate::id;
use crate::monitor::{Event, Monitor};
use crate::node::Node;
use crate::pod::{self, Pod, Ready, RecordedState, State};
use crate::record;

/// How often, and how many times, a monitor is asked again that is just launching a container.
const LAUNCHING: (Duration, usize) = (Duration::from_millis(50), 200);

/// How many times a monitor is asked that does not answer, and how long apart.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Recovers everything. Trouble with one pod or container is told and does not stop the others.
pub async fn recover(node: &Arc<Node>) -> Result<()> {
    let mut pods = Vec::new();
    for id in entries(node.config.state.join("pods"))? {
        match read_pod(node, &id) {
            Ok(found) => pods.extend(found),
            Err(error) => tracing::error!(pod = id, %error, "the record cannot be used"),
        }
    }
    for id in entries(node.config.state.join("containers"))? {
        if let Err(error) = read_container(node, &id) {
            tracing::error!(container = id, %error, "the record cannot be used");
        }
    }
    let all = pods.into_iter().map(|(pod, recorded)| async move {
        if let Err(error) = resume(node, &pod, recorded).await {
            tracing::error!(pod = pod.id, %error, "the pod could not be recovered");
        }
    });
    futures::future::join_all(all).await;
    give_back(node).await
}

/// The ids below a state directory; anything else there is not ours.
fn entries(directory: PathBuf) -> Result<Vec<String>> {
    record::make_directory(&directory)?;
    let failed = |error| Error::node(format!("read {}", directory.display()), error);
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        ids.extend(name.to_str().filter(|name| id::is_id(name)).map(str::to_owned));
    }
    Ok(ids)
}

/// A pod on record whose cgroup systemd did not make. A record that cannot be read is [`recover`]'s to tell of.
pub fn pod_of_cgroupfs(state: &Path) -> Option<String> {
    let pods = state.join("pods");
    let is_one = |id: &String| {
        let record = record::read::<pod::Record>(&pod::record_path(&pods.join(id)));
        matches!(record, Ok(Some(record)) if record.is_of_cgroupfs())
    };
    entries(pods.clone()).ok()?.into_iter().find(is_one)
}

fn read_pod(node: &Node, id: &str) -> Result<Option<(Arc<Pod>, RecordedState)>> {
    let directory = node.pod_directory(id);
    let Some(record) = record::read::<pod::Record>(&pod::record_path(&directory))? else {
        // Killed between making the directory and recording the pod: nothing else was made.
        record::remove_directory(&directory)?;
        return Ok(None);
    };
    let recorded = record.state.clone();
    let state = match &recorded {
        RecordedState::Starting => State::Starting,
        RecordedState::Stopping => State::Stopping(None),
        RecordedState::Stopped => State::Stopped,
        RecordedState::Removing => State::Removing,
        RecordedState::Ready { .. } => State::Broken { why: "its monitor is not found again yet".into() },
        RecordedState::Broken { why } => State::Broken { why: why.clone() },
    };
    let pod = Arc::new(Pod::from_record(record, state, &node.config.cgroup));
    node.pods.insert(pod.clone());
    Ok(Some((pod, recorded)))
}

fn read_container(node: &Node, id: &str) -> Result<()> {
    let directory = node.container_directory(id);
    let Some(record) = record::read::<container::Record>(&container::record_path(&directory))? else {
        // Killed before the container was recorded: its snapshot is given back with the others that nobody has.
        return record::remove_directory(&directory);
    };
    let pod = node.pods.find(&record.facts.pod_id)?;
    node.containers.insert(Arc::new(Container::new(record, pod)));
    Ok(())
}

async fn resume(node: &Arc<Node>, pod: &Arc<Pod>, recorded: RecordedState) -> Result<()> {
    match recorded {
        RecordedState::Starting => pod::run::abandon(node, pod).await,
        RecordedState::Ready { network } => find(node, pod, network, State::Ready).await,
        RecordedState::Stopping => {
            // Its containers may run, and its monitor may be there to tell how they end.
            find(node, pod, None, |ready| State::Stopping(Some(ready))).await?;
            finish(node, pod, pod::Operation::Stop);
            Ok(())
        }
        RecordedState::Removing => {
            exits::lose_containers(node, pod, "its pod was being removed").await;
            finish(node, pod, pod::Operation::Remove);
            Ok(())
        }
        RecordedState::Stopped | RecordedState::Broken { .. } => {
            exits::lose_containers(node, pod, "its monitor was gone").await;
            drop_half_made(node, pod).await
        }
    }
}

/// Removes the containers whose creation or removal was cut short.
async fn drop_half_made(node: &Arc<Node>, pod: &Arc<Pod>) -> Result<()> {
    for container in node.containers.of_pod(&pod.id) {
        if matches!(container.state(), container::State::Creating | container::State::Removing(_)) {
            container::remove::everything(node, &container).await?;
            node.containers.remove(container.id());
        }
    }
    Ok(())
}

/// Finishes in the background what the earlier daemon began: stopping may wait for a network's plug-ins.
fn finish(node: &Arc<Node>, pod: &Arc<Pod>, operation: pod::Operation) {
    let (node, pod) = (node.clone(), pod.clone());
    tokio::spawn(async move {
        let outcome = match operation {
            pod::Operation::Remove => pod::remove::remove(&node, &pod).await,
            pod::Operation::Run | pod::Operation::Stop => pod::stop::stop(&node, &pod).await,
        };
        if let Err(error) = outcome {
            tracing::error!(pod = pod.id, ?operation, %error, "could not be finished");
        }
    });
}

/// Finds a pod's monitor again (trying for a while: it may be busy) and puts the pod `into` a state with it, its containers as the monitor says they are.
pub async fn find(
    node: &Arc<Node>,
    pod: &Arc<Pod>,
    network: Option<Attached>,
    into: impl FnOnce(Ready) -> State,
) -> Result<()> {
    let (events, receiver) = mpsc::unbounded_channel();
    let Some((monitor, held)) = ask(node, pod, events).await? else {
        let why = "its monitor is gone".to_owned();
        tracing::error!(pod = pod.id, why, "the pod is lost");
        pod.set(node, State::Broken { why: why.clone() })?;
        exits::lose_containers(node, pod, &why).await;
        return drop_half_made(node, pod).await;
    };
    pod.set(node, into(Ready { monitor: Arc::new(monitor), network }))?;
    for container in node.containers.of_pod(&pod.id) {
        let held = held.iter().find(|held| held.container == container.id());
        if let Err(error) = reconcile(node, pod, &container, held).await {
            tracing::error!(container = container.id(), %error, "the container could not be recovered");
        }
    }
    exits::watch(node, pod, receiver);
    Ok(())
}

/// Asks a pod's monitor what it holds. An error means that it lives and does not answer: nothing of the pod may be
/// killed for that.
async fn ask(node: &Node, pod: &Pod, events: mpsc::UnboundedSender<Event>) -> Result<Option<(Monitor, Vec<Held>)>> {
    let directory = node.pod_directory(&pod.id);
    let mut left = ATTEMPTS;
    loop {
        let outcome = match Monitor::find(&directory, &pod.id, events.clone()).await {
            Ok(Some(monitor)) => held(&monitor).await.map(|held| Some((monitor, held))),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        left -= 1;
        match outcome {
            Err(error) if left > 0 => tracing::warn!(pod = pod.id, %error, "the monitor is asked again"),
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn held(monitor: &Monitor) -> Result<Vec<Held>> {
    let (pause, times) = LAUNCHING;
    let mut left = times;
    loop {
        let held = monitor.state().await.map_err(|error| Error::node("ask the monitor", error))?;
        if left == 0 || !held.iter().any(|held| held.state == HeldState::Launching) {
            return Ok(held);
        }
        left -= 1;
        tokio::time::sleep(pause).await;
    }
}

/// Brings a container's state together with what its monitor says.
async fn reconcile(node: &Arc<Node>, pod: &Arc<Pod>, container: &Arc<Container>, held: Option<&Held>) -> Result<()> {
    use container::State as S;
    let state = container.state();
    match (&state, held.map(|held| &held.state)) {
        (S::Creating | S::Removing(_), _) => {
            container::remove::everything(node, container).await?;
            node.containers.remove(container.id());
            Ok(())
        }
        (S::Starting | S::Running(_) | S::Stopping(_), Some(HeldState::Running { pid, at })) => {
            container.set(node, S::Running(Run { pid: *pid, started_at: *at }))
        }
        (S::Starting | S::Running(_) | S::Stopping(_), Some(HeldState::Exited { started, exit, .. })) => {
            container.set(node, S::Exited(Ended::seen(*started, exit)))?;
            exits::exited(node, pod, container.id(), Some(*started), exit).await;
            Ok(())
        }
        // Its launch never reached the monitor.
        (S::Starting, None) => container.set(node, S::Created),
        (S::Starting | S::Running(_) | S::Stopping(_), None | Some(HeldState::Launching)) => {
            container::stop::kill_cgroup(node, container).await?;
            container::remove::end_unseen(node, container, S::Exited, "its monitor does not know it")
        }
        (S::Created | S::Exited(_) | S::Lost(_), _) => Ok(()),
    }
}

/// Gives back what belongs to no pod or container, as far as it can be. A record that cannot be read still stands for a
/// pod or container that may run.
async fn give_back(node: &Arc<Node>) -> Result<()> {
    let containers = entries(node.config.state.join("containers"))?;
    for snapshot in node.images.snapshots().into_iter().filter(|snapshot| !containers.contains(snapshot)) {
        tracing::info!(container = snapshot, "a writable layer without a container is removed");
        if let Err(error) = node.images.remove_snapshot(&snapshot).await {
            tracing::error!(container = snapshot, %error, "the writable layer stays");
        }
    }
    let live = entries(node.config.state.join("pods"))?;
    if let Err(error) = node.blocking(move |node| node.network.collect(&live)).await {
        tracing::error!(%error, "not all of the network that no pod has could be given back");
    }
    Ok(())
}
