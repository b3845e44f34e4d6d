//! Statistics of sandboxes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use corten_cri::v1::*;
use tonic::Code;

use super::{
    at_most,
    containers::{as_alone, in_full, measured},
    cpu, memory, memory_in_full,
};
use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present, refused, same},
    make::{Pod, as_in},
    time::{Closed, Window},
    verdict::Checked,
};

checks! {
    "stats/sandbox",
        "PodSandboxStats: whose they are, processor, memory, network, processes, and those of its containers",
        ["RuntimeService/PodSandboxStats"], sandbox;
    "stats/sandbox-unknown-is-not-found",
        "PodSandboxStats of an unknown sandbox is an error", ["RuntimeService/PodSandboxStats"], unknown;
    "stats/sandbox-list-filters",
        "PodSandboxStatsFilter: by id, by labels, combined with 'AND'", ["RuntimeService/ListPodSandboxStats"], list;
    "stats/sandbox-stream-says-what-the-list-says",
        "StreamPodSandboxStats: ListPodSandboxStats as a stream, with the same filter",
        ["RuntimeService/StreamPodSandboxStats"], streamed;
}

fn attributes(pod: &Pod) -> PodSandboxAttributes {
    PodSandboxAttributes {
        id: pod.id.clone(),
        metadata: pod.config.metadata.clone(),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
    }
}

fn recent() -> Window {
    let mut window = Window::open();
    window.reach_back(Duration::from_secs(30));
    window
}

/// What must be there whatever the pod does.
async fn complete(ctx: &Ctx, stats: &PodSandboxStats, pod: &Pod, window: &Closed) -> Checked<LinuxPodSandboxStats> {
    let said = present("PodSandboxStats.attributes", stats.attributes.clone())?;
    same("PodSandboxStats.attributes", &said, &attributes(pod))?;
    let linux = present("PodSandboxStats.linux", stats.linux.clone())?;
    cpu("LinuxPodSandboxStats", linux.cpu, window)?;
    memory("LinuxPodSandboxStats", linux.memory, window)?;
    memory_in_full("LinuxPodSandboxStats", linux.memory, 1)?;
    let processes = present("LinuxPodSandboxStats.process", linux.process)?;
    window.holds("ProcessUsage.timestamp", processes.timestamp)?;
    let count = present("ProcessUsage.process_count", processes.process_count)?.value;
    holds("ProcessUsage.process_count", (1..100).contains(&count), "at least the container's", count)?;
    for container in &linux.containers {
        in_full("ContainerStats in LinuxPodSandboxStats.containers", container, window)?;
        as_alone(ctx, "ContainerStats in LinuxPodSandboxStats.containers", container).await?;
    }
    Ok(linux)
}

async fn sandbox(ctx: Ctx) -> Checked {
    let mut config = ctx.with_cgroup(ctx.networked_pod("pod")?).await;
    config.annotations.insert("example.org/note".to_owned(), "a note".to_owned());
    let pod = ctx.run_pod(config).await?;
    let mut container = as_in(&pod, ctx.container("c", &["memory", "8"]));
    container.annotations.insert("example.org/note".to_owned(), "of the container".to_owned());
    let id = ctx.start(&pod, &container).await?;
    ctx.logged(&pod, &container, "ready").await?;
    measured(&ctx, &id).await?;
    let (linux, window) = measured_twice(&ctx, &pod).await?;

    let network = present("LinuxPodSandboxStats.network", linux.network)?;
    window.holds("NetworkUsage.timestamp", network.timestamp)?;
    let interface = present("NetworkUsage.default_interface", network.default_interface)?;
    let known = ctx.said(&id, &["cat", "/proc/net/dev"]).await?;
    let known = known.lines().filter_map(|line| line.split_once(':')).any(|(name, _)| name.trim() == interface.name);
    holds("NetworkInterfaceUsage.name", known, "an interface of the sandbox", &interface)?;
    for (name, value) in [
        ("rx_bytes", interface.rx_bytes),
        ("rx_errors", interface.rx_errors),
        ("tx_bytes", interface.tx_bytes),
        ("tx_errors", interface.tx_errors),
    ] {
        present(format!("NetworkInterfaceUsage.{name}"), value)?;
        at_most(&format!("NetworkInterfaceUsage.{name} of a new sandbox"), value, 1 << 40)?;
    }

    let [inner] = linux.containers.as_slice() else {
        return equal("LinuxPodSandboxStats.containers: how many", linux.containers.len(), 1);
    };
    let said = inner.attributes.clone().unwrap_or_default();
    equal("ContainerStats.attributes in LinuxPodSandboxStats.containers", &said.id, &id)?;
    equal("ContainerStats.attributes.metadata", said.metadata, container.metadata)?;
    equal("ContainerStats.attributes.labels", said.labels, container.labels)?;
    equal("ContainerStats.attributes.annotations", said.annotations, container.annotations)?;
    cpu("ContainerStats in LinuxPodSandboxStats.containers", inner.cpu, &window)?;
    let used = memory("ContainerStats in LinuxPodSandboxStats.containers", inner.memory, &window)?;
    memory_in_full("ContainerStats in LinuxPodSandboxStats.containers", inner.memory, 6 << 20)?;
    let whole = linux.memory.unwrap_or_default().usage_bytes.unwrap_or_default().value;
    holds("memory of the sandbox", whole == 0 || whole >= used, "not below its container's", (whole, used))
}

