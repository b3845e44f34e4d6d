//! The one error that reaches a caller, and its gRPC code.

use tonic::{Code, Status};

/// What went wrong, by whose fault it is; the gRPC code follows from it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller's: a field has a value that cannot be.
    #[error("invalid {field} {value:?}: {why}")]
    Invalid {
        /// The field's path in the request, as the proto spells it (`config.linux.security_context.run_as_user`).
        field: String,
        /// The offending value.
        value: String,
        /// Why it cannot be.
        why: String,
    },
    /// The caller's: there is no such thing.
    #[error("{kind} {id:?} not found")]
    NotFound {
        /// What kind of thing (`pod sandbox`, `container`, `image`).
        kind: &'static str,
        /// The id or name asked for.
        id: String,
    },
    /// The caller's: not in the state it is in.
    #[error("{0}")]
    Precondition(String),
    /// The caller's: it exists already, and is not the same.
    #[error("{0}")]
    Exists(String),
    /// It took longer than the caller allowed.
    #[error("{0}")]
    Timeout(String),
    /// This runtime, this host or this build cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// More than a limit allows.
    #[error("{0}")]
    Exhausted(String),
    /// The image's or the container's own fault; the kubelet shows the text to its user.
    #[error("{0}")]
    Container(String),
    /// An outsider's: a registry, a plug-in. The text may begin with a prefix that the kubelet knows.
    #[error("{0}")]
    Outside(String),
    /// The image store's, which words its errors itself: the kubelet shows them, and knows some by their beginning.
    #[error("{text}")]
    Image {
        /// By whose fault it is.
        code: Code,
        /// The text.
        text: String,
    },
    /// The node's: a step failed.
    #[error("{step}: {why}")]
    Node {
        /// The step or operation, with the path it was about.
        step: String,
        /// Why it failed.
        why: String,
    },
}

/// What handlers and steps return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An invalid field.
    pub fn invalid(field: impl Into<String>, value: impl ToString, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), value: value.to_string(), why: why.into() }
    }

    /// A step of the node's that failed.
    pub fn node(step: impl Into<String>, why: impl ToString) -> Self {
        Self::Node { step: step.into(), why: why.to_string() }
    }

    /// The gRPC code that callers see.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::Precondition(_) => Code::FailedPrecondition,
            Self::Exists(_) => Code::AlreadyExists,
            Self::Timeout(_) => Code::DeadlineExceeded,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Exhausted(_) => Code::ResourceExhausted,
            Self::Container(_) | Self::Outside(_) => Code::Unknown,
            Self::Image { code, .. } => *code,
            Self::Node { .. } => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code(), error.to_string())
    }
}

impl From<corten_images::Error> for Error {
    fn from(error: corten_images::Error) -> Self {
        use corten_images::Fault;
        let text = error.to_string();
        match error.fault() {
            Fault::Caller => Self::Image { code: Code::InvalidArgument, text },
            Fault::NotFound => Self::Image { code: Code::NotFound, text },
            // The kubelet looks for its `RegistryUnavailable` at the beginning of errors with this code only; with
            // `Unavailable` clients would take the daemon for the one that is away.
            Fault::Unavailable => Self::Image { code: Code::Unknown, text },
            Fault::Outside => Self::Image { code: Code::Unknown, text },
            Fault::Precondition => Self::Image { code: Code::FailedPrecondition, text },
            Fault::Node => Self::Image { code: Code::Internal, text },
        }
    }
}
