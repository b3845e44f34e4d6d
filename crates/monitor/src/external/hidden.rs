//! Limits that runc and its kin do not see on a machine with cgroups of both versions: those of controllers in version 2.

use corten_host::cgroup::{Cgroup, Hierarchies, Mode};
use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources, Spec};

use crate::launch::{bad, node};
use crate::protocol::CallError;

/// What the runtime is not asked for, and is set in its container's cgroup instead: limits on huge pages.
pub struct Hidden(Option<(Cgroup, Vec<LinuxHugepageLimit>)>);

impl Hidden {
    /// Takes them out of a specification; nothing where the runtime sees all controllers.
    ///
    /// # Errors
    /// If the machine's cgroups cannot be told.
    pub fn take(spec: &mut Spec) -> Result<Self, CallError> {
        let failed = |error: corten_host::cgroup::Error| node("cgroup", error.to_string());
        let Some(linux) = spec.linux_mut() else { return Ok(Self(None)) };
        let path = linux.cgroups_path().clone();
        let asked = linux.resources_mut().as_mut().filter(|all| all.hugepage_limits().is_some());
        let Some(resources) = asked else { return Ok(Self(None)) };
        let hierarchies = Hierarchies::detect().map_err(failed)?;
        if hierarchies.mode() != Mode::Hybrid {
            return Ok(Self(None));
        }
        let path = path.as_deref().and_then(|path| path.to_str()).ok_or_else(|| bad("no cgroup's path".to_owned()))?;
        let cgroup = hierarchies.cgroup(path).map_err(failed)?;
        let limits = resources.hugepage_limits().clone().unwrap_or_default();
        resources.set_hugepage_limits(None);
        Ok(Self(Some((cgroup, limits))))
    }

    /// Sets them, once the runtime has made the container's cgroup.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn apply(self) -> Result<(), CallError> {
        let Some((cgroup, limits)) = self.0 else { return Ok(()) };
        let mut resources = LinuxResources::default();
        resources.set_hugepage_limits(Some(limits));
        cgroup.apply(&resources).map_err(|error| node("limit cgroup", error.to_string()))
    }
}
