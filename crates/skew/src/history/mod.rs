//! `corten skew history`: what came, went and changed in the CRI, release by release.

mod text;

use std::collections::BTreeSet;

use corten_cri::history::{self, Change, Feature, Handshake, History, Overlay, Release, ReleaseName, Schema};
use serde::Serialize;

pub use self::text::{lines, meanings};

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
    /// What it brought by that, or changed in meaning alone.
    pub features: Vec<&'a Feature>,
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
    let last = known(selection.until)?;
    if let Some(name) = &selection.message {
        check_name(schema, name)?;
    }
    let begun = |release: &Release| selection.since.is_none_or(|since| *release >= since.first());
    let wanted = |release: &Release| begun(release) && last.is_none_or(|last| *release <= last);
    let entries =
        every_entry(schema)?.into_iter().filter(|entry| wanted(&entry.release)).map(|entry| match &selection.message {
            Some(name) => entry.about(name),
            None => entry,
        });
    Ok(entries.filter(|entry| !entry.changes.is_empty() || !entry.features.is_empty()).collect())
}

fn every_entry(schema: &'static Schema) -> Result<Vec<Entry<'static>>, Error> {
    let overlay = Overlay::embedded()?;
    let mut changes = schema.changes();
    let newest = schema.newest()?;
    // A version of the interface need not have everything that the other got.
    let has = |feature: &Feature| feature.covers.is_empty() || feature.covers.iter().any(|name| schema.knows(name));
    let told = |release: Release, feature: &Feature| {
        release <= newest && has(feature) || feature.handshake == Handshake::Negotiation
    };
    let firsts = |feature: &'static Feature| feature.since.iter().map(move |since| (since.first(), feature));
    let brought = overlay.features.iter().flat_map(firsts).filter(|(release, feature)| told(*release, feature));
    let releases: BTreeSet<Release> = changes.keys().copied().chain(brought.map(|(release, _)| release)).collect();
    let entry = |release| {
        let features = overlay.brought_by(release).filter(|feature| told(release, feature)).collect();
        Entry { release, changes: changes.remove(&release).unwrap_or_default(), features }
    };
    Ok(releases.into_iter().map(entry).collect())
}

impl Entry<'_> {
    /// What of it is about one message or enum.
    fn about(mut self, name: &str) -> Self {
        self.changes.retain(|change| change.element.container() == Some(name));
        self.features.retain(|feature| feature.covers.iter().chain(&feature.concerns).any(|element| of(element, name)));
        self
    }
}

/// Whether `Message.field` or `Message` is of a message.
fn of(element: &str, message: &str) -> bool {
    element == message || element.split_once('.').is_some_and(|(container, _)| container == message)
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
