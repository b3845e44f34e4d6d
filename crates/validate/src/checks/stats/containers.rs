//! Statistics of containers.

use std::collections::BTreeSet;

use corten_cri::v1::*;
use tonic::Code;

use super::{at_most, cpu, memory, memory_in_full};
use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present, refused, same},
    make::{Pod, resources},
    time::{Closed, Window},
    verdict::Checked,
};

checks! {
    "stats/container",
        "ContainerStats: whose they are, processor, memory and writable layer, each with when it was measured", [], container;
    "stats/container-grows", "ContainerStats: what a container uses is counted to it and to no other", [], grows;
    "stats/container-memory-limit",
        "MemoryUsage.available_bytes: the limit less the working set, where there is a limit", [], available;
    "stats/writable-layer", "ContainerStats.writable_layer: the bytes and inodes of what a container wrote", [], layer;
    "stats/unknown-container-is-not-found", "ContainerStats of an unknown container is an error", [], unknown;
    "stats/list-filters", "ContainerStatsFilter: by id, by sandbox, by labels, combined with 'AND'", [], list;
    "stats/swap", "ContainerStats.swap: how much swap a container uses", ["ContainerStats.swap"], swap;
    "stats/stream-says-what-the-list-says",
        "StreamContainerStats: ListContainerStats as a stream, with the same filter",
        ["RuntimeService/StreamContainerStats"], streamed;
}

async fn stats(ctx: &Ctx, id: &str) -> Checked<(ContainerStats, Closed)> {
    // A runtime may keep a measurement for a while.
    let mut window = Window::open();
    window.reach_back(std::time::Duration::from_secs(30));
    let stats = ctx.container_stats(ContainerStatsRequest { container_id: id.to_owned() }).await?.stats;
    Ok((present("ContainerStatsResponse.stats", stats)?, window.close()))
}

/// Statistics that have the writable layer: runtimes measure that from time to time only.
pub(super) async fn measured(ctx: &Ctx, id: &str) -> Checked<(ContainerStats, Closed)> {
    let layer = |stats: &ContainerStats| stats.writable_layer.as_ref().is_some_and(|layer| layer.timestamp > 0);
    let asked = ctx.until("ContainerStats.writable_layer has been measured", || async {
        let (stats, window) = stats(ctx, id).await?;
        Ok(layer(&stats).then_some((stats, window)))
    });
    asked.await
}

/// A container that says what it is, and holds some memory.
async fn holder(ctx: &Ctx, pod: &Pod, name: &str, mebibytes: &str) -> Checked<(String, ContainerConfig)> {
    let mut config = ctx.container(name, &["memory", mebibytes]);
    config.labels.insert("kind".to_owned(), name.to_owned());
    config.annotations.insert("example.org/note".to_owned(), "a note".to_owned());
    let id = ctx.start(pod, &config).await?;
    ctx.logged(pod, &config, "ready").await?;
    Ok((id, config))
}

fn attributes(id: &str, config: &ContainerConfig) -> ContainerAttributes {
    ContainerAttributes {
        id: id.to_owned(),
        metadata: config.metadata.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
    }
}

async fn container(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (id, config) = holder(&ctx, &pod, "c", "8").await?;
    let (stats, window) = measured(&ctx, &id).await?;
    let said = present("ContainerStats.attributes", stats.attributes.clone())?;
    same("ContainerStats.attributes", &said, &attributes(&id, &config))?;
    cpu("ContainerStats", stats.cpu, &window)?;
    memory("ContainerStats", stats.memory, &window)?;
    if ctx.has("MemoryUsage.rss_bytes") {
        memory_in_full("ContainerStats", stats.memory, 6 << 20)?;
    }
    let layer = present("ContainerStats.writable_layer", stats.writable_layer)?;
    writable("ContainerStats", &layer, &window)?;
    let mountpoint = layer.fs_id.unwrap_or_default().mountpoint;
    holds("ContainerStats.writable_layer.fs_id.mountpoint", mountpoint.starts_with('/'), "a path", &mountpoint)
}

