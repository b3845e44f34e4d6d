//! The policy: which kubelets fit a runtime.

use std::fmt;

use corten_cri::{
    ApiVersion,
    history::{Error, Release, ReleaseName},
};
use serde::Serialize;

use super::schema;

/// How many minors a kubelet and a runtime may differ by, either way.
const SKEW: u32 = 3;

/// The first minor whose kubelet speaks v1.
const FIRST_WITH_V1: u32 = 23;

/// The last minor whose kubelet speaks v1alpha2.
const LAST_WITH_V1ALPHA2: u32 = 25;

/// The kubelets that a runtime fits, by minor, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kubelets {
    /// The oldest.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
    /// Which versions of the interface the runtime serves.
    #[serde(skip)]
    versions: Vec<ApiVersion>,
}

/// What the policy says of a kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The two are to work together.
    Fits,
    /// The kubelet is more than three minors newer.
    KubeletTooNew,
    /// The kubelet is more than three minors older.
    KubeletTooOld,
    /// There is no version of the interface that both speak.
    NoVersion,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fits => "within the policy",
            Self::KubeletTooNew => {
                "outside the policy: the kubelet is more than three minors newer than the runtime's CRI"
            }
            Self::KubeletTooOld => {
                "outside the policy: the kubelet is more than three minors older than the runtime's CRI"
            }
            Self::NoVersion => "it does not start: there is no version of the CRI that both speak",
        })
    }
}

/// The release of a kubelet.
///
/// # Errors
/// [`Error::UnknownRelease`] when the history does not go there.
pub(super) fn kubelet(name: ReleaseName) -> Result<Release, super::Error> {
    Ok(schema(ApiVersion::V1)?.release(name).map_err(|error: Error| error)?)
}

/// The kubelets for a runtime somewhere between two releases.
pub(super) fn kubelets(versions: &[ApiVersion], oldest: Release, newest: Release) -> Kubelets {
    let mut kubelets = Kubelets {
        oldest: newest.minor.saturating_sub(SKEW),
        newest: oldest.minor.saturating_add(SKEW),
        versions: versions.to_vec(),
    };
    if !versions.contains(&ApiVersion::V1Alpha2) {
        kubelets.oldest = kubelets.oldest.max(FIRST_WITH_V1);
    }
    if !versions.contains(&ApiVersion::V1) {
        kubelets.newest = kubelets.newest.min(LAST_WITH_V1ALPHA2);
    }
    kubelets
}

/// What the policy says of one kubelet.
pub(super) fn of(kubelet: Release, kubelets: &Kubelets) -> Policy {
    let speaks = |version: &ApiVersion| match version {
        ApiVersion::V1 => kubelet.minor >= FIRST_WITH_V1,
        ApiVersion::V1Alpha2 => kubelet.minor <= LAST_WITH_V1ALPHA2,
    };
    if !kubelets.versions.iter().any(speaks) {
        Policy::NoVersion
    } else if kubelet.minor > kubelets.newest {
        Policy::KubeletTooNew
    } else if kubelet.minor < kubelets.oldest {
        Policy::KubeletTooOld
    } else {
        Policy::Fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(minor: u32) -> Release {
        Release { major: 1, minor, patch: 0 }
    }

    fn said(versions: &[ApiVersion], runtime: u32, kubelet: u32) -> Policy {
        of(release(kubelet), &kubelets(versions, release(runtime), release(runtime)))
    }

    #[test]
    fn three_minors_either_way() {
        let v1 = [ApiVersion::V1];
        assert_eq!(said(&v1, 33, 36), Policy::Fits);
        assert_eq!(said(&v1, 33, 30), Policy::Fits);
        assert_eq!(said(&v1, 33, 37), Policy::KubeletTooNew);
        assert_eq!(said(&v1, 33, 29), Policy::KubeletTooOld);
    }

    #[test]
    fn v1alpha2_is_for_old_kubelets_alone() {
        let (v1, alpha) = ([ApiVersion::V1], [ApiVersion::V1Alpha2]);
        assert_eq!(said(&alpha, 25, 25), Policy::Fits);
        assert_eq!(said(&alpha, 25, 26), Policy::NoVersion);
        assert_eq!(said(&v1, 25, 23), Policy::Fits);
        assert_eq!(said(&v1, 25, 22), Policy::NoVersion);
        assert_eq!(said(&[ApiVersion::V1, ApiVersion::V1Alpha2], 25, 22), Policy::Fits);
    }
}
