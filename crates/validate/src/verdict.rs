//! How a check ends.

use std::fmt;

use serde::Serialize;
use tonic::{Code, Status};

/// What a check returns: something, or why it stops.
pub type Checked<T = ()> = Result<T, Stop>;

/// Why a check stops before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The runtime does not do what the CRI documents.
    Failed(Failure),
    /// The runtime does not have what the check is about, and need not.
    NotSupported(String),
}

/// What is wrong with a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What was looked at.
    pub what: String,
    /// What the CRI documents for it.
    pub expected: String,
    /// What the runtime did.
    pub seen: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, saw {}", self.what, self.expected, self.seen)
    }
}

impl Stop {
    /// A failure.
    pub fn failed(what: impl fmt::Display, expected: impl fmt::Display, seen: impl fmt::Display) -> Self {
        let (what, expected, seen) = (what.to_string(), expected.to_string(), seen.to_string());
        Self::Failed(Failure { what, expected, seen })
    }

    /// Something about the node, not the runtime, is in the way of a check.
    pub fn node(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self::failed(what, "it works on this node", error)
    }
}

/// A call that the runtime did not answer with success.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// `Service/Method`.
    pub rpc: &'static str,
    /// The runtime's answer.
    pub status: Box<Status>,
    /// Whether the runtime says that it does not have the call, and need not have it.
    pub(crate) lacking: bool,
}

impl Refusal {
    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.status.code()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.status.code(), self.status.message())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        if refusal.lacking {
            return Self::NotSupported(format!("the runtime does not implement {}", refusal.rpc));
        }
        Self::failed(refusal.rpc, "success", &refusal)
    }
}
