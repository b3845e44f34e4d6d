//! Limits.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, present},
    make::resources,
    verdict::{Checked, Stop},
};

checks! {
    "resources/in-force", "LinuxContainerResources: processor, memory and out-of-memory score are set", [], in_force;
    "resources/swap",
        "LinuxContainerResources.memory_swap_limit_in_bytes, memory and swap together: in force, and told by ContainerStatus",
        ["LinuxContainerResources.memory_swap_limit_in_bytes", "ContainerStatus.resources"], swap;
    "resources/status-tells-them",
        "ContainerStatus.resources: the limits in force, before and after an update",
        ["ContainerStatus.resources"], told;
    "resources/update",
        "UpdateContainerResources is synchronous: the limits are in force when it returns", [], update;
    "resources/update-of-what-does-not-run",
        "UpdateContainerResources returns an error if there is no such container; one that has exited stays exited",
        [], update_exited;
}

const MEMORY: i64 = 64 << 20;

fn limited(ctx: &Ctx) -> ContainerConfig {
    let mut config = ctx.container("c", &["sleep"]);
    *resources(&mut config) = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: MEMORY,
        oom_score_adj: 500,
        ..Default::default()
    };
    config
}

/// The lines of `/proc/self/cgroup` of a process tell where its limits are; the node has them below one of these.
async fn limit(ctx: &Ctx, id: &str, controller: &str, v1: &str, v2: &str) -> Checked<Option<String>> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    ctx.container_status(request).await?;
    let groups = ctx.said(id, &["cgroup"]).await?;
    let path = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            controllers.split(',').any(|one| one == wanted).then(|| path.to_owned())
        })
    };
    // With a cgroup namespace of its own the container sees only `/`, and the limits are at /sys/fs/cgroup.
    let candidates = [
        format!("/sys/fs/cgroup/{controller}/{v1}"),
        format!("/sys/fs/cgroup/{controller}{}/{v1}", path(controller).unwrap_or_default()),
        format!("/sys/fs/cgroup/{v2}"),
    ];
    for file in candidates {
        let output = ctx.exec_in(id, &["cat", &file]).await?;
        if output.code == 0 {
            return Ok(Some(output.stdout.trim_end().to_owned()));
        }
    }
    Ok(None)
}

async fn memory_is(ctx: &Ctx, id: &str, expected: i64) -> Checked {
    let seen = limit(ctx, id, "memory", "memory.limit_in_bytes", "memory.max").await?;
    let expected = expected.to_string();
    // Where the container cannot see its cgroup there is nothing to compare.
    holds(
        "the memory limit of the container's cgroup",
        seen.as_ref().is_none_or(|seen| *seen == expected),
        &expected,
        &seen,
    )
}

async fn in_force(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start(&pod, &limited(&ctx)).await?;
    memory_is(&ctx, &id, MEMORY).await?;
    let quota = limit(&ctx, &id, "cpu", "cpu.cfs_quota_us", "cpu.max").await?;
    let is_half = quota.as_ref().is_none_or(|quota| quota == "50000" || quota == "50000 100000");
    holds("the processor limit of the container's cgroup", is_half, "50000 of 100000", &quota)?;
    let score = ctx.said(&id, &["cat", "/proc/1/oom_score_adj"]).await?;
    equal("the out-of-memory score of the first process", score.trim_end(), "500")
}

/// The limit on memory and swap together that a container's cgroup has, where it can see it.
async fn swap_limit(ctx: &Ctx, id: &str, memory: i64) -> Checked<Option<String>> {
    let together = limit(ctx, id, "memory", "memory.memsw.limit_in_bytes", "no-such-file").await?;
    if together.is_some() {
        return Ok(together);
    }
    // Version 2 has the two apart.
    let alone = limit(ctx, id, "memory", "no-such-file", "memory.swap.max").await?;
    let sum = |alone: String| alone.parse::<i64>().map_or(alone, |alone| alone.saturating_add(memory).to_string());
    Ok(alone.map(sum))
}

