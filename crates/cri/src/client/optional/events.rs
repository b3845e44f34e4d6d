//! The events of containers.

use std::time::Duration;

use tonic::{Status, Streaming};

use crate::{
    client::{RuntimeClient, is_unimplemented},
    v1::{ContainerEventResponse, GetEventsRequest},
};

/// How often the kubelet lists the containers when it gets no events: the relist period of its generic PLEG.
pub const POLLING: Duration = Duration::from_secs(1);

/// What comes from a runtime's stream of events.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something happened.
    Happened(Box<ContainerEventResponse>),
    /// The runtime ended the stream: it can be asked for again.
    Ended,
    /// The runtime has no events: its lists have to be asked for, this often.
    Poll(Duration),
}

/// A stream of events. grpc-go opens a stream with its first message, so that a runtime has none is known only from
/// waiting for it.
#[derive(Debug)]
pub struct Events {
    client: RuntimeClient,
    stream: Option<Streaming<ContainerEventResponse>>,
}

impl Events {
    pub(super) fn new(client: RuntimeClient) -> Self {
        Self { client, stream: None }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The runtime's. The next call opens the stream again.
    pub async fn next(&mut self) -> Result<Event, Status> {
        match self.wait().await {
            Ok(Some(event)) => Ok(Event::Happened(Box::new(event))),
            Ok(None) => {
                self.stream = None;
                Ok(Event::Ended)
            }
            Err(status) => {
                self.stream = None;
                if is_unimplemented(&status) { Ok(Event::Poll(POLLING)) } else { Err(status) }
            }
        }
    }

    async fn wait(&mut self) -> Result<Option<ContainerEventResponse>, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.client.get_container_events(GetEventsRequest {}).await?.into_inner()),
        };
        stream.message().await
    }
}
