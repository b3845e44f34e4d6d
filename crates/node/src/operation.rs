//! One mutating operation at a time per pod and per container.
//!
//! An operation runs in a task of its own: a caller that gives up does not abort it, and a retry joins it. The kubelet
//! gives up after its own deadline and asks again with the same words; it must neither start the work anew nor be told
//! that "the name is reserved".

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::task::AbortHandle;

use crate::error::{Error, Result};

/// Where a pod's or container's running operation is kept. `K` names the operation.
pub struct Slot<K> {
    current: Mutex<Option<Running<K>>>,
}

struct Running<K> {
    kind: K,
    task: AbortHandle,
    outcome: Shared<BoxFuture<'static, Result<()>>>,
}

impl<K> Default for Slot<K> {
    fn default() -> Self {
        Self { current: Mutex::new(None) }
    }
}

impl<K: Copy + PartialEq> Slot<K> {
    /// Runs `operation`, or joins it if one of the same kind runs already. One of another kind is awaited first.
    pub async fn run<F>(&self, kind: K, operation: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut operation = Some(operation);
        loop {
            let (mine, outcome) = self.join_or_start(kind, &mut operation);
            let result = outcome.await;
            if mine {
                return result;
            }
        }
    }

    fn join_or_start<F>(
        &self,
        kind: K,
        operation: &mut Option<impl FnOnce() -> F>,
    ) -> (bool, Shared<BoxFuture<'static, Result<()>>>)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut current = lock(&self.current);
        if let Some(running) = current.as_ref().filter(|running| !running.task.is_finished()) {
            return (running.kind == kind, running.outcome.clone());
        }
        let Some(operation) = operation.take() else {
            return (true, futures::future::ready(Ok(())).boxed().shared());
        };
        let task = tokio::spawn(operation());
        let abort = task.abort_handle();
        let outcome = async { task.await.unwrap_or_else(|error| Err(Error::node("operation", error))) };
        let outcome = outcome.boxed().shared();
        *current = Some(Running { kind, task: abort, outcome: outcome.clone() });
        (true, outcome)
    }
}

/// Locks a mutex whose data stays valid even if a holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_retry_joins_the_operation_whose_caller_gave_up() {
        let (slot, runs, go) = (Slot::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let operation = || {
            let (runs, go) = (runs.clone(), go.clone());
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Err(Error::Precondition("the outcome".into()))
            }
        };
        tokio::time::timeout(Duration::from_millis(20), slot.run(1, operation)).await.unwrap_err();
        go.notify_one();
        let error = slot.run(1, operation).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), runs.load(Ordering::SeqCst)), ("the outcome", 1));
    }

    #[tokio::test]
    async fn operations_of_different_kinds_run_one_after_the_other() {
        let (slot, log) = (Arc::new(Slot::default()), Arc::new(Mutex::new(Vec::new())));
        let tasks: Vec<_> = (0..4)
            .map(|kind| {
                let (slot, log) = (slot.clone(), log.clone());
                tokio::spawn(async move {
                    let operation = move || async move {
                        lock(&log).push(kind);
                        tokio::task::yield_now().await;
                        lock(&log).push(kind);
                        Ok(())
                    };
                    slot.run(kind, operation).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert!(lock(&log).chunks(2).all(|pair| pair[0] == pair[1]));
    }

    #[tokio::test]
    async fn a_panic_in_an_operation_is_its_error() {
        let slot = Slot::default();
        assert!(slot.run((), || async { panic!("gone") }).await.is_err());
        slot.run((), || async { Ok(()) }).await.unwrap();
    }
}
