//! Why there is no connection.

use std::{io, path::PathBuf};

use tonic::Status;

use super::is_unimplemented;
use crate::ApiVersion;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not a unix socket's address.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The socket cannot be connected to.
    #[error("connect to {path}: {hint}", path = path.display(), hint = hint(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something accepted the connection and does not speak HTTP/2.
    #[error("connect to {path}: {source}", path = path.display())]
    Http {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        source: hyper::Error,
    },
    /// The server has the CRI in no version that was asked for.
    #[error("connect to {path}: the CRI is not served there in a version that this client speaks: {tried}",
        path = path.display(), tried = list(tried))]
    NoVersion {
        /// The socket.
        path: PathBuf,
        /// Each version asked for, by preference, and the answer.
        tried: Vec<(ApiVersion, Status)>,
    },
    /// The server's answer to the first question was an error that says nothing about versions.
    #[error("connect to {path}: asked for CRI {version}: {status}", path = path.display(), status = brief(status))]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The version that was asked for.
        version: ApiVersion,
        /// The answer.
        status: Box<Status>,
    },
    /// After a re-dial the runtime has no longer the version that was chosen when the client started.
    #[error("connect to {path}: the runtime no longer serves CRI {version}, which was chosen at the start: \
        this client must be restarted", path = path.display())]
    Restart {
        /// The socket.
        path: PathBuf,
        /// The version chosen at the start.
        version: ApiVersion,
    },
}

impl Error {
    /// The error as the answer to a call that needed the connection.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Restart { .. } => Status::failed_precondition(self.to_string()),
            _ => Status::unavailable(self.to_string()),
        }
    }
}

/// Says what an error of connect(2) means to the person who typed the path.
fn hint(error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such socket (is the runtime running?)",
        io::ErrorKind::ConnectionRefused => "nothing listens on it (has the runtime stopped?)",
        io::ErrorKind::PermissionDenied => "permission denied (the socket usually belongs to root)",
        io::ErrorKind::TimedOut => "the runtime does not accept the connection",
        _ => return error.to_string(),
    };
    why.to_owned()
}

fn list(tried: &[(ApiVersion, Status)]) -> String {
    let one = |(version, status): &(ApiVersion, Status)| format!("{version} ({})", brief(status));
    tried.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn brief(status: &Status) -> String {
    let message = status.message().trim();
    match message {
        "" => format!("{:?}", status.code()),
        _ if is_unimplemented(status) => format!("not implemented: {message}"),
        _ => format!("{:?}: {message}", status.code()),
    }
}
