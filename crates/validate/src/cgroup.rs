//! Cgroups for pods, which the kubelet would have named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use corten_cri::v1::{CgroupDriver, RuntimeConfigRequest, StatusRequest};

use crate::context::Ctx;

/// Where the hierarchies are, or the only one.
const ROOT: &str = "/sys/fs/cgroup";

/// A name for the cgroup of a pod, in the form that the runtime's cgroup driver wants.
pub(crate) async fn parent(ctx: &Ctx, pod: &str) -> String {
    match driver(ctx).await {
        CgroupDriver::Cgroupfs => format!("/{}/{pod}", directory(ctx)),
        // A dash makes a slice of what is before it, and this one is to be no deeper than that.
        CgroupDriver::Systemd => format!("{}-{}.slice", directory(ctx).replace('-', ""), pod.replace('-', "")),
    }
}

/// Whether the cgroup of a pod has been made where only another cgroup driver would make it: a name that means a slice below a slice,
/// at the top.
pub(crate) fn is_misplaced(parent: &str) -> bool {
    is_slice_at_the_top(Path::new(ROOT), parent)
}

fn is_slice_at_the_top(root: &Path, parent: &str) -> bool {
    parent.ends_with(".slice") && hierarchies(root).iter().any(|hierarchy| hierarchy.join(parent).is_dir())
}

/// The directories of the hierarchies; where version 2 is the only one, that is the root itself.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn directory(ctx: &Ctx) -> String {
    format!("corten-validate-{}", ctx.run().id)
}

async fn driver(ctx: &Ctx) -> CgroupDriver {
    if let Ok(config) = ctx.runtime_config(RuntimeConfigRequest {}).await {
        let driver = config.linux.map(|linux| CgroupDriver::try_from(linux.cgroup_driver));
        return driver.and_then(Result::ok).unwrap_or(CgroupDriver::Cgroupfs);
    }
    // Older runtimes show their configuration to whoever is interested.
    let info = ctx.status(StatusRequest { verbose: true }).await.map(|status| status.info).unwrap_or_default();
    let says = |text: &str| info.values().any(|value| value.replace(' ', "").contains(text));
    if says("\"systemdCgroup\":true") || says("\"SystemdCgroup\":true") {
        CgroupDriver::Systemd
    } else {
        CgroupDriver::Cgroupfs
    }
}

/// Removes the run's directories that a runtime has left: it takes them for the kubelet's.
pub(crate) fn remove(ctx: &Ctx) {
    for hierarchy in hierarchies(Path::new(ROOT)) {
        let directory = hierarchy.join(directory(ctx));
        let below = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        // What is in use stays, and what is not there need not be removed.
        for path in below.filter(|path| path.is_dir()).chain([directory.clone()]) {
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_slice_in_its_slice_is_where_it_belongs() {
        let [v2, v1] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(v2.path().join("cgroup.controllers"), "memory").unwrap();
        for (root, below) in [(v2.path(), ""), (v1.path(), "memory"), (v1.path(), "unified")] {
            let slice = root.join(below).join("a.slice/a-b.slice");
            fs::create_dir_all(&slice).unwrap();
            assert!(!is_slice_at_the_top(root, "a-b.slice"), "{slice:?}");
        }
        for top in [v2.path().to_owned(), v1.path().join("memory")] {
            fs::create_dir(top.join("a-c.slice")).unwrap();
        }
        assert!(is_slice_at_the_top(v2.path(), "a-c.slice") && is_slice_at_the_top(v1.path(), "a-c.slice"));
        assert!(!is_slice_at_the_top(v1.path(), "/a-c"));
    }
}
