//! Whether an operation on a container may happen. Pure: no I/O, no waiting.

use super::{Operation, State};
use crate::error::Error;
use crate::pod::admit::Admission;

/// Whether `operation` may happen to the container `id` that is in `state`.
pub fn admit(id: &str, state: &State, operation: Operation) -> Admission {
    let refuse = |what: &str| {
        Admission::Refuse(Error::Precondition(format!("container {id:?} is {}: it cannot be {what}", state.name())))
    };
    match (operation, state) {
        (Operation::Create, State::Creating) => Admission::Do,
        (
            Operation::Create,
            State::Created
            | State::Starting
            | State::Running(_)
            | State::Stopping(_)
            | State::Exited(_)
            | State::Lost(_),
        ) => Admission::Done,
        (Operation::Create, State::Removing(_)) => refuse("created"),
        (Operation::Start, State::Created) => Admission::Do,
        (Operation::Start, State::Running(_)) => Admission::Done,
        (
            Operation::Start,
            State::Creating
            | State::Starting
            | State::Stopping(_)
            | State::Exited(_)
            | State::Lost(_)
            | State::Removing(_),
        ) => refuse("started"),
        (Operation::Stop, State::Running(_) | State::Stopping(_) | State::Starting) => Admission::Do,
        (
            Operation::Stop,
            State::Creating | State::Created | State::Exited(_) | State::Lost(_) | State::Removing(_),
        ) => Admission::Done,
        (
            Operation::Remove,
            State::Creating
            | State::Created
            | State::Starting
            | State::Running(_)
            | State::Stopping(_)
            | State::Exited(_)
            | State::Lost(_)
            | State::Removing(_),
        ) => Admission::Do,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::container::{Ended, Run};

    fn running() -> State {
        State::Running(Run { pid: 1, started_at: 0 })
    }

    fn exited() -> State {
        State::Exited(Ended::unseen(None, ""))
    }

    #[test]
    fn a_container_is_started_once() {
        assert!(matches!(admit("a", &State::Created, Operation::Start), Admission::Do));
        assert!(matches!(admit("a", &running(), Operation::Start), Admission::Done));
        assert!(matches!(admit("a", &exited(), Operation::Start), Admission::Refuse(Error::Precondition(_))));
    }

    #[test]
    fn stopping_what_does_not_run_does_nothing() {
        for state in [State::Created, exited(), State::Removing(None)] {
            assert!(matches!(admit("a", &state, Operation::Stop), Admission::Done));
        }
        assert!(matches!(admit("a", &running(), Operation::Stop), Admission::Do));
    }

    #[test]
    fn a_retried_create_finds_what_it_created() {
        assert!(matches!(admit("a", &State::Created, Operation::Create), Admission::Done));
        assert!(matches!(admit("a", &State::Creating, Operation::Create), Admission::Do));
    }
}
