//! What becomes of a container: created, running, exited, gone.

use corten_cri::v1::*;
use tonic::Code;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, refused},
    time::Window,
    verdict::Checked,
};

checks! {
    "containers/states-and-times",
        "ContainerState goes from CREATED to RUNNING to EXITED; times are 0 until they happen, and in this order",
        [], states_and_times;
    "containers/stop-is-idempotent",
        "StopContainer must not return an error if the container has been stopped already", [], stop_is_idempotent;
    "containers/remove-is-idempotent",
        "RemoveContainer must not return an error if the container has been removed already", [], remove_is_idempotent;
    "containers/remove-kills",
        "RemoveContainer: a running container must be forcibly removed", [], remove_kills;
    "containers/start-once",
        "StartContainer starts a created container: one that runs or has exited is not started again", [], start_once;
    "containers/stop-of-created",
        "StopContainer of a container that was never started is no error, and it does not start", [], stop_of_created;
    "containers/unknown-is-not-found",
        "ContainerStatus returns an error (NotFound) if the container is not present", [], unknown_is_not_found;
    "containers/created-in-a-ready-sandbox-only",
        "CreateContainer creates a container in the specified sandbox: one that there is and that is ready",
        [], ready_sandbox_only;
    "containers/attempts-are-different-containers",
        "ContainerMetadata.attempt: the same container with another attempt is another container", [], attempts;
    "containers/a-name-is-taken-once",
        "ContainerMetadata identifies a container uniquely in its sandbox: no second one is made", [], a_name_is_taken_once;
    "containers/what-cannot-start-says-so",
        "StartContainer returns an error if the program cannot be executed; the container has then exited", [], cannot_start;
}

async fn states_and_times(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let created_in = Window::open();
    let id = ctx.create(&pod, &ctx.container("c", &["pause"])).await?;
    let created_in = created_in.close();
    let created = ctx.status_of(&id).await?;
    equal("ContainerStatus.state after CreateContainer", created.state(), ContainerState::ContainerCreated)?;
    created_in.holds("ContainerStatus.created_at", created.created_at)?;
    equal("ContainerStatus.started_at before the start", created.started_at, 0)?;
    equal("ContainerStatus.finished_at before the start", created.finished_at, 0)?;
    equal("ContainerStatus.exit_code before the start", created.exit_code, 0)?;

    let started_in = Window::open();
    ctx.start_id(&id).await?;
    let started_in = started_in.close();
    let running = ctx.status_of(&id).await?;
    equal("ContainerStatus.state after StartContainer", running.state(), ContainerState::ContainerRunning)?;
    equal("ContainerStatus.created_at after the start", running.created_at, created.created_at)?;
    started_in.holds("ContainerStatus.started_at", running.started_at)?;
    equal("ContainerStatus.finished_at before the end", running.finished_at, 0)?;
    equal("ContainerStatus.reason of one that runs", running.reason.as_str(), "")?;

    let finished_in = Window::open();
    ctx.stop(&id, 0).await?;
    let finished_in = finished_in.close();
    let exited = ctx.status_of(&id).await?;
    equal("ContainerStatus.state after StopContainer", exited.state(), ContainerState::ContainerExited)?;
    equal("ContainerStatus.created_at after the stop", exited.created_at, created.created_at)?;
    equal("ContainerStatus.started_at after the stop", exited.started_at, running.started_at)?;
    finished_in.holds("ContainerStatus.finished_at", exited.finished_at)?;
    equal("ContainerStatus.exit_code of what was killed", exited.exit_code, 137)?;

    ctx.remove(&id).await?;
    refused("ContainerStatus after a removal", ctx.try_status_of(&id).await, &[Code::NotFound])
}

async fn stop_is_idempotent(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    ctx.stop(&id, 0).await?;
    let first = ctx.status_of(&id).await?;
    for timeout in [0, 10] {
        ctx.stop(&id, timeout).await?;
        equal("ContainerStatus after a second StopContainer", &ctx.status_of(&id).await?, &first)?;
    }
    Ok(())
}

/// How often a container is listed, without a filter.
async fn listed(ctx: &Ctx, id: &str) -> Checked<usize> {
    let all = ctx.list_containers(ListContainersRequest::default()).await?.containers;
    Ok(all.iter().filter(|container| container.id == id).count())
}

async fn remove_is_idempotent(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    ctx.stop(&id, 0).await?;
    equal("ListContainers: how often the container", listed(&ctx, &id).await?, 1)?;
    for _ in 0..3 {
        ctx.remove(&id).await?;
    }
    equal("ListContainers after a removal: how often the container", listed(&ctx, &id).await?, 0)?;
    ctx.remove(&"0".repeat(64)).await?;
    equal(
        "PodSandboxStatus.state after its container's removal",
        ctx.pod_status(&pod.id).await?.state(),
        PodSandboxState::SandboxReady,
    )
}

