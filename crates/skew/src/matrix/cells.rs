//! Which pairs of releases are tried.

use std::fmt;

use corten_cri::{
    ApiVersion,
    history::{Error, History, Release},
};
use serde::{Serialize, Serializer};

/// How far apart, in minor versions, the policy lets a kubelet and a runtime be.
pub const SKEW: u32 = 3;

/// The minors of which v1alpha2 is tried: its last three.
const V1ALPHA2: [u32; 3] = [23, 24, 25];

/// One side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A release that the history knows.
    Release(Release),
    /// As many minors newer than all that the history knows: with fields, values and RPCs that nobody has heard of.
    Newer(u32),
}

/// A kubelet and a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The version of the interface that they speak.
    #[serde(serialize_with = "shown")]
    pub api: ApiVersion,
    /// Who calls.
    #[serde(serialize_with = "shown")]
    pub kubelet: Side,
    /// Who answers.
    #[serde(serialize_with = "shown")]
    pub runtime: Side,
}

fn shown<S: Serializer>(what: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(what)
}

impl Side {
    /// The release, or the newest known.
    pub fn known(self, newest: Release) -> Release {
        match self {
            Self::Release(release) => release,
            Self::Newer(_) => newest,
        }
    }

    fn minor(self, newest: Release) -> u32 {
        match self {
            Self::Release(release) => release.minor,
            Self::Newer(minors) => newest.minor + minors,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(release) => write!(f, "{}.{}", release.major, release.minor),
            Self::Newer(minors) => write!(f, "newer+{minors}"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubelet {}, runtime {}, {}", self.kubelet, self.runtime, self.api)
    }
}

impl Cell {
    /// The release whose interface both have: the older of the two. What looks newer than anything known has the
    /// `newest` interface, and behind a newer runtime there is the `actual` one.
    pub fn common(&self, newest: Release, actual: Release) -> Release {
        self.kubelet.known(newest).min(self.runtime.known(actual))
    }
}

/// Every ordered pair of minors from `from` to `to` that the policy lets work together, each with the newest patch
/// release known; a runtime is at most of the release that it is of. If `to` is the newest minor, also either side one to
/// three minors newer than anything known. Then v1alpha2.
///
/// # Errors
/// [`Error::UnknownRelease`] for minors that the history does not know.
pub fn all(history: &History, from: Release, to: Release, actual: Release) -> Result<Vec<Cell>, Error> {
    let newest = history.v1.newest()?;
    for end in [from, to] {
        history.v1.in_release(end)?;
    }
    let mut sides: Vec<_> =
        (from.minor..=to.minor).filter_map(|minor| history.v1.newest_of_minor(minor)).map(Side::Release).collect();
    let known = sides.len();
    if to.minor == newest.minor {
        sides.extend((1..=SKEW).map(Side::Newer));
    }
    let mut cells = Vec::new();
    for (index, kubelet) in sides.iter().copied().enumerate() {
        for (other, runtime) in sides.iter().copied().enumerate() {
            let apart = kubelet.minor(newest).abs_diff(runtime.minor(newest));
            // Nobody has heard of either: that says nothing.
            let known = index < known || other < known;
            // No proxy adds what a runtime does not have.
            let possible = match runtime {
                Side::Release(release) => release.minor <= actual.minor,
                Side::Newer(_) => true,
            };
            if apart <= SKEW && known && possible {
                cells.push(Cell { api: ApiVersion::V1, kubelet, runtime });
            }
        }
    }
    let alpha = V1ALPHA2.into_iter().filter_map(|minor| history.v1alpha2.newest_of_minor(minor)).map(Side::Release);
    cells.extend(alpha.map(|side| Cell { api: ApiVersion::V1Alpha2, kubelet: side, runtime: side }));
    Ok(cells)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cells(from: &str, to: &str) -> Vec<Cell> {
        let history = History::embedded().unwrap();
        all(history, from.parse().unwrap(), to.parse().unwrap(), history.v1.newest().unwrap()).unwrap()
    }

    #[test]
    fn every_ordered_pair_of_the_policy_is_there_once() {
        let all = cells("1.31.0", "1.37.0");
        let count = |wanted: &dyn Fn(&Cell) -> bool| all.iter().filter(|cell| wanted(cell)).count();
        let newer = |cell: &Cell| [cell.kubelet, cell.runtime].iter().any(|side| matches!(side, Side::Newer(_)));
        assert_eq!(count(&|cell| cell.api == ApiVersion::V1 && !newer(cell)), 7 + 2 * (6 + 5 + 4));
        // 1.37 with all three, 1.36 with two, 1.35 with one, either way.
        assert_eq!(count(&newer), 2 * (3 + 2 + 1));
        assert_eq!(count(&|cell| cell.api == ApiVersion::V1Alpha2), 3);
    }

    #[test]
    fn older_ends_have_nothing_newer_than_known() {
        assert!(cells("1.30.0", "1.32.0").iter().all(|cell| !matches!(cell.kubelet, Side::Newer(_))));
        let history = History::embedded().unwrap();
        let release = |text: &str| text.parse().unwrap();
        assert!(all(history, release("1.10.0"), release("1.32.0"), release("1.37.0")).is_err());
        let older = all(history, release("1.22.0"), release("1.26.0"), release("1.24.17")).unwrap();
        assert!(older.iter().all(|cell| matches!(cell.runtime, Side::Release(release) if release.minor <= 25)));
    }

    #[test]
    fn what_both_have_is_what_the_older_has() {
        let newest = History::embedded().unwrap().v1.newest().unwrap();
        let release: Release = "1.33.13".parse().unwrap();
        let cell = |kubelet, runtime| Cell { api: ApiVersion::V1, kubelet, runtime };
        assert_eq!(cell(Side::Release(release), Side::Newer(1)).common(newest, newest), release);
        assert_eq!(cell(Side::Newer(2), Side::Release(release)).common(newest, newest), release);
        assert_eq!(cell(Side::Newer(2), Side::Release(newest)).common(newest, newest), newest);
        assert_eq!(cell(Side::Release(newest), Side::Newer(2)).common(newest, release), release);
    }
}
