//! Cgroups for pods, which the kubelet would have named.

use std::{fs, path::PathBuf};

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
    let is_slice = parent.ends_with(".slice");
    is_slice && hierarchies().any(|hierarchy| hierarchy.join(parent).is_dir())
}

/// The directories of the hierarchies, and the one above them, which is the only one in version 2.
fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let below = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    below.chain([PathBuf::from(ROOT)])
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
    for hierarchy in hierarchies() {
        let directory = hierarchy.join(directory(ctx));
        let below = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        // What is in use stays, and what is not there need not be removed.
        for path in below.filter(|path| path.is_dir()).chain([directory.clone()]) {
            let _ = fs::remove_dir(path);
        }
    }
}