async fn swap(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = limited(&ctx);
    resources(&mut config).memory_swap_limit_in_bytes = 2 * MEMORY;
    let id = ctx.start(&pod, &config).await?;
    for (memory, both) in [(MEMORY, 2 * MEMORY), (2 * MEMORY, 5 * MEMORY)] {
        if memory != MEMORY {
            let linux = LinuxContainerResources {
                memory_limit_in_bytes: memory,
                memory_swap_limit_in_bytes: both,
                ..Default::default()
            };
            changed(&ctx, &id, linux).await?;
        }
        let Some(seen) = swap_limit(&ctx, &id, memory).await? else {
            return Err(Stop::NotSupported("the container's cgroup has no limit of swap to be seen".to_owned()));
        };
        equal("the limit of memory and swap of the container's cgroup", seen, both.to_string())?;
        let told = limits(&ctx, &id).await?.memory_swap_limit_in_bytes;
        equal("LinuxContainerResources.memory_swap_limit_in_bytes", told, both)?;
    }
    Ok(())
}

async fn limits(ctx: &Ctx, id: &str) -> Checked<LinuxContainerResources> {
    let resources = present("ContainerStatus.resources", ctx.status_of(id).await?.resources)?;
    present("ContainerStatus.resources.linux", resources.linux)
}

fn same(seen: &LinuxContainerResources, expected: &LinuxContainerResources) -> Checked {
    equal("LinuxContainerResources.cpu_period", seen.cpu_period, expected.cpu_period)?;
    equal("LinuxContainerResources.cpu_quota", seen.cpu_quota, expected.cpu_quota)?;
    equal("LinuxContainerResources.cpu_shares", seen.cpu_shares, expected.cpu_shares)?;
    equal("LinuxContainerResources.memory_limit_in_bytes", seen.memory_limit_in_bytes, expected.memory_limit_in_bytes)?;
    equal("LinuxContainerResources.oom_score_adj", seen.oom_score_adj, expected.oom_score_adj)?;
    equal("LinuxContainerResources.cpuset_cpus", &seen.cpuset_cpus, &expected.cpuset_cpus)?;
    equal("LinuxContainerResources.cpuset_mems", &seen.cpuset_mems, &expected.cpuset_mems)
}

async fn told(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = limited(&ctx);
    let mut expected = config.linux.clone().and_then(|linux| linux.resources).unwrap_or_default();
    let id = ctx.create(&pod, &config).await?;
    same(&limits(&ctx, &id).await?, &expected)?;
    ctx.start_id(&id).await?;
    same(&limits(&ctx, &id).await?, &expected)?;
    let linux = LinuxContainerResources {
        cpu_quota: 80_000,
        cpu_period: 100_000,
        cpu_shares: 256,
        memory_limit_in_bytes: 2 * MEMORY,
        ..Default::default()
    };
    changed(&ctx, &id, linux).await?;
    (expected.cpu_quota, expected.cpu_shares, expected.memory_limit_in_bytes) = (80_000, 256, 2 * MEMORY);
    same(&limits(&ctx, &id).await?, &expected)
}

async fn changed(ctx: &Ctx, id: &str, linux: LinuxContainerResources) -> Result<(), crate::verdict::Refusal> {
    let container_id = id.to_owned();
    let request = UpdateContainerResourcesRequest { container_id, linux: Some(linux), ..Default::default() };
    ctx.update_container_resources(request).await.map(drop)
}

async fn update(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start(&pod, &limited(&ctx)).await?;
    let before = ctx.status_of(&id).await?;
    for memory_limit_in_bytes in [2 * MEMORY, MEMORY / 2] {
        changed(&ctx, &id, LinuxContainerResources { memory_limit_in_bytes, ..Default::default() }).await?;
        memory_is(&ctx, &id, memory_limit_in_bytes).await?;
    }
    let after = ctx.status_of(&id).await?;
    let expected = ContainerStatus { resources: after.resources.clone(), ..before };
    crate::expect::same("ContainerStatus after an update", &after, &expected)
}

async fn update_exited(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id =
        ctx.start(&pod, &ContainerConfig { command: crate::make::command(&["exit", "0"]), ..limited(&ctx) }).await?;
    ctx.ended(&id).await?;
    let linux = LinuxContainerResources { memory_limit_in_bytes: 2 * MEMORY, ..Default::default() };
    let before = ctx.status_of(&id).await?;
    // Runtimes differ in whether there is anything to change then.
    let _ = changed(&ctx, &id, linux.clone()).await;
    let after = ctx.status_of(&id).await?;
    let expected = ContainerStatus { resources: after.resources.clone(), ..before };
    crate::expect::same("ContainerStatus of an exited container after an update", &after, &expected)?;
    fails("UpdateContainerResources of an unknown container", changed(&ctx, &"0".repeat(64), linux).await)
}
