//! What is compared, as one names it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use corten_cri::history::{History, Release, ReleaseName};

use super::{Error, file, release, schema::Interface};

/// One side of a comparison: `1.25`, `v1alpha2@1.23` or the path of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A release of the history.
    Release {
        /// Whether it is that of `v1alpha2`.
        alpha: bool,
        /// Which.
        name: ReleaseName,
    },
    /// A proto file.
    File(PathBuf),
}

impl Source {
    /// Reads the interface.
    ///
    /// # Errors
    /// [`Error`] when the release is unknown, or the file cannot be read.
    pub fn load(&self) -> Result<Interface, Error> {
        match self {
            Self::File(path) => file::read(path),
            Self::Release { alpha, name } => {
                let history = History::embedded()?;
                let (package, schema) =
                    if *alpha { ("runtime.v1alpha2", &history.v1alpha2) } else { ("runtime.v1", &history.v1) };
                let at: Release = schema.release(*name)?;
                Ok(release::interface(package, &schema.in_release(at)?))
            }
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let path = Path::new(text);
        if text.contains('/') || path.extension().is_some_and(|extension| extension == "proto") {
            return Ok(Self::File(path.to_owned()));
        }
        let (alpha, name) = match text.split_once('@') {
            Some(("v1", name)) => (false, name),
            Some(("v1alpha2", name)) => (true, name),
            _ => (false, text),
        };
        match name.parse() {
            Ok(name) => Ok(Self::Release { alpha, name }),
            Err(_) if path.is_file() => Ok(Self::File(path.to_owned())),
            Err(_) => Err(Error::Source { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { alpha: false, name } => write!(f, "{name}"),
            Self::Release { alpha: true, name } => write!(f, "v1alpha2@{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
