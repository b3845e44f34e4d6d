//! Whether an operation on a pod may happen. Pure: no I/O, no waiting. An operation that runs already is joined before
//! this is asked (see [`crate::operation`]).

use super::{Operation, State};
use crate::error::Error;

/// The answer.
#[derive(Debug)]
pub enum Admission {
    /// Do it.
    Do,
    /// There is nothing to do.
    Done,
    /// It cannot be.
    Refuse(Error),
}

/// Whether `operation` may happen to the pod `id` that is in `state`.
pub fn admit(id: &str, state: &State, operation: Operation) -> Admission {
    match (operation, state) {
        (Operation::Run, State::Starting) => Admission::Do,
        (Operation::Run, State::Ready(_)) => Admission::Done,
        (Operation::Run, State::Stopping(_) | State::Stopped | State::Removing | State::Broken { .. }) => {
            Admission::Refuse(Error::Exists(format!("pod sandbox {id:?} of this name and attempt is {}", state.name())))
        }
        (Operation::Stop, State::Ready(_) | State::Stopping(_) | State::Broken { .. }) => Admission::Do,
        (Operation::Stop, State::Stopped | State::Removing) => Admission::Done,
        // The run that set this state has failed, and undone what it did.
        (Operation::Stop, State::Starting) => Admission::Done,
        (
            Operation::Remove,
            State::Starting
            | State::Ready(_)
            | State::Stopping(_)
            | State::Stopped
            | State::Removing
            | State::Broken { .. },
        ) => Admission::Do,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn broken() -> State {
        State::Broken { why: "x".into() }
    }

    #[test]
    fn a_run_is_refused_once_the_pod_is_past_being_ready() {
        for state in [State::Stopping(None), State::Stopped, State::Removing, broken()] {
            assert!(matches!(admit("a", &state, Operation::Run), Admission::Refuse(Error::Exists(_))));
        }
    }

    #[test]
    fn stopping_again_does_nothing_and_a_half_stopped_pod_is_stopped_again() {
        assert!(matches!(admit("a", &State::Stopped, Operation::Stop), Admission::Done));
        assert!(matches!(admit("a", &State::Stopping(None), Operation::Stop), Admission::Do));
        assert!(matches!(admit("a", &broken(), Operation::Stop), Admission::Do));
    }

    #[test]
    fn whatever_is_left_can_be_removed() {
        for state in [State::Starting, State::Stopping(None), State::Stopped, State::Removing, broken()] {
            assert!(matches!(admit("a", &state, Operation::Remove), Admission::Do));
        }
    }
}
