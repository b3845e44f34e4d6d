//! A session of attach: a container's own streams connected to a client's.

use std::sync::Arc;

use bytes::Bytes;
use corten_monitor::protocol::attached;
use corten_streaming::remote_command::{Outcome, Session, Wanted};
use corten_streaming::stream::{Gone, Incoming, Outgoing};
use tokio::task::JoinSet;

use super::LAST_WORDS;
use super::descriptor::Descriptor;
use super::exec::{copy_in, follow_sizes};
use crate::container::Container;
use crate::container::config::Stdin;
use crate::container::process::running;
use crate::container::start::call_error;
use crate::error::{Error, Result};
use crate::monitor::Monitor;
use crate::node::Node;

/// Runs a session to its end.
pub async fn run(node: &Arc<Node>, container: &Arc<Container>, wanted: Wanted, session: Session) {
    let Session { stdin, stdout, stderr, resize, mut control } = session;
    let connected = match connect(node, container).await {
        Ok(connected) => connected,
        Err(error) => return control.end(&Outcome::Failed(error.to_string())).await,
    };
    let Connected { monitor, output, input, terminal } = connected;
    let mut inputs = JoinSet::new();
    if let (Some(sizes), Some(terminal)) = (resize, terminal) {
        inputs.spawn(follow_sizes(sizes, terminal));
    }
    if let (true, Some(stdin), Some(input)) = (wanted.stdin, stdin, input) {
        inputs.spawn(feed(container.clone(), monitor, stdin, input));
    }
    let followed = tokio::select! {
        followed = follow(container, output, stdout, stderr) => followed,
        () = control.gone() => Err(Gone),
    };
    match followed {
        Ok(outcome) => control.end(&outcome).await,
        // What it has sent is still written, as stdin may have to be closed after it.
        Err(Gone) => drop(control),
    }
    if container.config().stdin == Stdin::Once {
        while inputs.join_next().await.is_some() {}
    }
}

/// What the monitor gives.
struct Connected {
    monitor: Arc<Monitor>,
    output: Descriptor,
    input: Option<Descriptor>,
    /// The terminal again, to be resized.
    terminal: Option<Descriptor>,
}

async fn connect(node: &Node, container: &Container) -> Result<Connected> {
    let monitor = running(container)?;
    let attached = monitor.attach(container.id(), node.config.streaming.attach_buffer).await;
    let attached = attached.map_err(|error| call_error(container, error))?;
    let failed = |error: std::io::Error| Error::node("attach", error);
    let input = attached.input.map(Descriptor::new).transpose().map_err(failed)?;
    let terminal = match &input {
        Some(input) if attached.terminal => Some(input.duplicate().map_err(failed)?),
        _ => None,
    };
    Ok(Connected { monitor, output: Descriptor::new(attached.output).map_err(failed)?, input, terminal })
}

/// Passes a container's output on, up to its end.
async fn follow(
    container: &Container,
    mut output: Descriptor,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
) -> Result<Outcome, Gone> {
    loop {
        let packet = output.receive().await.unwrap_or_default();
        let sink = match packet.first() {
            Some(&attached::END) => return Ok(Outcome::Exited(0)),
            Some(&attached::STDOUT) => &stdout,
            Some(&attached::STDERR) => &stderr,
            Some(_) => continue,
            None => return Ok(Outcome::Failed(cut_off(container))),
        };
        if let Some(sink) = sink {
            deliver(container, sink, packet.slice(1..)).await?;
        }
    }
}

/// A client that does not read cannot keep the session for ever after the container has ended.
async fn deliver(container: &Container, sink: &Outgoing, bytes: Bytes) -> Result<(), Gone> {
    let given_up = async {
        let _ = container.watch().wait_for(|state| state.run().is_none()).await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        sent = sink.send(bytes) => sent,
        () = given_up => Err(Gone),
    }
}

fn cut_off(container: &Container) -> String {
    match container.pod.ready() {
        Some(ready) if ready.monitor.is_open() => {
            "the output was not read fast enough: this client is cut off, the container goes on".into()
        }
        _ => "the pod's monitor is gone".into(),
    }
}

/// Writes what the client sends to a container; its stdin is closed after it if it is for one client only.
async fn feed(container: Arc<Container>, monitor: Arc<Monitor>, source: Incoming, input: Descriptor) {
    let mut closed = container.stdin_closed.subscribe();
    tokio::select! {
        () = copy_in(source, &input) => {}
        _ = closed.wait_for(|closed| *closed) => return,
    }
    drop(input);
    if container.config().stdin != Stdin::Once || container.config().tty {
        return;
    }
    container.stdin_closed.send_replace(true);
    if let Err(error) = monitor.close_stdin(container.id()).await {
        tracing::debug!(container = container.id(), %error, "its stdin could not be closed");
    }
}
