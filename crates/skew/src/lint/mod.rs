//! `corten skew lint`: what one version of the interface breaks of another, by the rules of the policy.
//!
//! What a schema does not say cannot be seen here: a comment that asks for more than before, or a field that must now be
//! set, breaks the other side as well.

mod breaches;
mod file;
mod finding;
mod release;
mod rules;
mod schema;
mod source;

use std::{io, path::PathBuf};

use corten_cri::history;

pub use self::{
    breaches::{Breach, breaches},
    file::parse,
    finding::{Finding, Rule, Severity, lines},
    rules::compare,
    schema::Interface,
    source::Source,
};

/// Why two interfaces cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument names neither a release nor a file.
    #[error("{text:?} is neither a release (1.33, v1alpha2@1.23) nor a file")]
    Source {
        /// The argument.
        text: String,
    },
    /// The history does not know the release.
    #[error(transparent)]
    History(#[from] history::Error),
    /// The history that comes with the program is broken.
    #[error(transparent)]
    Embedded(#[from] &'static history::Error),
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not a proto file.
    #[error("{}: {why}", path.display())]
    Proto {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What the new side breaks of the old one, the worst first.
///
/// # Errors
/// [`Error`] when one of them cannot be read.
pub fn lint(old: &Source, new: &Source) -> Result<Vec<Finding>, Error> {
    Ok(compare(&old.load()?, &new.load()?))
}

#[cfg(test)]
mod tests;
