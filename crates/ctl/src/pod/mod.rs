//! From a manifest to what the CRI wants, the way the kubelet does it.

mod container;
mod dns;
mod expand;
mod resources;
mod sandbox;
mod security;
pub mod volumes;

use std::path::{Path, PathBuf};

pub use self::{
    container::{Image, config as container_config},
    sandbox::config as sandbox_config,
    security::check_non_root,
};
use crate::manifest::Pod;

/// The namespace of a pod that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The grace period of a pod that sets none, in seconds.
pub const DEFAULT_GRACE: u32 = 30;

/// The annotation that says `corten run` made a pod, so that `corten rm` removes its directories too.
pub const MADE_BY_RUN: &str = "io.corten.run";

/// Labels and annotations the kubelet sets, which other tools look at.
pub mod kubelet {
    /// Label: the pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Label: the pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Label: the pod's uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Label: the container's name.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotation of a container: the pod's grace period in seconds.
    pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
    /// Annotation of a container: how often it was restarted.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
}

/// A pod with the names that are decided when it is run.
#[derive(Debug, Clone)]
pub struct NamedPod {
    /// The manifest.
    pub manifest: Pod,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, made up if the manifest has none.
    pub uid: String,
}

/// Where `corten run` keeps what belongs to its pods.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Logs, one directory per pod below.
    pub logs: PathBuf,
    /// emptyDir volumes, one directory per pod below.
    pub data: PathBuf,
}

impl NamedPod {
    /// Takes the manifest's names, or `fresh_uid` where it has no uid.
    pub fn new(manifest: Pod, fresh_uid: String) -> Self {
        let namespace = manifest.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let uid = manifest.metadata.uid.clone().unwrap_or(fresh_uid);
        Self { manifest, namespace, uid }
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        &self.manifest.metadata.name
    }

    /// The labels that name the pod.
    fn labels(&self) -> [(String, String); 3] {
        [
            (kubelet::POD_NAME.to_owned(), self.name().to_owned()),
            (kubelet::POD_NAMESPACE.to_owned(), self.namespace.clone()),
            (kubelet::POD_UID.to_owned(), self.uid.clone()),
        ]
    }
}

impl Directories {
    /// The log directory of a pod, named as the kubelet names it. `None` when a name would lead out of it.
    pub fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> Option<PathBuf> {
        below(&self.logs, &format!("{namespace}_{name}_{uid}"))
    }

    /// The directory of a pod's emptyDir volumes. `None` when the uid would lead out of it.
    pub fn pod_data(&self, uid: &str) -> Option<PathBuf> {
        below(&self.data, uid)
    }
}

fn below(base: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '\0']);
    plain.then(|| base.join(name))
}

#[cfg(test)]
mod tests;
