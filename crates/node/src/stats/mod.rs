//! What pods and containers use: measured when somebody asks, and at no other time.
//!
//! - The rate of CPU time (`usage_nano_cores`) is that since an earlier sample: see [`CpuSamples`].
//! - A writable layer is walked, so its usage is remembered, and how often it is measured depends on what that costs: see
//!   [`layer`].
//! - Everything else is read from the kernel: cgroup files, netlink, `/proc`.
//!
//! [`metrics`] has the families that cAdvisor would export, in one table.

mod container;
mod cpu;
pub mod layer;
pub mod metrics;
mod pod;
mod processes;

use corten_host::cgroup;

pub use container::{ContainerUsage, Running, container, is_listed};
pub use cpu::CpuSamples;
pub use layer::{Layer, Measured};
pub use pod::{PodTraffic, PodUsage, pod};
pub use processes::{Open, Processes};

/// How many pods or containers are measured at once.
pub const AT_ONCE: usize = 4;

/// What is remembered of a container between two looks at it.
#[derive(Default)]
pub struct Remembered {
    /// Its CPU time.
    pub cpu: CpuSamples,
    /// Its writable layer.
    pub layer: Layer,
}

/// Whether a cgroup's files could not be read because it has just gone.
fn is_gone(error: &cgroup::Error) -> bool {
    match error {
        cgroup::Error::Read { source, .. } => matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)),
        _ => false,
    }
}
