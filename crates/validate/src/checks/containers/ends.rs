//! How containers end, and what is said about it.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds},
    make::{self, resources},
    time::Window,
    verdict::Checked,
};

checks! {
    "containers/exit-codes",
        "ContainerStatus.exit_code and reason: the process's exit code; Completed for 0, Error otherwise", [], exit_codes;
    "containers/times-of-the-end",
        "ContainerStatus.finished_at: when it ended, after its start; it does not change any more", [], times;
    "containers/killed-by-a-signal",
        "ContainerStatus.exit_code of a process that a signal ended is 128 and the signal", [], killed_by_a_signal;
    "containers/out-of-memory",
        "ContainerStatus.reason must be OOMKilled for containers that the cgroup's out-of-memory killer ended",
        [], out_of_memory;
    "containers/one-end-is-not-anothers",
        "A container that ends has no effect on others of its sandbox, nor on the sandbox", [], others_go_on;
}

async fn exit_codes(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (code, reason) in [(0, "Completed"), (1, "Error"), (42, "Error"), (255, "Error")] {
        let config = ctx.container(&format!("exit-{code}"), &["exit", &code.to_string()]);
        let id = ctx.start(&pod, &config).await?;
        let status = ctx.ended(&id).await?;
        equal("ContainerStatus.exit_code", status.exit_code, code)?;
        equal(format!("ContainerStatus.reason with exit code {code}"), status.reason.as_str(), reason)?;
    }
    Ok(())
}

async fn times(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let window = Window::open();
    let id = ctx.start(&pod, &ctx.container("c", &["sleep", "0.05"])).await?;
    let status = ctx.ended(&id).await?;
    let window = window.close();
    window.holds("ContainerStatus.started_at", status.started_at)?;
    window.holds("ContainerStatus.finished_at", status.finished_at)?;
    let ran = status.finished_at.saturating_sub(status.started_at);
    holds("ContainerStatus.finished_at", ran > 0, "later than started_at", ran)?;
    equal("ContainerStatus, a second time", ctx.status_of(&id).await?, status)
}

async fn killed_by_a_signal(ctx: Ctx) -> Checked {
    // In the node's PID namespace a signal's default action is the kernel's.
    let mut config = ctx.pod("pod")?;
    make::namespace_options(&mut config).pid = NamespaceMode::Node.into();
    let pod = ctx.run_pod(config).await?;
    let id = ctx.start(&pod, &make::as_in(&pod, ctx.container("c", &["abort"]))).await?;
    let status = ctx.ended(&id).await?;
    equal("ContainerStatus.exit_code after SIGABRT", status.exit_code, 134)?;
    equal("ContainerStatus.reason", status.reason.as_str(), "Error")
}

async fn out_of_memory(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["memory"]);
    resources(&mut config).memory_limit_in_bytes = 16 << 20;
    // Together with memory: no swap.
    resources(&mut config).memory_swap_limit_in_bytes = 16 << 20;
    let id = ctx.start(&pod, &config).await?;
    let status = ctx.ended(&id).await?;
    equal("ContainerStatus.reason", status.reason.as_str(), "OOMKilled")?;
    equal("ContainerStatus.exit_code", status.exit_code, 137)
}

async fn others_go_on(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let stays = ctx.start_sleeper(&pod).await?;
    let before = ctx.status_of(&stays).await?;
    ctx.run_to_end(&pod, &ctx.container("ends", &["exit", "3"])).await?;
    equal("ContainerStatus of another container", ctx.status_of(&stays).await?, before)?;
    equal("PodSandboxStatus.state", ctx.pod_status(&pod.id).await?.state(), PodSandboxState::SandboxReady)
}
