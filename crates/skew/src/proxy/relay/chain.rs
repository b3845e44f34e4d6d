//! The stages that follow one call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tonic::Status;

use crate::proxy::stage::{Answer, Exchange, Next};

/// The stages of a call in their order from the client. Both directions share them.
#[derive(Clone)]
pub(in crate::proxy) struct Chain {
    exchanges: Arc<Mutex<Vec<Box<dyn Exchange>>>>,
}

/// What became of a message on its way through the stages.
pub(super) enum Flow {
    Forward(Bytes),
    Dropped,
    /// These go on from here.
    Several {
        messages: Vec<Bytes>,
        position: usize,
    },
    /// The call ends, for the `to_client` stages nearest to the client too.
    Answer {
        answer: Answer,
        to_client: usize,
    },
    /// In a while it goes on from here.
    Wait {
        delay: Duration,
        next: Next,
        position: usize,
    },
}

impl Chain {
    pub(in crate::proxy) fn new(exchanges: Vec<Box<dyn Exchange>>) -> Self {
        Self { exchanges: Arc::new(Mutex::new(exchanges)) }
    }

    /// Nothing is left half done by a panic here: each call is its own.
    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Exchange>>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::proxy) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A message on its way to the runtime that has passed `position` stages, as the last of them left it.
    pub(super) fn request(&self, mut next: Next, mut position: usize) -> Flow {
        let mut exchanges = self.lock();
        loop {
            next = match next {
                Next::Forward(message) => match exchanges.get_mut(position) {
                    None => return Flow::Forward(message),
                    Some(exchange) => {
                        position += 1;
                        exchange.request(message)
                    }
                },
                Next::Several(messages) => messages.into_iter().next().map_or(Next::Drop, Next::Forward),
                Next::Drop => return Flow::Dropped,
                Next::Answer(answer) => return Flow::Answer { answer, to_client: position.saturating_sub(1) },
                Next::After(delay, next) => return Flow::Wait { delay, next: *next, position },
            };
        }
    }

    /// A message on its way to the client with `position` stages to pass, as the one before left it.
    pub(super) fn response(&self, mut next: Next, mut position: usize) -> Flow {
        let mut exchanges = self.lock();
        loop {
            next = match next {
                Next::Forward(message) => match position.checked_sub(1) {
                    None => return Flow::Forward(message),
                    Some(index) => {
                        position = index;
                        exchanges.get_mut(index).map_or(Next::Drop, |exchange| exchange.response(message))
                    }
                },
                Next::Several(messages) => return Flow::Several { messages, position },
                Next::Drop => return Flow::Dropped,
                Next::Answer(answer) => return Flow::Answer { answer, to_client: position },
                Next::After(delay, next) => return Flow::Wait { delay, next: *next, position },
            };
        }
    }

    /// The end as one stage sees it.
    pub(super) fn end(&self, status: Status, index: usize) -> Answer {
        match self.lock().get_mut(index) {
            Some(exchange) => exchange.end(status),
            None => Answer::status(status),
        }
    }
}