async fn remove_kills(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    ctx.remove(&id).await?;
    refused("ContainerStatus after a removal", ctx.try_status_of(&id).await, &[Code::NotFound])?;
    equal("ListContainers after a removal: how often the container", listed(&ctx, &id).await?, 0)
}

async fn start_once(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let running = ctx.status_of(&id).await?;
    // Runtimes differ in whether a second request, perhaps sent again because an answer was lost, is an error.
    let _ = ctx.start_id(&id).await;
    equal("ContainerStatus after a second StartContainer", &ctx.status_of(&id).await?, &running)?;
    ctx.stop(&id, 0).await?;
    let exited = ctx.status_of(&id).await?;
    fails("StartContainer of one that has exited", ctx.start_id(&id).await)?;
    equal("ContainerStatus after a third StartContainer", &ctx.status_of(&id).await?, &exited)
}

async fn stop_of_created(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.create(&pod, &ctx.container("c", &["pause"])).await?;
    ctx.stop(&id, 1).await?;
    let status = ctx.status_of(&id).await?;
    // Runtimes differ: it stays created, or has exited.
    let state = status.state();
    let ended = matches!(state, ContainerState::ContainerCreated | ContainerState::ContainerExited);
    holds("ContainerStatus.state", ended, "CREATED or EXITED", state)?;
    equal("ContainerStatus.started_at", status.started_at, 0)?;
    ctx.remove(&id).await?;
    refused("ContainerStatus after a removal", ctx.try_status_of(&id).await, &[Code::NotFound])
}

async fn unknown_is_not_found(ctx: Ctx) -> Checked {
    let unknown = "0".repeat(64);
    refused("ContainerStatus of an unknown id", ctx.try_status_of(&unknown).await, &[Code::NotFound])?;
    fails("StartContainer of an unknown id", ctx.start_id(&unknown).await)?;
    // What is not there is as good as removed; for the stop, runtimes differ in whether that is said.
    ctx.remove(&unknown).await?;
    if let Err(refusal) = ctx.stop(&unknown, 0).await {
        equal("StopContainer of an unknown id", refusal.code(), Code::NotFound)?;
    }
    Ok(())
}

async fn ready_sandbox_only(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    ctx.stop_pod(&pod.id).await?;
    let config = ctx.container("c", &["pause"]);
    // Runtimes differ in when they say it.
    if let Ok(id) = ctx.try_create(&pod, &config).await {
        fails("StartContainer in a sandbox that was stopped", ctx.start_id(&id).await)?;
    }
    let unknown = crate::make::Pod { id: "0".repeat(64), ..pod };
    fails("CreateContainer in an unknown sandbox", ctx.try_create(&unknown, &config).await)
}

async fn attempts(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &["pause"]);
    let first = ctx.create(&pod, &config).await?;
    config.metadata.get_or_insert_default().attempt = 1;
    let second = ctx.create(&pod, &config).await?;
    holds("the id of another attempt", first != second, "another", &second)?;
    for (id, attempt) in [(&first, 0), (&second, 1)] {
        let metadata = ctx.status_of(id).await?.metadata.unwrap_or_default();
        equal("ContainerStatus.metadata.attempt", metadata.attempt, attempt)?;
    }
    Ok(())
}

async fn a_name_is_taken_once(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let config = ctx.container("c", &["pause"]);
    let id = ctx.create(&pod, &config).await?;
    // Runtimes differ: the same container again, or an error.
    if let Ok(second) = ctx.try_create(&pod, &config).await {
        equal("the id of the same container again", &second, &id)?;
    }
    let filter = ContainerFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
    let listed = ctx.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
    equal("ListContainers: ids in the sandbox", listed.iter().map(|one| &one.id).collect::<Vec<_>>(), vec![&id])
}

async fn cannot_start(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let mut config = ctx.container("c", &[]);
    config.command = vec!["/no/such/program".to_owned()];
    let id = ctx.create(&pod, &config).await?;
    fails("StartContainer of a program that is not there", ctx.start_id(&id).await)?;
    let status = ctx.ended(&id).await?;
    holds("ContainerStatus.exit_code", status.exit_code != 0, "not 0", status.exit_code)?;
    holds("ContainerStatus.reason", !status.reason.is_empty(), "a reason", &status.reason)?;
    ctx.stop(&id, 0).await?;
    Ok(ctx.remove(&id).await?)
}
