//! The versions of the interface: packages of one set of messages.

use std::fmt;

/// A version of the interface. The messages of both are the same; `v1alpha2` was part of Kubernetes 1.20 to 1.25 beside
/// `v1`, and never had some of its RPCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiVersion {
    /// `runtime.v1`
    V1,
    /// `runtime.v1alpha2`
    V1Alpha2,
}

impl ApiVersion {
    /// Both, the better one first.
    pub const ALL: [Self; 2] = [Self::V1, Self::V1Alpha2];

    /// As `VersionResponse.runtime_api_version` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Alpha2 => "v1alpha2",
        }
    }

    /// The protocol buffers package.
    pub fn package(self) -> &'static str {
        match self {
            Self::V1 => "runtime.v1",
            Self::V1Alpha2 => "runtime.v1alpha2",
        }
    }

    /// Splits a call's path: `/runtime.v1.RuntimeService/Version` into the version and `RuntimeService/Version`. `None`
    /// for what is not a call of the CRI.
    pub fn split(path: &str) -> Option<(Self, &str)> {
        let path = path.strip_prefix('/')?;
        let method = |version: Self| path.strip_prefix(version.package())?.strip_prefix('.');
        Self::ALL.into_iter().find_map(|version| Some((version, method(version)?)))
    }

    /// The path of a call: what [`ApiVersion::split`] splits.
    pub fn path(self, method: &str) -> String {
        format!("/{}.{method}", self.package())
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_are_split_and_put_together() {
        for version in ApiVersion::ALL {
            let path = version.path("ImageService/PullImage");
            assert_eq!(ApiVersion::split(&path), Some((version, "ImageService/PullImage")));
        }
        for path in ["", "/", "/runtime.v1", "/runtime.v11.RuntimeService/Version", "/corten.v1.Node/LoadImage"] {
            assert_eq!(ApiVersion::split(path), None, "{path}");
        }
    }
}
