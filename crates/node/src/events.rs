//! What happens to pods and containers, told to whoever listens (GetContainerEvents).
//!
//! A change of state leaves a note, in the order of the changes. One task makes an event of each, with the statuses as they
//! are then, and gives it to every listener. A listener that is more than [`BACKLOG`] events behind is told so and dropped:
//! it lists anew, as after any other break. Nothing is dropped in silence.

use std::sync::{Arc, Mutex};

use corten_cri::v1;
use futures::Stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;
use v1::ContainerEventType;

use crate::node::Node;
use crate::operation::lock;
use crate::pod::Pod;
use crate::rpc::{container_message, pod_message};
use crate::timeline::now;

/// The most events that a listener may be behind.
pub const BACKLOG: usize = 4096;

/// Where changes are noted and listeners are told.
pub struct Events {
    notes: mpsc::UnboundedSender<Note>,
    noted: Mutex<Option<mpsc::UnboundedReceiver<Note>>>,
    feed: broadcast::Sender<Arc<v1::ContainerEventResponse>>,
}

/// That something happened.
struct Note {
    pod: Arc<Pod>,
    /// The container's id; the pod's for what happened to the pod itself.
    id: String,
    kind: ContainerEventType,
    at: i64,
}

impl Default for Events {
    fn default() -> Self {
        let (notes, noted) = mpsc::unbounded_channel();
        Self { notes, noted: Mutex::new(Some(noted)), feed: broadcast::Sender::new(BACKLOG) }
    }
}

impl Events {
    /// Notes what happened to a container of `pod`.
    pub fn container(&self, pod: &Arc<Pod>, id: &str, kind: ContainerEventType) {
        self.note(pod, id, kind);
    }

    /// Notes what happened to a pod. Its events bear its id where a container's would be, as other runtimes' do.
    pub fn pod(&self, pod: &Arc<Pod>, kind: ContainerEventType) {
        self.note(pod, &pod.id, kind);
    }

    fn note(&self, pod: &Arc<Pod>, id: &str, kind: ContainerEventType) {
        tracing::debug!(id, kind = kind.as_str_name(), "event");
        if self.feed.receiver_count() == 0 {
            return;
        }
        // It fails when nobody makes events of them, as the daemon is about to end.
        let _ = self.notes.send(Note { pod: pod.clone(), id: id.to_owned(), kind, at: now() });
    }

    /// Everything that happens from now on. A listener that is too far behind gets an error, and nothing after it.
    pub fn listen(&self) -> impl Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send + use<> {
        futures::stream::unfold(Some(self.feed.subscribe()), |receiver| async {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(event) => Some((Ok(Arc::unwrap_or_clone(event)), Some(receiver))),
                Err(RecvError::Lagged(missed)) => Some((Err(too_slow(missed)), None)),
                Err(RecvError::Closed) => None,
            }
        })
    }
}

fn too_slow(missed: u64) -> Status {
    Status::resource_exhausted(format!(
        "events are not read fast enough: more than {BACKLOG} waited, {missed} are lost; list, and listen again"
    ))
}

/// Makes events of the notes, for as long as it is polled.
pub async fn serve(node: Arc<Node>) {
    let Some(mut noted) = lock(&node.events.noted).take() else { return };
    while let Some(note) = noted.recv().await {
        // It fails when nobody listens.
        let _ = node.events.feed.send(Arc::new(event(&node, note)));
    }
}

fn event(node: &Node, Note { pod, id, kind, at }: Note) -> v1::ContainerEventResponse {
    let containers = node.containers.of_pod(&pod.id);
    v1::ContainerEventResponse {
        container_id: id,
        container_event_type: kind.into(),
        created_at: at,
        pod_sandbox_status: pod_message::status(&pod),
        containers_statuses: containers.iter().filter_map(|container| container_message::status(container)).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use futures::StreamExt;

    fn said(events: &Events, count: usize) {
        for number in 0..count {
            let event = v1::ContainerEventResponse { container_id: number.to_string(), ..Default::default() };
            let _ = events.feed.send(Arc::new(event));
        }
    }

    #[tokio::test]
    async fn a_listener_may_be_behind_as_far_as_is_said() {
        let events = Events::default();
        let mut listener = Box::pin(events.listen());
        said(&events, BACKLOG);
        for number in 0..BACKLOG {
            assert_eq!(listener.next().await.unwrap().unwrap().container_id, number.to_string());
        }
    }

    #[tokio::test]
    async fn a_listener_that_is_further_behind_is_told_so_and_nobody_else_notices() {
        let events = Events::default();
        let (mut slow, mut quick) = (Box::pin(events.listen()), Box::pin(events.listen()));
        for _ in 0..3 {
            said(&events, BACKLOG);
            for _ in 0..BACKLOG {
                quick.next().await.unwrap().unwrap();
            }
        }
        let error = slow.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert!(slow.next().await.is_none());
    }
}
