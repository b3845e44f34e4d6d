//! Control groups: v1, hybrid and v2.
//!
//! A [`Cgroup`] is one path below the root of every mounted hierarchy ("cgroupfs driver"). The named `systemd` hierarchy and, on a
//! hybrid machine, the v2 one are used like the others, so that whoever looks there finds the processes where they belong.
//!
//! Everything blocks. Nothing here moves *other* processes between cgroups: writing `cgroup.procs` costs an RCU grace period (5 to
//! 13 ms on an idle machine). A launcher joins from inside ([`Cgroup::join_self`]), or lets clone3 do it on v2
//! ([`Cgroup::open_v2`], then [`Cgroup::join_self_v1`]).

mod convert;
mod device_filter;
mod devices;
mod error;
mod file;
mod hierarchies;
mod limits;
mod processes;
mod stats;
mod tree;

use std::{path::PathBuf, sync::Arc};

pub(crate) use convert::{cpu_weight, swap_alone};
pub use error::Error;
pub use hierarchies::{Hierarchies, Mode};
pub use stats::{
    Cache, Configured, Cpu, Details, DeviceIo, Hugepages, Io, Memory, Pids, Pressure, Pressures, Reclaim, Stall, Stats,
    Throttling,
};
pub use tree::Created;

use hierarchies::{Controller, Hierarchy, Version};

/// A cgroup: a directory in each hierarchy. It need not exist. Cheap to make; holds no file descriptor.
#[derive(Debug, Clone)]
pub struct Cgroup {
    mode: Mode,
    name: String,
    places: Vec<Place>,
}

/// A cgroup's directory in one hierarchy.
#[derive(Debug, Clone)]
struct Place {
    hierarchy: Arc<Hierarchy>,
    dir: PathBuf,
}

impl Place {
    fn is_root(&self) -> bool {
        self.dir == self.hierarchy.mount
    }
}

impl Cgroup {
    fn new(mode: Mode, name: String, places: Vec<Place>) -> Self {
        Self { mode, name, places }
    }

    /// Its path below each hierarchy's root, with a leading slash; for [`Hierarchies::of_process`] a text naming the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The v1 hierarchy that has this controller.
    fn v1(&self, controller: Controller) -> Option<&Place> {
        self.places.iter().find(|p| p.hierarchy.version == Version::V1 && p.hierarchy.controllers.has(controller))
    }

    /// The v2 hierarchy, if there is one.
    fn v2(&self) -> Option<&Place> {
        self.places.iter().find(|p| p.hierarchy.version == Version::V2)
    }

    /// Refuses an operation that must not hit a root cgroup.
    fn not_root(&self, operation: &'static str) -> Result<(), Error> {
        if self.places.iter().any(Place::is_root) { Err(Error::Root { operation }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
