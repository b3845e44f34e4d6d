//! Everything that can end a command, in words for the person who typed it.

use std::{io, path::PathBuf};

use tonic::{Code, Status};

use crate::{manifest, pod::volumes, remote::connect, resolve};

/// Why a command failed: `<what>: <why>`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] corten_cri::client::Error),
    /// The runtime refused or failed.
    #[error("{what}: {}", explain(status))]
    Call {
        /// What was asked of it.
        what: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// There is no connection to the runtime's streaming server.
    #[error(transparent)]
    Streaming(#[from] connect::Error),
    /// A file could not be read or written.
    #[error("{operation} {path}: {source}", path = path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
    /// An answer could not be shown.
    #[error("show the answer: {0}")]
    Show(String),
    /// A name or id means nothing, or too much.
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    /// A manifest is wrong.
    #[error("{path}: {source}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: manifest::Error,
    },
    /// A container of a manifest cannot be run so.
    #[error("pod {pod}: container {container}: {field}")]
    Container {
        /// The pod's name.
        pod: String,
        /// The container's name.
        container: String,
        /// What is wrong.
        field: manifest::FieldError,
    },
    /// A pod of a manifest cannot be run so.
    #[error("pod {pod}: {field}")]
    Pod {
        /// The pod's name.
        pod: String,
        /// What is wrong.
        field: manifest::FieldError,
    },
    /// A volume could not be made.
    #[error(transparent)]
    Volume(#[from] volumes::Error),
    /// Anything else: a condition, in the words of the command that found it.
    #[error("{what}: {why}")]
    Condition {
        /// What was attempted.
        what: String,
        /// Why not.
        why: String,
    },
    /// Several things failed one after another; each has been reported.
    #[error("{failed} of {all} failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl Error {
    /// An answer of the runtime that is an error.
    pub fn call(what: impl Into<String>, status: Status) -> Self {
        Self::Call { what: what.into(), status: Box::new(status) }
    }

    /// A condition that does not hold.
    pub fn condition(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Condition { what: what.into(), why: why.into() }
    }

    /// Whether the runtime says that something does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.code() == Code::NotFound)
    }

    /// Whether nobody reads the output any more.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// A status in words, with the gRPC code where the message alone may not say it.
fn explain(status: &Status) -> String {
    let message = status.message().trim();
    match (status.code(), message) {
        (Code::Unimplemented, _) => format!("this runtime does not implement it ({message})"),
        (Code::DeadlineExceeded | Code::Cancelled, _) => format!("no answer in time ({message})"),
        (Code::Unavailable, _) => format!("the runtime went away ({message})"),
        (code, "") => code.description().to_owned(),
        (Code::Unknown, message) => message.to_owned(),
        (code, message) => format!("{message} ({code:?})"),
    }
}
