//! Containers' stats in the CRI's messages.

use std::path::Path;
use std::sync::Arc;

use corten_cri::v1;
use corten_host::cgroup::Stats;
use corten_images::Usage;

use super::container_message::metadata;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::timeline::now;

/// The stats of a container. One that does not run has only its writable layer.
pub async fn of(node: &Arc<Node>, container: &Arc<Container>) -> Result<v1::ContainerStats> {
    let stats = match container.state().run() {
        Some(_) => Some(read(node, container).await?),
        None => None,
    };
    let layer = node.images.snapshot_usage(container.id()).await?;
    let at = now();
    Ok(v1::ContainerStats {
        attributes: Some(attributes(container)),
        cpu: stats.as_ref().and_then(|stats| cpu(stats, at)),
        memory: stats.as_ref().and_then(|stats| memory(stats, at)),
        writable_layer: Some(filesystem(&node.images.filesystem().0, layer, at)),
        swap: stats.as_ref().and_then(|stats| swap(stats, at)),
        io: None,
    })
}

async fn read(node: &Arc<Node>, container: &Arc<Container>) -> Result<Stats> {
    let path = container.cgroup(node);
    node.blocking(move |node| node.cgroup(&path)?.stats().map_err(|error| Error::node("read the cgroup", error))).await
}

fn attributes(container: &Container) -> v1::ContainerAttributes {
    v1::ContainerAttributes {
        id: container.id().into(),
        metadata: Some(metadata(container)),
        labels: container.config().labels.clone(),
        annotations: container.config().annotations.clone(),
    }
}

fn cpu(stats: &Stats, timestamp: i64) -> Option<v1::CpuUsage> {
    let usage = value(stats.cpu.as_ref()?.usage);
    Some(v1::CpuUsage { timestamp, usage_core_nano_seconds: usage, usage_nano_cores: None, psi: None })
}

fn memory(stats: &Stats, timestamp: i64) -> Option<v1::MemoryUsage> {
    let memory = stats.memory.as_ref()?;
    Some(v1::MemoryUsage {
        timestamp,
        working_set_bytes: value(memory.working_set),
        available_bytes: memory.available.and_then(value),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
        psi: None,
    })
}

fn swap(stats: &Stats, timestamp: i64) -> Option<v1::SwapUsage> {
    let memory = stats.memory.as_ref()?;
    let used = memory.swap?;
    let left = memory.swap_limit.map(|limit| limit.saturating_sub(used));
    Some(v1::SwapUsage { timestamp, swap_available_bytes: left.and_then(value), swap_usage_bytes: value(used) })
}

/// A filesystem's usage.
pub fn filesystem(mountpoint: &Path, usage: Usage, timestamp: i64) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: mountpoint.to_string_lossy().into_owned() }),
        used_bytes: value(usage.bytes),
        inodes_used: value(usage.inodes),
    }
}

fn value(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}
