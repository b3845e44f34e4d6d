//! What was done to a pod, step by step, with times: the same names as in the log's spans and in `corten why`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{Instrument, info_span};

use crate::error::Result;
use crate::operation::lock;

/// How many steps of a pod are remembered.
const CAPACITY: usize = 256;

/// One finished step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name, `operation/step`.
    pub name: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start: i64,
    /// How long it took, in nanoseconds.
    pub duration: i64,
    /// The error it ended with.
    pub error: Option<String>,
}

/// The newest steps of a pod.
#[derive(Default)]
pub struct Timeline {
    steps: Mutex<VecDeque<Step>>,
}

impl Timeline {
    /// Does `work` as the step `name`: in a span of that name, its time and outcome noted.
    pub async fn step<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (start, clock) = (now(), Instant::now());
        let result = work.instrument(info_span!("step", name)).await;
        let duration = clock.elapsed();
        let error = result.as_ref().err().map(ToString::to_string);
        match &error {
            None => tracing::debug!(step = name, micros = duration.as_micros() as u64, "step done"),
            Some(error) => tracing::warn!(step = name, micros = duration.as_micros() as u64, %error, "step failed"),
        }
        let duration = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        self.push(Step { name: name.to_owned(), start, duration, error });
        result
    }

    fn push(&self, step: Step) {
        let mut steps = lock(&self.steps);
        if steps.len() == CAPACITY {
            steps.pop_front();
        }
        steps.push_back(step);
    }

    /// The steps, oldest first.
    pub fn steps(&self) -> Vec<Step> {
        lock(&self.steps).iter().cloned().collect()
    }
}

/// Nanoseconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn steps_are_kept_in_order_with_their_outcome() {
        let timeline = Timeline::default();
        timeline.step("run/netns", async { Ok(()) }).await.unwrap();
        timeline.step("run/network", async { Err::<(), _>(Error::node("bridge", "full")) }).await.unwrap_err();
        let steps = timeline.steps();
        assert_eq!(steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["run/netns", "run/network"]);
        assert_eq!(steps[1].error.as_deref(), Some("bridge: full"));
    }

    #[tokio::test]
    async fn the_oldest_steps_are_dropped() {
        let timeline = Timeline::default();
        for n in 0..CAPACITY + 3 {
            timeline.step(&n.to_string(), async { Ok(()) }).await.unwrap();
        }
        assert_eq!((timeline.steps().len(), timeline.steps()[0].name.as_str()), (CAPACITY, "3"));
    }
}
