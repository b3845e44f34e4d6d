//! What a guest is doing when its power fails.

use std::{collections::HashMap, time::Duration};

/// What the guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The file system is mounted and the daemon opens its store, and clears up.
    Open,
    /// The daemon lists its images; all is looked at.
    Verify,
    /// Images are pulled, several at a time.
    Pull,
    /// Images are removed.
    Remove,
    /// Some are removed while others are pulled.
    Both,
    /// A file of a layer was damaged; `corten check --repair` finds and mends it.
    Repair,
}

/// In which phase the power is to fail, some more often.
pub(super) const TARGETS: [Phase; 12] = [
    Phase::Open,
    Phase::Open,
    Phase::Verify,
    Phase::Pull,
    Phase::Pull,
    Phase::Pull,
    Phase::Pull,
    Phase::Remove,
    Phase::Both,
    Phase::Both,
    Phase::Repair,
    Phase::Repair,
];

/// How long a phase takes as a rule, and how many requests of the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) time: Duration,
    pub(super) requests: u64,
}

/// What is known of them before any was seen to its end.
pub(super) fn extents() -> HashMap<Phase, Extent> {
    let extent = |time, requests| Extent { time: Duration::from_millis(time), requests };
    HashMap::from([
        (Phase::Open, extent(2500, 60)),
        (Phase::Verify, extent(1000, 10)),
        (Phase::Pull, extent(5000, 300)),
        (Phase::Remove, extent(1000, 60)),
        (Phase::Both, extent(5000, 300)),
        (Phase::Repair, extent(4000, 150)),
    ])
}
