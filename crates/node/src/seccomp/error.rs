//! What can go wrong with a seccomp profile.

use std::{io, path::PathBuf};

use libseccomp::error::SeccompError;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path at which no profile may be.
    #[error("seccomp profile {path:?}: {why}")]
    Path {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A profile's file could not be read.
    #[error("read seccomp profile {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A profile's file is not the JSON that it should be.
    #[error("seccomp profile {path:?}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A part of a profile makes no sense or is not supported.
    #[error("{}: {field}: {value}: {why}", .path.as_ref().map_or_else(|| "seccomp profile".to_owned(), |p| format!("seccomp profile {p:?}")))]
    Invalid {
        /// The file, if it came from one.
        path: Option<PathBuf>,
        /// The field's path in the profile.
        field: String,
        /// Its value.
        value: String,
        /// Why not.
        why: &'static str,
    },
    /// libseccomp refuses something.
    #[error("compile seccomp profile: {what}: {source}")]
    Library {
        /// What it was given.
        what: String,
        /// Its answer.
        source: SeccompError,
    },
    /// The memory file for the compiled filter could not be made.
    #[error("store compiled seccomp profile: {0}")]
    Store(io::Error),
}

impl Error {
    pub(super) fn invalid(field: impl Into<String>, value: impl ToString, why: &'static str) -> Self {
        Self::Invalid { path: None, field: field.into(), value: value.to_string(), why }
    }
}
