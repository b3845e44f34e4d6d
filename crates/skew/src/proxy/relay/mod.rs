//! Calls that are taken apart: message by message through the stages, in both directions.

mod chain;
mod request;
mod response;

use std::{pin::Pin, time::Duration};

use tokio::time::{Sleep, sleep};

pub(super) use self::{
    chain::Chain,
    request::Requests,
    response::{Head, Responses},
};
use super::stage::{Answer, Next};

/// A stage that answered a request: the rest of the call is the client's.
pub(super) struct Early {
    pub(super) answer: Answer,
    /// How many stages, from the client, have to see the answer.
    pub(super) to_client: usize,
}

/// A message that is delayed.
struct Waiting {
    sleep: Pin<Box<Sleep>>,
    next: Next,
    position: usize,
}

impl Waiting {
    fn new(delay: Duration, next: Next, position: usize) -> Self {
        Self { sleep: Box::pin(sleep(delay)), next, position }
    }
}