/// Statistics of a sandbox, with the rate of processor time if there is one soon: for that some have to have measured before.
async fn measured_twice(ctx: &Ctx, pod: &Pod) -> Checked<(LinuxPodSandboxStats, Closed)> {
    let begun = Instant::now();
    loop {
        let window = recent();
        let stats = ctx.pod_sandbox_stats(PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() }).await?.stats;
        let window = window.close();
        let linux = complete(ctx, &present("PodSandboxStatsResponse.stats", stats)?, pod, &window).await?;
        let has_rate = linux.cpu.is_some_and(|cpu| cpu.usage_nano_cores.is_some());
        if has_rate || begun.elapsed() > Duration::from_secs(1) {
            return Ok((linux, window));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn unknown(ctx: Ctx) -> Checked {
    let request = PodSandboxStatsRequest { pod_sandbox_id: "0".repeat(64) };
    let codes = [Code::NotFound, Code::Unknown];
    refused("PodSandboxStats of an unknown sandbox", ctx.pod_sandbox_stats(request).await, &codes)
}

/// Two pods with the labels `kind=a` and `kind=b`, each with a container.
async fn two(ctx: &Ctx) -> Checked<[Pod; 2]> {
    let run = async |kind: &str| {
        let mut config = ctx.with_cgroup(ctx.pod("pod")?).await;
        config.labels.insert("kind".to_owned(), kind.to_owned());
        let pod = ctx.run_pod(config).await?;
        measured(ctx, &ctx.start_sleeper(&pod).await?).await?;
        Checked::Ok(pod)
    };
    Ok([run("a").await?, run("b").await?])
}

fn filter(ctx: &Ctx, id: &str, kind: Option<&str>) -> PodSandboxStatsFilter {
    let more = kind.map(|kind| ("kind".to_owned(), kind.to_owned()));
    PodSandboxStatsFilter { id: id.to_owned(), label_selector: ctx.labels().into_iter().chain(more).collect() }
}

async fn list(ctx: Ctx) -> Checked {
    let [a, b] = two(&ctx).await?;
    let cases = [
        ("by labels", filter(&ctx, "", None), vec![&a, &b]),
        ("by one more label", filter(&ctx, "", Some("b")), vec![&b]),
        ("by a label of none", filter(&ctx, "", Some("none")), vec![]),
        ("by id", PodSandboxStatsFilter { id: a.id.clone(), ..Default::default() }, vec![&a]),
        ("by id and label", filter(&ctx, &a.id, Some("a")), vec![&a]),
        ("by id and label of another", filter(&ctx, &a.id, Some("b")), vec![]),
        ("by an unknown id", PodSandboxStatsFilter { id: "f".repeat(64), ..Default::default() }, vec![]),
    ];
    for (what, filter, expected) in cases {
        let window = recent();
        let listed = ctx.list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter: Some(filter) }).await?.stats;
        let window = window.close();
        equal(format!("ListPodSandboxStats {what}: how many"), listed.len(), expected.len())?;
        for pod in expected {
            let of = |stats: &&PodSandboxStats| stats.attributes.as_ref().is_some_and(|one| one.id == pod.id);
            let stats = present(format!("ListPodSandboxStats {what}: a sandbox"), listed.iter().find(of))?;
            let linux = complete(&ctx, stats, pod, &window).await?;
            equal("LinuxPodSandboxStats.containers in a list: how many", linux.containers.len(), 1)?;
        }
    }
    Ok(())
}

async fn streamed(ctx: Ctx) -> Checked {
    let [a, b] = two(&ctx).await?;
    // What is measured differs from one time to the next; whose it is does not.
    let whose = |stats: Vec<PodSandboxStats>| {
        let count = stats.len();
        let whose = |one: PodSandboxStats| {
            let linux = one.linux.unwrap_or_default();
            let mut containers: Vec<_> =
                linux.containers.into_iter().map(|one| format!("{:?}", one.attributes)).collect();
            containers.sort();
            format!("{:?} {} {} {containers:?}", one.attributes, linux.cpu.is_some(), linux.memory.is_some())
        };
        (count, stats.into_iter().map(whose).collect::<BTreeSet<_>>())
    };
    for filter in [filter(&ctx, "", None), filter(&ctx, &a.id, None), filter(&ctx, "", Some("none"))] {
        let filter = Some(filter);
        let listed = ctx.list_pod_sandbox_stats(ListPodSandboxStatsRequest { filter: filter.clone() }).await?.stats;
        let window = recent();
        let streamed = ctx.stream_pod_sandbox_stats(StreamPodSandboxStatsRequest { filter }).await?;
        let window = window.close();
        let streamed: Vec<_> = streamed.into_iter().flat_map(|batch| batch.pod_sandbox_stats).collect();
        for stats in &streamed {
            let id = stats.attributes.clone().unwrap_or_default().id;
            let pod = present("our sandbox in StreamPodSandboxStats", [&a, &b].into_iter().find(|pod| pod.id == id))?;
            complete(&ctx, stats, pod, &window).await?;
        }
        equal("StreamPodSandboxStats", whose(streamed), whose(listed))?;
    }
    Ok(())
}
