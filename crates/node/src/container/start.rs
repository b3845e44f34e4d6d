//! StartContainer: the pod's monitor launches it.

use std::os::fd::AsFd;
use std::sync::Arc;

use corten_host::systemd::Placeholder;
use corten_monitor::protocol::{CallError, Launch, Launcher};
use oci_spec::runtime::Spec;

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
    let (launch, filter, _scope) = node.blocking(move |node| prepare(node, &task_container)).await?;
    let launched =
        ready.monitor.launch(container.id(), &launch, filter.as_ref().map(|filter| filter.memfd.as_fd())).await;
    launched.map_err(|error| call_error(container, error))
}

/// What is launched, the filter to send with it, and what holds its scope.
type Prepared = (Launch, Option<Arc<Compiled>>, Option<Placeholder>);

/// What blocks: directories on any file system, compiling a seccomp profile, and systemd.
fn prepare(node: &Node, container: &Container) -> Result<Prepared> {
    make_log_directory(container)?;
    let (launch, filter) = launch::launch(node, container)?;
    let scope = match launch.launcher {
        Launcher::BuiltIn => scope(node, container, &launch.spec)?,
        // It asks systemd itself.
        Launcher::External { .. } => None,
    };
    Ok((launch, filter, scope))
}

fn scope(node: &Node, container: &Container, spec: &Spec) -> Result<Option<Placeholder>> {
    let (pod, name) = (&container.pod.config.metadata, &container.config().metadata.name);
    let description = format!("container {name} of pod {}/{}", pod.namespace, pod.name);
    let limits = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    node.driver.start_scope(node, &container.place(node), &description, &limits)
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
