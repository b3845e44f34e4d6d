//! Releases as people name them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer};

use super::{Error, Release, Schema};

/// What names a release: `1.33` or `1.33.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ReleaseName {
    /// A minor: all of its patch releases, or the newest one where one is meant.
    Minor {
        /// 1 so far.
        major: u32,
        /// The minor.
        minor: u32,
    },
    /// One patch release.
    Patch(Release),
}

impl ReleaseName {
    /// The first release that it names.
    pub fn first(self) -> Release {
        match self {
            Self::Minor { major, minor } => Release { major, minor, patch: 0 },
            Self::Patch(release) => release,
        }
    }
}

impl FromStr for ReleaseName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.split('.').count() == 2
            && let Ok(Release { major, minor, .. }) = format!("{text}.0").parse()
        {
            return Ok(Self::Minor { major, minor });
        }
        text.parse().map(Self::Patch).map_err(|_| Error::ReleaseName { text: text.to_owned() })
    }
}

impl TryFrom<String> for ReleaseName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl Serialize for ReleaseName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor { major, minor } => write!(f, "{major}.{minor}"),
            Self::Patch(release) => write!(f, "{release}"),
        }
    }
}

impl Schema {
    /// The release that a name means here: of a minor the newest patch release known. A patch release younger than
    /// that is taken to be as the newest one known.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`] when the table has no release of that minor.
    pub fn release(&self, name: ReleaseName) -> Result<Release, Error> {
        let first = name.first();
        let newest = self.newest_of_minor(first.minor).filter(|newest| newest.major == first.major);
        match (newest, name) {
            (Some(newest), ReleaseName::Minor { .. }) => Ok(newest),
            (Some(_), ReleaseName::Patch(release)) => Ok(release),
            (None, _) => {
                let (oldest, newest) = self.minors()?;
                Err(Error::UnknownRelease { release: name, oldest, newest })
            }
        }
    }

    /// The oldest and the newest minor known.
    ///
    /// # Errors
    /// [`Error::NoReleases`] when there is none.
    pub fn minors(&self) -> Result<(u32, u32), Error> {
        let minors = || self.releases.iter().map(|release| release.minor);
        minors().min().zip(minors().max()).ok_or(Error::NoReleases)
    }
}
