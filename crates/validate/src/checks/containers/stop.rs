//! StopContainer: which signal, and for how long.

use std::time::{Duration, Instant};

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present},
    image::names,
    make::{self, Pod},
    verdict::Checked,
};

checks! {
    "containers/stop-sends-sigterm",
        "StopContainer first sends SIGTERM, which is given the grace period", [], sends_sigterm;
    "containers/stop-kills-after-the-timeout",
        "StopContainerRequest.timeout: after so many seconds the container is killed", [], kills_after_the_timeout;
    "containers/stop-without-timeout-kills",
        "StopContainerRequest.timeout: 0 means to kill at once", [], kills_at_once;
    "containers/stop-sends-the-images-signal",
        "StopContainer sends the stop signal of the image, if it has one", [], images_signal;
    "containers/stop-signal",
        "ContainerConfig.stop_signal is sent instead of the image's; ContainerStatus.stop_signal tells it",
        ["ContainerConfig.stop_signal", "ContainerStatus.stop_signal"], stop_signal;
}

/// A pod with the node's PID namespace: there a process without a handler dies of a signal.
async fn pod(ctx: &Ctx) -> Checked<Pod> {
    let mut config = ctx.pod("pod")?;
    make::namespace_options(&mut config).pid = NamespaceMode::Node.into();
    ctx.run_pod(config).await
}

/// Starts a container and waits until its program says that it is ready.
async fn ready(ctx: &Ctx, pod: &Pod, config: &ContainerConfig) -> Checked<String> {
    let id = ctx.start(pod, &make::as_in(pod, config.clone())).await?;
    ctx.logged(pod, config, "ready").await?;
    Ok(id)
}

/// Stops a container with a long grace period; its exit code.
async fn stopped(ctx: &Ctx, id: &str) -> Checked<i32> {
    let begun = Instant::now();
    ctx.stop(id, 60).await?;
    holds(
        "StopContainer of one that ends",
        begun.elapsed() < Duration::from_secs(30),
        "no longer than that",
        begun.elapsed(),
    )?;
    let status = ctx.status_of(id).await?;
    equal("ContainerStatus.state after StopContainer", status.state(), ContainerState::ContainerExited)?;
    Ok(status.exit_code)
}

async fn sends_sigterm(ctx: Ctx) -> Checked {
    let pod = pod(&ctx).await?;
    let id = ready(&ctx, &pod, &ctx.container("c", &["pause"])).await?;
    equal("ContainerStatus.exit_code after SIGTERM", stopped(&ctx, &id).await?, 143)
}

async fn kills_after_the_timeout(ctx: Ctx) -> Checked {
    // As the first process of its PID namespace it does not hear SIGTERM.
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let begun = Instant::now();
    ctx.stop(&id, 1).await?;
    let took = begun.elapsed();
    let in_time = took >= Duration::from_millis(900) && took < Duration::from_secs(20);
    holds("StopContainer with a timeout of 1 second", in_time, "about a second", took)?;
    let status = ctx.status_of(&id).await?;
    equal("ContainerStatus.state", status.state(), ContainerState::ContainerExited)?;
    equal("ContainerStatus.exit_code after SIGKILL", status.exit_code, 137)?;
    equal("ContainerStatus.reason after SIGKILL", status.reason.as_str(), "Error")
}

async fn kills_at_once(ctx: Ctx) -> Checked {
    let pod = pod(&ctx).await?;
    let id = ready(&ctx, &pod, &ctx.container("c", &["pause"])).await?;
    let begun = Instant::now();
    ctx.stop(&id, 0).await?;
    holds("StopContainer with a timeout of 0", begun.elapsed() < Duration::from_secs(20), "at once", begun.elapsed())?;
    equal("ContainerStatus.exit_code after SIGKILL", ctx.status_of(&id).await?.exit_code, 137)
}

/// A container of the image whose stop signal is SIGUSR1.
async fn with_signal(ctx: &Ctx) -> Checked<ContainerConfig> {
    let image = ctx.image(names::STOP_SIGNAL);
    ctx.pull(&image).await?;
    Ok(ContainerConfig { image: Some(make::spec(&image)), ..ctx.container("c", &["pause"]) })
}

async fn images_signal(ctx: Ctx) -> Checked {
    let pod = pod(&ctx).await?;
    let config = with_signal(&ctx).await?;
    let id = ready(&ctx, &pod, &config).await?;
    if ctx.has("ContainerStatus.stop_signal") {
        equal("ContainerStatus.stop_signal", ctx.status_of(&id).await?.stop_signal(), Signal::Sigusr1)?;
    }
    equal("ContainerStatus.exit_code after SIGUSR1", stopped(&ctx, &id).await?, 138)
}

async fn stop_signal(ctx: Ctx) -> Checked {
    let pod = pod(&ctx).await?;
    for (signal, number) in [(Signal::Sigint, 2), (Signal::Sigusr2, 12)] {
        let mut config = with_signal(&ctx).await?;
        config.metadata = Some(ContainerMetadata { name: format!("{signal:?}"), attempt: 0 });
        config.log_path = format!("{signal:?}.log");
        config.stop_signal = signal.into();
        let id = ready(&ctx, &pod, &config).await?;
        equal("ContainerStatus.stop_signal", ctx.status_of(&id).await?.stop_signal(), signal)?;
        equal(format!("ContainerStatus.exit_code after {signal:?}"), stopped(&ctx, &id).await?, 128 + number)?;
    }
    let id = ctx.create(&pod, &make::as_in(&pod, ctx.container("default", &["pause"]))).await?;
    let told = present("ContainerStatus", ctx.try_status_of(&id).await?.status)?.stop_signal();
    equal("ContainerStatus.stop_signal where none was given", told, Signal::Sigterm)
}
