//! `corten skew history`: what came, went and changed in the CRI, release by release.

mod text;

use std::collections::BTreeMap;

use corten_cri::history::{self, Change, History, Release, ReleaseName, Schema};
use serde::Serialize;

pub use self::text::lines;

/// Which part of the history.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// From this release on; a minor with its first.
    pub since: Option<ReleaseName>,
    /// Up to this release; a minor with its last.
    pub until: Option<ReleaseName>,
    /// Only what became of this message or enum.
    pub message: Option<String>,
}

/// What one release did.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// The release.
    pub release: Release,
    /// What it did to the schema.
    pub changes: Vec<Change<'a>>,
}

/// Why there is no history to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table does not know the release, or is broken.
    #[error(transparent)]
    History(#[from] history::Error),
    /// The same, for the table that comes with the program.
    #[error(transparent)]
    Embedded(#[from] &'static history::Error),
    /// There never was such a message.
    #[error("the CRI never had a message or enum {name:?}{}", hint(.near))]
    UnknownMessage {
        /// What was asked for.
        name: String,
        /// Names like it, the most alike first.
        near: Vec<String>,
    },
}

/// The part of a history that is asked for, ascending. Releases that did nothing are not in it.
///
/// # Errors
/// [`Error`] when release or message are unknown.
pub fn select(schema: &'static Schema, selection: &Selection) -> Result<Vec<Entry<'static>>, Error> {
    let known = |name: Option<ReleaseName>| name.map(|name| schema.release(name)).transpose();
    known(selection.since)?;
    let first = selection.since.map(ReleaseName::first);
    let last = known(selection.until)?;
    if let Some(name) = &selection.message {
        check_name(schema, name)?;
    }
    let wanted =
        |release: &Release| first.is_none_or(|first| *release >= first) && last.is_none_or(|last| *release <= last);
    let about =
        |change: &Change<'_>| selection.message.as_deref().is_none_or(|name| change.element.container() == Some(name));
    let by_release: BTreeMap<_, _> = schema.changes();
    let entries = by_release.into_iter().filter(|(release, _)| wanted(release)).map(|(release, mut changes)| {
        changes.retain(about);
        Entry { release, changes }
    });
    Ok(entries.filter(|entry| !entry.changes.is_empty()).collect())
}

fn check_name(schema: &Schema, name: &str) -> Result<(), Error> {
    let names = || schema.messages.keys().chain(schema.enums.keys());
    if names().any(|known| known == name) {
        return Ok(());
    }
    let alike = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
    let mut near: Vec<(f64, &String)> = names().map(|known| (alike(known), known)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near = near.into_iter().filter(|(alike, _)| *alike > 0.8).take(3).map(|(_, known)| known.clone()).collect();
    Err(Error::UnknownMessage { name: name.to_owned(), near })
}

fn hint(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; it has {}", near.join(", ")),
    }
}

/// The history of one version of the interface that comes with the program.
///
/// # Errors
/// [`Error::Embedded`] if that is broken; a test proves it is not.
pub fn embedded(alpha: bool) -> Result<&'static Schema, Error> {
    let history = History::embedded()?;
    Ok(if alpha { &history.v1alpha2 } else { &history.v1 })
}

#[cfg(test)]
mod tests;
