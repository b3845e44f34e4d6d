//! How far a pull is. The pull writes and never waits for who watches; the watcher looks when it likes.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use crate::digest::Digest;

/// What is being done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing yet: others come first.
    Waiting,
    /// Its bytes arrive, and are unpacked as they do.
    Downloading,
    /// All bytes are here, and not all of them unpacked.
    Unpacking,
    /// It is being made durable.
    Syncing,
    /// It is in the store.
    Done,
    /// It was in the store before.
    AlreadyThere,
}

const PHASES: [Phase; 6] =
    [Phase::Waiting, Phase::Downloading, Phase::Unpacking, Phase::Syncing, Phase::Done, Phase::AlreadyThere];

/// How far one layer of a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerProgress {
    /// The digest of its blob.
    pub digest: Digest,
    /// What is being done with it.
    pub phase: Phase,
    /// Bytes of the blob that have arrived, in order.
    pub done: u64,
    /// Bytes of the blob.
    pub total: u64,
}

/// What there is to see of one pull. Clones see the same.
#[derive(Clone, Default)]
pub struct Progress {
    layers: Arc<Mutex<Vec<Watched>>>,
}

struct Watched {
    digest: Digest,
    total: u64,
    unpacking: Arc<Unpacking>,
}

/// A layer that somebody gets, or waits for: all who need it share this. Whoever gets it has the turn.
#[derive(Default)]
pub(super) struct Unpacking {
    pub turn: tokio::sync::Mutex<()>,
    phase: AtomicU8,
    done: AtomicU64,
}

impl Unpacking {
    pub fn enter(&self, phase: Phase) {
        if phase == Phase::Downloading {
            // Perhaps not for the first time.
            self.done.store(0, Ordering::Relaxed);
        }
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub fn arrived(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// It is in the store, and nobody who shares this brought it there.
    pub fn found(&self) {
        if self.phase() == Phase::Waiting {
            self.enter(Phase::AlreadyThere);
        }
    }

    fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::Relaxed))).copied().unwrap_or(Phase::Waiting)
    }
}

impl Progress {
    /// The layers, lowest first; none before the image's manifest and configuration are there.
    pub fn layers(&self) -> Vec<LayerProgress> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let look = |layer: &Watched| {
            let (phase, total) = (layer.unpacking.phase(), layer.total);
            let done = match phase {
                Phase::Waiting | Phase::AlreadyThere => 0,
                Phase::Downloading => layer.unpacking.done.load(Ordering::Relaxed).min(total),
                Phase::Unpacking | Phase::Syncing | Phase::Done => total,
            };
            LayerProgress { digest: layer.digest, phase, done, total }
        };
        layers.iter().map(look).collect()
    }

    /// Shows one more layer.
    pub(super) fn watch(&self, digest: Digest, total: u64, unpacking: Arc<Unpacking>) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.push(Watched { digest, total, unpacking });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(progress: &Progress) -> Vec<(Phase, u64)> {
        progress.layers().iter().map(|layer| (layer.phase, layer.done)).collect()
    }

    #[test]
    fn a_layer_goes_through_its_phases_and_begins_anew_at_another_host() {
        let (progress, layer) = (Progress::default(), Arc::<Unpacking>::default());
        progress.watch(Digest::of(b""), 10, layer.clone());
        assert_eq!(seen(&progress), [(Phase::Waiting, 0)]);
        layer.enter(Phase::Downloading);
        layer.arrived(4);
        assert_eq!(seen(&progress), [(Phase::Downloading, 4)]);
        layer.enter(Phase::Downloading);
        layer.arrived(100);
        assert_eq!(seen(&progress), [(Phase::Downloading, 10)], "never more than there is");
        for phase in [Phase::Unpacking, Phase::Syncing, Phase::Done] {
            layer.enter(phase);
            assert_eq!(seen(&progress), [(phase, 10)]);
        }
        layer.found();
        assert_eq!(seen(&progress), [(Phase::Done, 10)], "who waited for it sees that it was pulled");
    }

    #[test]
    fn what_was_there_before_says_so() {
        let (progress, layer) = (Progress::default(), Arc::<Unpacking>::default());
        progress.watch(Digest::of(b""), 10, layer.clone());
        layer.found();
        assert_eq!(seen(&progress), [(Phase::AlreadyThere, 0)]);
    }
}
