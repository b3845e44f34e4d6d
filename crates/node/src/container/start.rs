//! StartContainer: the pod's monitor launches it.

use std::os::fd::AsFd;
use std::sync::Arc;

use corten_host::systemd::Placeholder;
use corten_monitor::protocol::{CallError, Launch, Launcher};
use oci_spec::runtime::{LinuxResources, Spec};

use super::admit::admit;
use super::{Container, Ended, Operation, Run, State, launch};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod::admit::Admission;
use crate::seccomp::Compiled;

/// Starts a container, or joins or acknowledges its start.
pub async fn start(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    let (task_node, task_container) = (node.clone(), container.clone());
    container.slot.run(Operation::Start, || async move { operation(&task_node, &task_container).await }).await
}

async fn operation(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    match admit(container.id(), &container.state(), Operation::Start) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    // What it was created from may have been found broken since; when it is mended, the container can start.
    node.images.snapshot_usable(container.id())?;
    container.set(node, State::Starting)?;
    let name = format!("start/{}", container.config().metadata.name);
    let launched = container.pod.timeline.step(&name, steps(node, container)).await;
    match launched {
        Ok((pid, started_at)) => container.change(node, |state| match state {
            State::Starting => Some(State::Running(Run { pid, started_at })),
            State::Exited(ended) => Some(State::Exited(Ended { started_at: Some(started_at), ..ended.clone() })),
            _ => None,
        }),
        Err(error) => {
            container.set(node, State::Exited(Ended::not_started(error.to_string())))?;
            Err(error)
        }
    }
}

async fn steps(node: &Arc<Node>, container: &Arc<Container>) -> Result<(i32, i64)> {
    let Some(ready) = container.pod.ready() else {
        let (pod, state) = (&container.pod.id, container.pod.state());
        return Err(Error::Precondition(format!("pod sandbox {pod:?} is {}", state.name())));
    };
    let task_container = container.clone();
    // The scope lasts until the container is in it.
    let (launch, filter, scope) = node.blocking(move |node| prepare(node, &task_container)).await?;
    let launched =
        ready.monitor.launch(container.id(), &launch, filter.as_ref().map(|filter| filter.memfd.as_fd())).await;
    let started = launched.map_err(|error| call_error(container, error))?;
    if let Some(Scope { placeholder, limits: Some(limits) }) = scope {
        let task_container = container.clone();
        let limited = node.blocking(move |node| {
            placeholder.end();
            limit(node, &task_container, &limits)
        });
        if let Err(error) = limited.await {
            tracing::warn!(container = container.id(), %error, "the container may have one process more than it should");
        }
    }
    Ok(started)
}

/// What is launched, the filter to send with it, and what holds its scope.
type Prepared = (Launch, Option<Arc<Compiled>>, Option<Scope>);

/// A scope that is held for a container to be launched into.
struct Scope {
    placeholder: Placeholder,
    /// The limits that hold once the placeholder is gone, if they are others: until then there is one process more.
    limits: Option<LinuxResources>,
}

/// What blocks: directories on any file system, compiling a seccomp profile, and systemd.
fn prepare(node: &Node, container: &Container) -> Result<Prepared> {
    make_log_directory(container)?;
    let (mut launch, filter) = launch::launch(node, container)?;
    let scope = match launch.launcher {
        Launcher::BuiltIn if node.driver.is_unit(&container.place(node)) => scope(node, container, &mut launch.spec)?,
        // An external runtime asks systemd itself.
        Launcher::BuiltIn | Launcher::External { .. } => None,
    };
    Ok((launch, filter, scope))
}

fn scope(node: &Node, container: &Container, spec: &mut Spec) -> Result<Option<Scope>> {
    let (pod, name) = (&container.pod.config.metadata, &container.config().metadata.name);
    let description = format!("container {name} of pod {}/{}", pod.namespace, pod.name);
    let mut limits = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let asked = with_placeholder(&mut limits);
    if let (Some(_), Some(linux)) = (&asked, spec.linux_mut()) {
        linux.set_resources(Some(limits.clone()));
    }
    let placeholder = node.driver.start_scope(node, &container.place(node), &description, &limits)?;
    Ok(placeholder.map(|placeholder| Scope { placeholder, limits: asked }))
}

/// Raises a limit on processes by one, for the placeholder. Returns the limits as they were, if there is one.
fn with_placeholder(limits: &mut LinuxResources) -> Option<LinuxResources> {
    const FILE: &str = "pids.max";
    let asked = limits.clone();
    if let Some(pids) = limits.pids_mut().as_mut().filter(|pids| pids.limit() > 0) {
        pids.set_limit(pids.limit().saturating_add(1));
    }
    if let Some(value) = limits.unified_mut().as_mut().and_then(|unified| unified.get_mut(FILE))
        && let Ok(limit) = value.trim().parse::<i64>()
    {
        *value = limit.saturating_add(1).to_string();
    }
    Some(asked).filter(|asked| asked != limits)
}

/// Limits the container. systemd writes all files again, so they are all written after it. One that has ended meanwhile has no cgroup
/// any more.
fn limit(node: &Node, container: &Container, limits: &LinuxResources) -> Result<()> {
    let place = container.place(node);
    let cgroup = node.cgroup(place.path())?;
    if !cgroup.exists() {
        return Ok(());
    }
    node.driver.limit(&place, limits)?;
    let mut files = limits.clone();
    // They are a program of the cgroup's, which systemd leaves alone.
    files.set_devices(None);
    match cgroup.update(&files) {
        Err(_) if !cgroup.exists() => Ok(()),
        outcome => outcome.map_err(|error| Error::node("limit the container", error)),
    }
}

fn make_log_directory(container: &Container) -> Result<()> {
    let Some(path) = container.log_file() else { return Ok(()) };
    let Some(directory) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(directory)
        .map_err(|error| Error::node(format!("make the log directory {}", directory.display()), error))
}

/// A monitor's error, by whose fault it is.
pub fn call_error(container: &Container, error: CallError) -> Error {
    match error {
        CallError::Container { .. } => Error::Container(error.to_string()),
        CallError::NotFound { .. } | CallError::NotRunning { .. } => {
            Error::Precondition(format!("container {:?}: {error}", container.id()))
        }
        CallError::Node { step, error } => Error::node(step, error),
        CallError::BadRequest { error } => Error::node("monitor", error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use oci_spec::runtime::LinuxPids;

    use super::*;

    #[test]
    fn a_limit_on_processes_has_room_for_the_placeholder() {
        let mut pids = LinuxPids::default();
        pids.set_limit(1);
        let mut limits = LinuxResources::default();
        assert_eq!(with_placeholder(&mut limits), None);
        let file = |value: &str| Some([("pids.max".to_owned(), value.to_owned())].into());
        limits.set_pids(Some(pids)).set_unified(file("7"));
        let before = limits.clone();
        assert_eq!(with_placeholder(&mut limits), Some(before));
        assert_eq!((limits.pids().unwrap().limit(), limits.unified()), (2, &file("8")));
        limits.set_pids(None).set_unified(file("max"));
        assert_eq!(with_placeholder(&mut limits), None);
    }
}
