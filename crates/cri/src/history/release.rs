//! Releases and ranges of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

use super::Error;

/// A release of cri-api, numbered as Kubernetes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Release {
    /// 1 so far.
    pub major: u32,
    /// The minor.
    pub minor: u32,
    /// The patch release.
    pub patch: u32,
}

/// The end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Through {
    /// Up to and including this release.
    Release(Release),
    /// To the end of this minor, patches to come included.
    Minor {
        /// 1 so far.
        major: u32,
        /// The minor.
        minor: u32,
    },
    /// Still there.
    #[default]
    Tip,
}

/// A range of releases, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Where it starts.
    pub from: Release,
    /// Where it ends.
    #[serde(default)]
    pub through: Through,
}

impl Range {
    /// Whether a release is in the range.
    pub fn contains(&self, release: Release) -> bool {
        let ended = match self.through {
            Through::Release(last) => release > last,
            Through::Minor { major, minor } => (release.major, release.minor) > (major, minor),
            Through::Tip => false,
        };
        release >= self.from && !ended
    }

    /// The first release after it.
    pub(super) fn ended(&self) -> Option<Release> {
        match self.through {
            Through::Release(last) => Some(Release { patch: last.patch.checked_add(1)?, ..last }),
            Through::Minor { major, minor } => Some(Release { major, minor: minor.checked_add(1)?, patch: 0 }),
            Through::Tip => None,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Release {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Release { text: text.to_owned() };
        let mut parts = text.split('.').map(|part| part.parse().ok());
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => Ok(Self { major, minor, patch }),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for Release {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for Through {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let Some(minor) = text.strip_suffix(".*") else {
            return text.parse().map(Self::Release);
        };
        let release: Release = format!("{minor}.0").parse().map_err(|_| Error::Release { text })?;
        Ok(Self::Minor { major: release.major, minor: release.minor })
    }
}