/// That a writable layer was measured not long ago, and has what it may have.
fn writable(what: &str, layer: &FilesystemUsage, window: &Closed) -> Checked {
    window.holds(&format!("{what}.writable_layer.timestamp"), layer.timestamp)?;
    present(format!("{what}.writable_layer.used_bytes"), layer.used_bytes)?;
    present(format!("{what}.writable_layer.inodes_used"), layer.inodes_used)?;
    at_most(&format!("{what}.writable_layer.used_bytes"), layer.used_bytes, 1 << 30)?;
    at_most(&format!("{what}.writable_layer.inodes_used"), layer.inodes_used, 1 << 20)
}

async fn grows(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (small, _) = holder(&ctx, &pod, "small", "1").await?;
    let (large, _) = holder(&ctx, &pod, "large", "48").await?;
    let before = cpu("ContainerStats", stats(&ctx, &large).await?.0.cpu, &since_ever())?;
    let after = ctx.until("the processor time that was used is counted", || async {
        // On a node with much to do this is less of a processor than of the clock.
        ctx.said(&large, &["burn", "40"]).await?;
        let used = cpu("ContainerStats", stats(&ctx, &large).await?.0.cpu, &since_ever())?;
        Ok((used >= before.saturating_add(20_000_000)).then_some(used))
    });
    after.await?;
    let used = async |id: &str| memory("ContainerStats", stats(&ctx, id).await?.0.memory, &since_ever());
    let (small, large) = (used(&small).await?, used(&large).await?);
    holds("ContainerStats.memory of 48 MiB", (40 << 20..200 << 20).contains(&large), "about as much", large)?;
    holds("ContainerStats.memory of 1 MiB", small < 30 << 20, "about as much", small)
}

fn since_ever() -> Closed {
    let mut window = Window::open();
    window.reach_back(std::time::Duration::from_secs(3600));
    window.close_later(std::time::Duration::from_secs(3600))
}

async fn available(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["memory", "8"]);
    resources(&mut config).memory_limit_in_bytes = LIMIT;
    let id = ctx.start(&pod, &config).await?;
    ctx.logged(&pod, &config, "ready").await?;
    let memory = present("ContainerStats.memory", stats(&ctx, &id).await?.0.memory)?;
    let set = present("MemoryUsage.working_set_bytes", memory.working_set_bytes)?.value;
    let available = present("MemoryUsage.available_bytes", memory.available_bytes)?.value;
    equal(
        "MemoryUsage.available_bytes and working_set_bytes together",
        set.saturating_add(available),
        LIMIT.cast_unsigned(),
    )
}

async fn layer(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let text = "x".repeat(100_000);
    ctx.said(&id, &["write", "/tmp/large", &text, "then", "mkdir", "/tmp/a/b/c"]).await?;
    let grown = ctx.until("what was written is counted to the writable layer", || async {
        let layer = stats(&ctx, &id).await?.0.writable_layer.unwrap_or_default();
        let (bytes, inodes) = (layer.used_bytes.unwrap_or_default().value, layer.inodes_used.unwrap_or_default().value);
        Ok((bytes >= 100_000 && inodes >= 4).then_some(bytes))
    });
    let bytes = grown.await?;
    holds("FilesystemUsage.used_bytes of 100 kB", bytes < 5_000_000, "about as much", bytes)
}

async fn unknown(ctx: Ctx) -> Checked {
    let request = ContainerStatsRequest { container_id: "0".repeat(64) };
    refused(
        "ContainerStats of an unknown container",
        ctx.container_stats(request).await,
        &[Code::NotFound, Code::Unknown],
    )
}

async fn swap(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let (id, _) = holder(&ctx, &pod, "c", "1").await?;
    let (free, window) = stats(&ctx, &id).await?;
    present("ContainerStats.swap", free.swap)?;
    swapped("ContainerStats", free.swap, &window)?;

    let mut config = ctx.container("limited", &["memory", "1"]);
    (resources(&mut config).memory_limit_in_bytes, resources(&mut config).memory_swap_limit_in_bytes) =
        (LIMIT, 2 * LIMIT);
    let id = ctx.start(&pod, &config).await?;
    ctx.logged(&pod, &config, "ready").await?;
    let (limited, window) = stats(&ctx, &id).await?;
    swapped("ContainerStats", limited.swap, &window)?;
    // The swap limit less what is used; where the cgroup's limit is on both together some tell that.
    let available = present("ContainerStats.swap", limited.swap)?.swap_available_bytes;
    present("SwapUsage.swap_available_bytes of a container with a limit", available)?;
    at_most("SwapUsage.swap_available_bytes of a container with a limit", available, 2 * LIMIT.cast_unsigned())
}

