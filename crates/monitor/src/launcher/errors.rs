//! Whose fault a failed step is.

use std::fmt::Display;

use crate::protocol::CallError;

/// Turns the error of a step into a [`CallError`] that names the step.
pub(super) trait Blame<T> {
    /// The image's or the pod's author is to blame.
    fn container(self, step: impl FnOnce() -> String) -> Result<T, CallError>;
    /// The node is to blame.
    fn node(self, step: impl FnOnce() -> String) -> Result<T, CallError>;
}

impl<T, E: Display> Blame<T> for Result<T, E> {
    fn container(self, step: impl FnOnce() -> String) -> Result<T, CallError> {
        self.map_err(|error| CallError::Container { step: step(), error: error.to_string() })
    }

    fn node(self, step: impl FnOnce() -> String) -> Result<T, CallError> {
        self.map_err(|error| CallError::Node { step: step(), error: error.to_string() })
    }
}

/// The image's or the pod's author is to blame.
pub(super) fn container(step: impl Into<String>, error: impl Into<String>) -> CallError {
    CallError::Container { step: step.into(), error: error.into() }
}

/// The node is to blame.
pub(super) fn node(step: impl Into<String>, error: impl Into<String>) -> CallError {
    CallError::Node { step: step.into(), error: error.into() }
}

/// The specification asks for what this launcher does not do, or makes no sense.
pub(super) fn refused(error: impl Into<String>) -> CallError {
    CallError::BadRequest { error: error.into() }
}
