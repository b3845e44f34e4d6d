//! Where a cgroup is, and who makes it.

use serde::{Deserialize, Serialize};

use super::DEFAULT_PARENT;
use crate::config::CgroupConfig;

/// How the name of a scope ends.
const SCOPE: &str = ".scope";

/// A cgroup: its path below each hierarchy's root, and who makes it. A pod keeps the one that it was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", content = "path", rename_all = "lowercase")]
pub enum Place {
    /// A directory that the daemon makes, whatever its name is.
    Cgroupfs(String),
    /// A slice or a scope of systemd's.
    Systemd(String),
}

impl Place {
    /// The path.
    pub fn path(&self) -> &str {
        let (Self::Cgroupfs(path) | Self::Systemd(path)) = self;
        path
    }

    /// A cgroup with processes in this one.
    pub fn leaf(&self, name: &str) -> Self {
        let leaf = format!("{}/{name}", self.path().trim_end_matches('/'));
        match self {
            Self::Cgroupfs(_) => Self::Cgroupfs(leaf),
            Self::Systemd(_) => Self::Systemd(leaf + SCOPE),
        }
    }

    /// Of a pod below the parent of those that name none.
    pub(super) fn below(parent: &str, named: Option<&str>, id: &str) -> Self {
        Self::Cgroupfs(match named {
            Some(named) => format!("/{}", named.trim_matches('/')),
            None => format!("{}/pod-{id}", parent.trim_end_matches('/')),
        })
    }

    /// Of a pod whose record does not say it: it was made by a daemon that knew nothing of systemd.
    pub fn unrecorded(config: &CgroupConfig, named: Option<&str>, id: &str) -> Self {
        // That daemon's configuration could not name a slice alone.
        let parent = config.default_parent.as_deref().filter(|parent| parent.starts_with('/'));
        Self::below(parent.unwrap_or(DEFAULT_PARENT), named, id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pod_of_before_has_directories_whatever_they_are_called() {
        let config = |parent: Option<&str>| CgroupConfig {
            default_parent: parent.map(str::to_owned),
            ..CgroupConfig::default()
        };
        for (parent, named, path) in [
            (None, None, "/corten/pod-x"),
            (Some("/pods/"), None, "/pods/pod-x"),
            (Some("pods.slice"), None, "/corten/pod-x"),
            (None, Some("/kubepods/pod1/"), "/kubepods/pod1"),
            (None, Some("kubepods.slice/pod1.slice"), "/kubepods.slice/pod1.slice"),
        ] {
            let place = Place::unrecorded(&config(parent), named, "x");
            assert_eq!(place, Place::Cgroupfs(path.to_owned()));
            assert_eq!(place.leaf("corten-x").path(), format!("{path}/corten-x"));
        }
    }

    #[test]
    fn a_place_is_recorded_with_its_driver() {
        for place in [Place::Cgroupfs("/a.slice".into()), Place::Systemd("/a.slice".into())] {
            let json = serde_json::to_string(&place).unwrap();
            assert_eq!(serde_json::from_str::<Place>(&json).unwrap(), place);
        }
    }
}