/// Memory that a container may have, in bytes.
const LIMIT: i64 = 128 << 20;

/// That swap, where it is told, was measured not long ago, and is not more than a container of one MiB can have swapped out.
fn swapped(what: &str, swap: Option<SwapUsage>, window: &Closed) -> Checked {
    let Some(swap) = swap else { return Ok(()) };
    window.holds(&format!("{what}.swap.timestamp"), swap.timestamp)?;
    present(format!("{what}.swap.swap_usage_bytes"), swap.swap_usage_bytes)?;
    at_most(&format!("{what}.swap.swap_usage_bytes"), swap.swap_usage_bytes, 1 << 30)
}

/// Containers `a` and `b` of one pod and `c` of another, all running, and one that is not.
async fn world(ctx: &Ctx) -> Checked<([Pod; 2], [(String, ContainerConfig); 3])> {
    let pods = [ctx.new_pod().await?, ctx.new_pod().await?];
    let [first, second] = &pods;
    let start = async |pod: &Pod, name: &str| {
        let mut config = ctx.container(name, &["sleep"]);
        config.labels.insert("kind".to_owned(), name.to_owned());
        Checked::Ok((ctx.start(pod, &config).await?, config))
    };
    let containers = [start(first, "a").await?, start(first, "b").await?, start(second, "c").await?];
    Ok((pods, containers))
}

fn labelled(ctx: &Ctx, kind: Option<&str>) -> ContainerStatsFilter {
    let more = kind.map(|kind| ("kind".to_owned(), kind.to_owned()));
    ContainerStatsFilter { label_selector: ctx.labels().into_iter().chain(more).collect(), ..Default::default() }
}

async fn list(ctx: Ctx) -> Checked {
    let ([first, second], [a, b, c]) = world(&ctx).await?;
    let by_pod = |pod: &Pod| ContainerStatsFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
    let by_id = |id: &str| ContainerStatsFilter { id: id.to_owned(), ..Default::default() };
    let cases = [
        ("by id", by_id(&a.0), vec![&a]),
        ("by an unknown id", by_id(&"f".repeat(64)), vec![]),
        ("by sandbox", by_pod(&first), vec![&a, &b]),
        ("by another sandbox", by_pod(&second), vec![&c]),
        ("by labels", labelled(&ctx, None), vec![&a, &b, &c]),
        ("by one more label", labelled(&ctx, Some("b")), vec![&b]),
        ("by a label of none", labelled(&ctx, Some("none")), vec![]),
        (
            "by sandbox and label",
            ContainerStatsFilter { label_selector: labelled(&ctx, Some("a")).label_selector, ..by_pod(&first) },
            vec![&a],
        ),
        (
            "by sandbox and label of another",
            ContainerStatsFilter { label_selector: labelled(&ctx, Some("a")).label_selector, ..by_pod(&second) },
            vec![],
        ),
        ("by id and sandbox of another", ContainerStatsFilter { id: a.0.clone(), ..by_pod(&second) }, vec![]),
    ];
    for (what, filter, expected) in cases {
        for (id, _) in &expected {
            measured(&ctx, id).await?;
        }
        let mut window = Window::open();
        window.reach_back(std::time::Duration::from_secs(30));
        let listed = ctx.list_container_stats(ListContainerStatsRequest { filter: Some(filter) }).await?.stats;
        let window = window.close();
        equal(format!("ListContainerStats {what}: how many"), listed.len(), expected.len())?;
        for (id, config) in expected {
            let of = |stats: &&ContainerStats| stats.attributes.as_ref().is_some_and(|attributes| attributes.id == *id);
            let stats = present(format!("ListContainerStats {what}: a container"), listed.iter().find(of))?;
            let said = stats.attributes.clone().unwrap_or_default();
            same("ContainerStats.attributes", &said, &attributes(id, config))?;
            cpu("ContainerStats in a list", stats.cpu, &window)?;
            memory("ContainerStats in a list", stats.memory, &window)?;
            if ctx.has("MemoryUsage.rss_bytes") {
                memory_in_full("ContainerStats in a list", stats.memory, 1)?;
            }
            swapped("ContainerStats in a list", stats.swap, &window)?;
            as_alone(&ctx, "ContainerStats in a list", stats).await?;
            let layer = present("ContainerStats.writable_layer in a list", stats.writable_layer.clone())?;
            if layer.timestamp > 0 {
                writable("ContainerStats in a list", &layer, &window)?;
            }
        }
    }
    Ok(())
}

