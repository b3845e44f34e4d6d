//! What containers' writable layers take on disk.
//!
//! Where the file system counts by project, that is one question to the kernel. Elsewhere it takes a walk: when somebody asks,
//! by one at a time, but not before `SHARE` times as long has passed as the last walk took. Small layers are always fresh,
//! and large ones take no more than a fixed share of the machine's time. Nobody waits for a walk longer than they want: they get what is known, with its time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corten_images::Usage;
use futures::StreamExt;

use super::{AT_ONCE, is_listed};
use crate::container::Container;
use crate::error::Result;
use crate::node::Node;
use crate::operation::{Slot, lock};
use crate::timeline::now;

/// How long who wants to know it now waits for a layer to be measured.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// One walk takes at most one part in so many of the time.
const SHARE: u32 = 50;

/// A writable layer's usage, as last measured.
#[derive(Default)]
pub struct Layer {
    known: Mutex<Option<Measured>>,
    walk: Slot<()>,
}

/// A usage that was measured.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// The usage.
    pub usage: Usage,
    /// When, in nanoseconds since the Unix epoch.
    pub at: i64,
    began: Instant,
    took: Duration,
}

impl Measured {
    fn is_due(&self) -> bool {
        self.began.elapsed() >= self.took.saturating_mul(SHARE)
    }

    /// How long ago that was.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Layer {
    /// The usage as last measured; `None` if it never was.
    pub fn known(&self) -> Option<Measured> {
        *lock(&self.known)
    }
}

/// A container's usage, measured now if that is due and done within `patience`; a walk that takes longer goes on. `None`
/// if it is not known (yet).
pub async fn usage(node: &Arc<Node>, container: &Arc<Container>, patience: Duration) -> Option<Measured> {
    let layer = &container.remembered.layer;
    if layer.known().is_none_or(|known| known.is_due()) {
        let walk = layer.walk.run((), || walk(node.clone(), container.clone()));
        if let Ok(Err(error)) = tokio::time::timeout(patience, walk).await {
            tracing::debug!(container = container.id(), %error, "the writable layer could not be measured");
        }
    }
    layer.known()
}

/// What all containers' layers take together, as far as it is known, and since when the oldest part of that is.
pub async fn total(node: &Arc<Node>) -> (Usage, i64) {
    let mut containers = node.containers.all();
    containers.retain(|container| is_listed(&container.state()));
    let measured = futures::stream::iter(containers);
    let measured = measured.map(|container| async move { usage(node, &container, PATIENCE).await });
    let known: Vec<Measured> = measured.buffered(AT_ONCE).filter_map(std::future::ready).collect().await;
    let mut total = Usage::default();
    known.iter().for_each(|layer| total += layer.usage);
    (total, known.iter().map(|layer| layer.at).min().unwrap_or_else(now))
}

async fn walk(node: Arc<Node>, container: Arc<Container>) -> Result<()> {
    let (at, began) = (now(), Instant::now());
    let usage = node.images.snapshot_usage(container.id()).await?;
    *lock(&container.remembered.layer.known) = Some(Measured { usage, at, began, took: began.elapsed() });
    Ok(())
}
