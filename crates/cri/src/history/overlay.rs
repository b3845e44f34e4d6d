//! What the features of the CRI mean when one side does not have them.
//!
//! `data/overlay.toml` is written by hand, from the KEPs, the pull requests and the kubelet's own sources. Every change
//! that the history knows is covered by exactly one of its features (tests hold that), and features without a change of
//! the schema are there too: a comment that changes what both sides must do is a change.

use std::{fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{Element, Error, Release, ReleaseName};

static EMBEDDED: LazyLock<Result<Overlay, Error>> =
    LazyLock::new(|| Overlay::parse(include_str!("../../data/overlay.toml")));

/// All features, by the release that brought them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Ascending.
    #[serde(rename = "feature")]
    pub features: Vec<Feature>,
}

/// Something that a release brought, or the meaning that it changed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// A short name for programs.
    pub id: String,
    /// A name for people.
    pub title: String,
    /// The first releases that have it: more than one when it came in patch releases of several minors.
    pub since: Vec<ReleaseName>,
    /// The first release whose kubelet no longer uses it.
    #[serde(default)]
    pub until: Option<ReleaseName>,
    /// Pull requests (or, where there is none, the issue) in kubernetes/kubernetes.
    #[serde(default)]
    pub prs: Vec<u32>,
    /// What it changed in the schema: `Service/Method`, `Message`, `Message.field` or an enum.
    #[serde(default)]
    pub covers: Vec<String>,
    /// What it gave another meaning.
    #[serde(default)]
    pub concerns: Vec<String>,
    /// Which side has to be the younger one for it to matter.
    pub younger: Younger,
    /// How bad it is that the other side lacks it.
    pub severity: Severity,
    /// How the kubelet learns that the runtime lacks it.
    pub handshake: Handshake,
    /// What the kubelet does when the runtime lacks it.
    pub kubelet: String,
    /// What the runtime does when the kubelet lacks it.
    pub runtime: String,
    /// What becomes of a pod that needs it.
    pub pod: String,
    /// Where that is known from.
    pub source: String,
}

/// A side of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Younger {
    /// It matters when the kubelet has it and the runtime lacks it.
    Kubelet,
    /// It matters when the runtime has it and the kubelet lacks it.
    Runtime,
    /// It matters either way.
    Either,
}

/// How bad it is that one side lacks a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody notices.
    Harmless,
    /// Something is less good or not there, and the kubelet knows it or does without.
    Degraded,
    /// What was asked for fails, and says so.
    Fails,
    /// A pod runs in silence otherwise than it asked to.
    Wrong,
}

/// How the kubelet learns that the runtime lacks a feature.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Handshake {
    /// The version of the interface is agreed on first.
    Negotiation,
    /// `StatusResponse.features` says it.
    StatusFeature {
        /// The field of `RuntimeFeatures`.
        field: String,
        /// The first kubelet that looks.
        since: ReleaseName,
        /// How bad it is with a kubelet that does not look.
        unchecked: Option<Severity>,
    },
    /// `StatusResponse.runtime_handlers` says it of each handler.
    RuntimeHandlerFeature {
        /// The field of `RuntimeHandlerFeatures`.
        field: String,
        /// The first kubelet that looks.
        since: ReleaseName,
        /// How bad it is with a kubelet that does not look.
        unchecked: Option<Severity>,
    },
    /// The call is answered with `Unimplemented`.
    Unimplemented,
    /// The field of the answer is not set, and the kubelet does without.
    EmptyAnswer,
    /// The field of the request is dropped in silence.
    Dropped,
    /// The same bytes are read as something else, or refused.
    Wire,
    /// Only words have changed.
    Documentation,
}

impl Overlay {
    /// The features of this build, parsed on first use.
    ///
    /// # Errors
    /// [`Error::Overlay`] if the file in the repository is broken; a test proves it is not.
    pub fn embedded() -> Result<&'static Self, &'static Error> {
        EMBEDDED.as_ref()
    }

    /// Reads a list of features.
    ///
    /// # Errors
    /// [`Error::Overlay`] when the text is not one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| Error::Overlay { why: error.to_string() })
    }

    /// The features that one of the two lacks, where that matters.
    pub fn missing_between(&self, kubelet: Release, runtime: Release) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(move |feature| feature.is_missing_between(kubelet, runtime))
    }

    /// The features that a release brought.
    pub fn brought_by(&self, release: Release) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(move |feature| feature.since.iter().any(|since| since.first() == release))
    }
}

impl Feature {
    /// Whether a release has it.
    pub fn is_in(&self, release: Release) -> bool {
        self.since.iter().map(|since| since.first()).any(|first| {
            // A patch release speaks for its own minor; the newest of them for all that follow.
            let newest = self.since.iter().all(|other| other.first() <= first);
            release >= first && (newest || release.minor == first.minor)
        })
    }

    /// Whether one of the two lacks it, where that matters.
    pub fn is_missing_between(&self, kubelet: Release, runtime: Release) -> bool {
        match (self.is_in(kubelet), self.is_in(runtime)) {
            (true, false) => self.younger != Younger::Runtime && self.until.is_none_or(|until| kubelet < until.first()),
            (false, true) => self.younger != Younger::Kubelet,
            _ => false,
        }
    }

    /// How bad it is for this kubelet that the other side lacks it.
    pub fn severity_with(&self, kubelet: Release) -> Severity {
        match &self.handshake {
            Handshake::StatusFeature { since, unchecked: Some(unchecked), .. }
            | Handshake::RuntimeHandlerFeature { since, unchecked: Some(unchecked), .. }
                if kubelet < since.first() =>
            {
                *unchecked
            }
            _ => self.severity,
        }
    }

    /// Whether it is what changed an element of the schema in a release.
    pub fn explains(&self, release: Release, element: &Element<'_>) -> bool {
        let here = self.since.iter().any(|since| since.first() == release);
        here && self.covers.iter().any(|name| name == &element.path())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Harmless => "harmless",
            Self::Degraded => "degraded",
            Self::Fails => "fails",
            Self::Wrong => "wrong in silence",
        })
    }
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negotiation => f.write_str("the versions are negotiated"),
            Self::StatusFeature { field, since, .. } => write!(f, "Status feature {field}, read since kubelet {since}"),
            Self::RuntimeHandlerFeature { field, since, .. } => {
                write!(f, "runtime handler feature {field}, read since kubelet {since}")
            }
            Self::Unimplemented => f.write_str("Unimplemented"),
            Self::EmptyAnswer => f.write_str("the answer does not have it"),
            Self::Dropped => f.write_str("none: dropped in silence"),
            Self::Wire => f.write_str("none: the bytes are read otherwise"),
            Self::Documentation => f.write_str("none: only words"),
        }
    }
}

#[cfg(test)]
mod tests;
