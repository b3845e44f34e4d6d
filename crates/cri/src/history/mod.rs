//! The CRI, release by release, as data.
//!
//! `data/history.json` was read from the `api.proto` of every release of cri-api. Everything in it carries the ranges
//! of releases it is part of, a list because "since minor X" is not always true: `KeyValue.value` became `bytes` in
//! three patch releases at once.

mod changes;
mod field_type;
mod name;
pub mod overlay;
mod release;
mod snapshot;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;

pub use self::{
    changes::{Change, Element, What},
    field_type::{FieldType, Scalar, TypeName},
    name::ReleaseName,
    overlay::{Feature, Handshake, Overlay, Severity, Younger},
    release::{Range, Release, Through},
    snapshot::{Snapshot, SnapshotEnum, SnapshotMessage},
};

static EMBEDDED: LazyLock<Result<History, Error>> =
    LazyLock::new(|| History::parse(include_str!("../../data/history.json")));

/// What can be wrong with the table or a question to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table does not parse.
    #[error("CRI history: {0}")]
    Table(#[from] serde_json::Error),
    /// The table of a version has no release.
    #[error("CRI history: no releases")]
    NoReleases,
    /// The overlay does not parse.
    #[error("CRI overlay: {why}")]
    Overlay {
        /// What the parser says.
        why: String,
    },
    /// A text that is not a release.
    #[error("{text:?} is not a release (MAJOR.MINOR.PATCH)")]
    Release {
        /// The text.
        text: String,
    },
    /// A text that does not name a release.
    #[error("{text:?} is not a release (1.33 or 1.33.2)")]
    ReleaseName {
        /// The text.
        text: String,
    },
    /// A text that is not a field's type.
    #[error("{text:?} is not a field type")]
    FieldType {
        /// The text.
        text: String,
    },
    /// A release whose minor the table does not know.
    #[error("the CRI history has no release {release}; it goes from 1.{oldest} to 1.{newest}")]
    UnknownRelease {
        /// What was asked for.
        release: ReleaseName,
        /// The oldest minor known.
        oldest: u32,
        /// The newest minor known.
        newest: u32,
    },
}

/// Both versions of the interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// `runtime.v1`, from 1.20 on.
    pub v1: Schema,
    /// `runtime.v1alpha2`, 1.20 to 1.25.
    pub v1alpha2: Schema,
}

/// One version of the interface through time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The newest patch release read of each minor, ascending.
    pub releases: Vec<Release>,
    /// By `Service/Method`.
    pub rpcs: BTreeMap<String, Rpc>,
    /// By name.
    pub messages: BTreeMap<String, Message>,
    /// By name; an enum inside a message is `Message.Enum`.
    pub enums: BTreeMap<String, Enum>,
}

/// A remote procedure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpc {
    /// The message it takes.
    pub request: String,
    /// The message it returns.
    pub response: String,
    /// Whether it returns a stream of them.
    pub server_streaming: bool,
    /// The releases that have it.
    #[serde(rename = "in")]
    pub ranges: Vec<Range>,
}

/// A message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The releases that have it.
    #[serde(rename = "in")]
    pub ranges: Vec<Range>,
    /// All fields it ever had. A name or number may come twice with ranges that do not meet.
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// The name in the proto file.
    pub name: String,
    /// The number on the wire.
    pub number: i32,
    /// The type.
    #[serde(rename = "type")]
    pub field_type: FieldType,
    /// The releases that have it so.
    #[serde(rename = "in")]
    pub ranges: Vec<Range>,
}

/// An enum.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enum {
    /// The releases that have it.
    #[serde(rename = "in")]
    pub ranges: Vec<Range>,
    /// All values it ever had.
    pub values: Vec<EnumValue>,
}

/// A value of an enum.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnumValue {
    /// The name in the proto file.
    pub name: String,
    /// The number on the wire.
    pub number: i32,
    /// The releases that have it so.
    #[serde(rename = "in")]
    pub ranges: Vec<Range>,
}

impl History {
    /// The table of this build, parsed on first use.
    ///
    /// # Errors
    /// [`Error::Table`] or [`Error::NoReleases`] if the file in the repository is broken; a test proves it is not.
    pub fn embedded() -> Result<&'static Self, &'static Error> {
        EMBEDDED.as_ref()
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`Error::Table`] when the text is not one, [`Error::NoReleases`] when a version of it knows no release.
    pub fn parse(json: &str) -> Result<Self, Error> {
        let history: Self = serde_json::from_str(json)?;
        if history.v1.releases.is_empty() || history.v1alpha2.releases.is_empty() {
            return Err(Error::NoReleases);
        }
        Ok(history)
    }
}

impl Schema {
    /// The newest release known.
    ///
    /// # Errors
    /// [`Error::NoReleases`] when there is none.
    pub fn newest(&self) -> Result<Release, Error> {
        self.releases.iter().max().copied().ok_or(Error::NoReleases)
    }

    /// The newest patch release known of a minor.
    pub fn newest_of_minor(&self, minor: u32) -> Option<Release> {
        self.releases.iter().filter(|release| release.minor == minor).max().copied()
    }

    /// Whether any release has an RPC, message, field or enum of this name: `Service/Method`, `Message.field` or a name.
    pub fn knows(&self, name: &str) -> bool {
        let field = || {
            let (message, field) = name.rsplit_once('.')?;
            self.messages.get(message).map(|message| message.fields.iter().any(|known| known.name == field))
        };
        self.rpcs.contains_key(name)
            || self.messages.contains_key(name)
            || self.enums.contains_key(name)
            || field() == Some(true)
    }

    /// The interface as it was in one release.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`] when the table has no release of that minor.
    pub fn in_release(&self, release: Release) -> Result<Snapshot<'_>, Error> {
        self.release(ReleaseName::Patch(release)).map(|release| Snapshot::of(self, release))
    }
}

#[cfg(test)]
mod tests;
