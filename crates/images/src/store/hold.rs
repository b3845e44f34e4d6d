//! Layers and blobs that somebody uses for a while.

use std::sync::Arc;

use super::Inner;
use crate::digest::Digest;

/// Keeps layers and blobs from being collected while an image that needs them is put together, or while they are read.
pub(super) struct Hold {
    inner: Arc<Inner>,
    held: Vec<Digest>,
    /// Those that an image or a snapshot used when this began, if they are to be collected when none does any more.
    used: Vec<Digest>,
}

impl Hold {
    /// What has been held stays afterwards: it may be of use to the next who tries.
    pub fn new(inner: &Arc<Inner>, held: impl Iterator<Item = Digest>) -> Self {
        Self::begin(inner, held.collect(), false)
    }

    /// What was an image's is collected afterwards, if the image was removed in the meantime.
    pub fn of_images(inner: &Arc<Inner>, held: impl Iterator<Item = Digest>) -> Self {
        Self::begin(inner, held.collect(), true)
    }

    fn begin(inner: &Arc<Inner>, held: Vec<Digest>, collects: bool) -> Self {
        let mut state = inner.state();
        let used = if collects { state.used_of(&held) } else { Vec::new() };
        held.iter().for_each(|id| *state.held.entry(*id).or_default() += 1);
        drop(state);
        Self { inner: inner.clone(), held, used }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for id in &self.held {
            if let Some(count) = state.held.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(id);
                }
            }
        }
        let still = state.used_of(&self.used);
        self.used.retain(|id| !still.contains(id));
        drop(state);
        if !self.used.is_empty() {
            self.inner.clone().collect_soon(std::mem::take(&mut self.used));
        }
    }
}