/// That what is measured of a container is all there, and possible.
pub(super) fn in_full(what: &str, stats: &ContainerStats, window: &Closed) -> Checked {
    cpu(what, stats.cpu, window)?;
    memory(what, stats.memory, window)?;
    memory_in_full(what, stats.memory, 1)?;
    swapped(what, stats.swap, window)?;
    let layer = present(format!("{what}.writable_layer"), stats.writable_layer.clone())?;
    let mountpoint = layer.fs_id.clone().unwrap_or_default().mountpoint;
    holds(format!("{what}.writable_layer.fs_id.mountpoint"), mountpoint.starts_with('/'), "a path", &mountpoint)?;
    if layer.timestamp > 0 { writable(what, &layer, window) } else { Ok(()) }
}

/// That of swap and the writable layer as much is told as ContainerStats tells.
pub(super) async fn as_alone(ctx: &Ctx, what: &str, seen: &ContainerStats) -> Checked {
    let container_id = seen.attributes.clone().unwrap_or_default().id;
    let alone = ctx.container_stats(ContainerStatsRequest { container_id }).await?.stats.unwrap_or_default();
    equal(format!("{what}.swap: whether it is told"), seen.swap.is_some(), alone.swap.is_some())?;
    let left = |swap: Option<SwapUsage>| swap.and_then(|swap| swap.swap_available_bytes);
    let (listed, told) = (left(seen.swap), left(alone.swap));
    equal(format!("{what}.swap.swap_available_bytes: whether it is told"), listed.is_some(), told.is_some())?;
    let (listed, told) = (listed.unwrap_or_default().value, told.unwrap_or_default().value);
    holds(
        format!("{what}.swap.swap_available_bytes"),
        listed.abs_diff(told) <= 1 << 30,
        format!("about {told}"),
        listed,
    )?;
    let (listed, told) = (seen.writable_layer.clone().unwrap_or_default(), alone.writable_layer.unwrap_or_default());
    // Where the one tells it, so does the other.
    let as_well = listed.timestamp > 0 || told.timestamp == 0;
    holds(format!("{what}.writable_layer.timestamp"), as_well, told.timestamp, listed.timestamp)?;
    equal(format!("{what}.writable_layer.fs_id"), listed.fs_id, told.fs_id)
}

async fn streamed(ctx: Ctx) -> Checked {
    let ([first, _], [a, b, c]) = world(&ctx).await?;
    for (id, _) in [&a, &b, &c] {
        measured(&ctx, id).await?;
    }
    let filters = [
        labelled(&ctx, None),
        labelled(&ctx, Some("none")),
        ContainerStatsFilter { id: a.0.clone(), ..Default::default() },
        ContainerStatsFilter { pod_sandbox_id: first.id.clone(), ..Default::default() },
    ];
    // What is measured differs from one time to the next; whose it is does not.
    let whose = |stats: Vec<ContainerStats>| {
        let whose = |one: ContainerStats| {
            let measured = (one.cpu.is_some(), one.memory.is_some(), one.writable_layer.is_some(), one.swap.is_some());
            format!("{:?} {measured:?}", one.attributes)
        };
        let count = stats.len();
        (count, stats.into_iter().map(whose).collect::<BTreeSet<_>>())
    };
    for filter in filters {
        let filter = Some(filter);
        let mut window = Window::open();
        window.reach_back(std::time::Duration::from_secs(30));
        let listed = ctx.list_container_stats(ListContainerStatsRequest { filter: filter.clone() }).await?.stats;
        let streamed = ctx.stream_container_stats(StreamContainerStatsRequest { filter }).await?;
        let window = window.close();
        let streamed: Vec<ContainerStats> = streamed.into_iter().flat_map(|batch| batch.container_stats).collect();
        for stats in &streamed {
            in_full("ContainerStats in a stream", stats, &window)?;
            as_alone(&ctx, "ContainerStats in a stream", stats).await?;
        }
        equal("StreamContainerStats", whose(streamed), whose(listed))?;
    }
    Ok(())
}
