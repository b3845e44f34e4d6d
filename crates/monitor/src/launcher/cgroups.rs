//! The container's cgroups: made before it, joined from inside, and mounted in it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_host::cgroup::{Cgroup, Created, Hierarchies};
use corten_host::mount::{self, Change, Filesystem, attribute};
use oci_spec::runtime::Linux;

use super::errors::{Blame, refused};
use super::namespaces::Namespaces;
use super::resolve::{Confined, Kind};
use crate::protocol::CallError;

/// The cgroups made for a launch. Removed again when dropped, unless kept.
pub(super) struct Made {
    cgroup: Cgroup,
    created: Option<Created>,
}

impl Made {
    /// Makes and limits the cgroups that the specification names.
    pub(super) fn create(linux: &Linux) -> Result<Self, CallError> {
        let path = linux.cgroups_path().as_deref().and_then(Path::to_str);
        let path = path.ok_or_else(|| refused("linux.cgroupsPath: missing, or not UTF-8"))?;
        let cgroup = Hierarchies::detect().and_then(|h| h.cgroup(path)).node(|| format!("find cgroup {path}"))?;
        let created = cgroup.create().node(|| format!("create cgroup {path}"))?;
        let made = Made { cgroup, created: Some(created) };
        if let Some(resources) = linux.resources() {
            made.cgroup.apply(resources).node(|| format!("limit cgroup {path}"))?;
        }
        Ok(made)
    }

    /// The cgroups.
    pub(super) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The container runs: whoever ends it removes them.
    pub(super) fn keep(mut self) {
        self.created = None;
    }

    /// In the child: they are the launcher process's to remove.
    pub(super) fn forget(&mut self) {
        self.created = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(created) = self.created.take() {
            // Best effort: the reason of the failure is reported, and who removes the container tries again.
            let _ = Cgroup::undo(&created);
        }
    }
}

/// Joins a cgroup from inside; the v2 part of it is joined by clone3 already.
pub(super) fn join(cgroup: &Cgroup, in_v2_already: bool) -> Result<(), CallError> {
    let joined = if in_v2_already { cgroup.join_self_v1() } else { cgroup.join_self() };
    joined.node(|| format!("join cgroup {}", cgroup.name()))
}

/// The hierarchies as the container sees them: its own cgroup in each as the root.
pub(super) enum CgroupMounts {
    /// The one v2 hierarchy. The whole of it for who is in the node's cgroup namespace, where paths begin at its root.
    Unified(PathBuf),
    /// v1 hierarchies, with the name of each one's directory; a v2 one beside them is called `unified`.
    Several(Vec<(String, PathBuf)>),
}

impl CgroupMounts {
    /// Where the caller's own cgroups are on the host. Before it unshares its cgroup namespace, if it has one.
    pub(super) fn of_self(namespaces: Namespaces) -> Result<Self, CallError> {
        let text = std::fs::read_to_string("/proc/self/cgroup").node(|| "read /proc/self/cgroup".into())?;
        Ok(Self::parse(&text, Path::new("/sys/fs/cgroup"), namespaces.names(libc::CLONE_NEWCGROUP)))
    }

    fn parse(text: &str, mounts: &Path, has_namespace: bool) -> Self {
        let entries: Vec<(String, &str)> = text.lines().filter_map(entry).collect();
        if let [(name, path)] = entries.as_slice()
            && name == "unified"
        {
            return CgroupMounts::Unified(if has_namespace { below(mounts, path) } else { mounts.to_owned() });
        }
        let several = entries.into_iter().map(|(name, path)| (name.clone(), below(&mounts.join(name), path)));
        CgroupMounts::Several(several.filter(|(_, path)| path.is_dir()).collect())
    }

    /// Mounts them over `target`.
    pub(super) fn mount(&self, target: OwnedFd, attributes: u64, step: &str) -> Result<(), CallError> {
        let step = || step.to_owned();
        match self {
            CgroupMounts::Unified(path) => attach_copy(path, &target, attributes).node(step),
            CgroupMounts::Several(hierarchies) => {
                let directory = several(hierarchies, &target, attributes).node(step)?;
                // Read-only only now that the directories in it are made.
                let change = Change { set: attributes, ..Change::default() };
                mount::change(directory.as_fd(), false, change).node(step)
            }
        }
    }
}

/// A tmpfs with a directory for each hierarchy and links for controllers mounted together.
fn several(
    hierarchies: &[(String, PathBuf)],
    target: &OwnedFd,
    attributes: u64,
) -> Result<OwnedFd, Box<dyn std::error::Error>> {
    let filesystem = Filesystem::open("tmpfs")?;
    filesystem.set("source", "tmpfs")?;
    filesystem.set("mode", "755")?;
    let directory = filesystem.mount(attributes & !attribute::RDONLY)?;
    mount::attach(&directory, target)?;
    let inside = Confined::to(directory.as_fd());
    for (name, path) in hierarchies {
        let (place, _) = inside.open_or_make(Path::new(name), Kind::Directory)?;
        attach_copy(path, &place, attributes)?;
        for controller in name.split(',').filter(|controller| controller != name) {
            rustix::fs::symlinkat(name.as_str(), &directory, controller)?;
        }
    }
    Ok(directory)
}

/// A cgroup directory as a mount of its own. In the container's cgroup namespace it shows as the root.
fn attach_copy(path: &Path, target: &OwnedFd, attributes: u64) -> std::io::Result<()> {
    let copy = mount::clone_path(path, false)?;
    let propagation = Some(mount::Propagation::Private);
    mount::change(copy.as_fd(), false, Change { set: attributes, propagation, ..Change::default() })?;
    mount::attach(&copy, target)
}

/// A line of `/proc/<pid>/cgroup`: the name of the hierarchy's directory, and the path.
fn entry(line: &str) -> Option<(String, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    Some((if name.is_empty() { "unified" } else { name }.to_owned(), path))
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// A v2 machine has one hierarchy, a hybrid one as many as are there.
    #[test]
    fn hierarchies_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for (has_namespace, shown) in [(true, dir.path().join("pods/a")), (false, dir.path().to_owned())] {
            match CgroupMounts::parse("0::/pods/a\n", dir.path(), has_namespace) {
                CgroupMounts::Unified(path) => assert_eq!(path, shown),
                CgroupMounts::Several(_) => panic!("one hierarchy"),
            }
        }
        for path in ["cpu,cpuacct/pods/a", "systemd/pods/a", "unified/pods/a"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let text = "3:cpu,cpuacct:/pods/a\n2:misc:/pods/a\n1:name=systemd:/pods/a\n0::/pods/a\n";
        let CgroupMounts::Several(list) = CgroupMounts::parse(text, dir.path(), true) else { panic!("several") };
        let names: Vec<_> = list.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["cpu,cpuacct", "systemd", "unified"]);
    }
}
