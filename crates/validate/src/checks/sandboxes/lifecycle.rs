//! What becomes of a sandbox: run, stopped, removed.

use corten_cri::v1::*;
use tonic::Code;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, refused},
    make::Pod,
    verdict::Checked,
};

checks! {
    "sandboxes/run-stop-remove",
        "RunPodSandbox leaves a sandbox ready, StopPodSandbox not ready, and after RemovePodSandbox there is none",
        [], run_stop_remove;
    "sandboxes/stop-is-idempotent",
        "StopPodSandbox must not return an error if the sandbox has been stopped already", [], stop_is_idempotent;
    "sandboxes/remove-is-idempotent",
        "RemovePodSandbox must not return an error if the sandbox has been removed already", [], remove_is_idempotent;
    "sandboxes/remove-without-stop",
        "RemovePodSandbox: running containers of the sandbox must be forcibly terminated and removed",
        [], remove_without_stop;
    "sandboxes/stop-ends-its-containers",
        "StopPodSandbox: running containers of the sandbox must be forcibly terminated", [], stop_ends_its_containers;
    "sandboxes/unknown-is-not-found",
        "PodSandboxStatus returns an error (NotFound) if the sandbox is not present", [], unknown_is_not_found;
    "sandboxes/attempts-are-different-sandboxes",
        "PodSandboxMetadata.attempt: the same pod with another attempt is another sandbox", [], attempts;
    "sandboxes/a-name-is-taken-once",
        "PodSandboxMetadata identifies a sandbox uniquely: running one again makes no second one", [], a_name_is_taken_once;
    "sandboxes/no-metadata-no-sandbox",
        "PodSandboxConfig.metadata is required: nothing is made without a config or its metadata", [], no_metadata;
    "sandboxes/unknown-handler-is-refused",
        "RunPodSandboxRequest.runtime_handler: if the runtime does not know it, the request must be rejected",
        [], unknown_handler;
}

async fn state(ctx: &Ctx, id: &str) -> Checked<PodSandboxState> {
    Ok(ctx.pod_status(id).await?.state())
}

async fn listed(ctx: &Ctx, id: &str) -> Checked<Option<PodSandboxState>> {
    let pods = ctx.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    Ok(pods.iter().find(|pod| pod.id == id).map(PodSandbox::state))
}

async fn run_stop_remove(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    equal("PodSandboxStatus.state of a new sandbox", state(&ctx, &pod.id).await?, PodSandboxState::SandboxReady)?;
    equal("PodSandbox.state of a new sandbox", listed(&ctx, &pod.id).await?, Some(PodSandboxState::SandboxReady))?;
    ctx.stop_pod(&pod.id).await?;
    equal("PodSandboxStatus.state after a stop", state(&ctx, &pod.id).await?, PodSandboxState::SandboxNotready)?;
    equal("PodSandbox.state after a stop", listed(&ctx, &pod.id).await?, Some(PodSandboxState::SandboxNotready))?;
    ctx.remove_pod(&pod.id).await?;
    equal("ListPodSandbox after a removal", listed(&ctx, &pod.id).await?, None)?;
    refused("PodSandboxStatus after a removal", ctx.try_pod_status(&pod.id).await, &[Code::NotFound])
}

async fn stop_is_idempotent(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for _ in 0..3 {
        ctx.stop_pod(&pod.id).await?;
        equal("PodSandboxStatus.state", state(&ctx, &pod.id).await?, PodSandboxState::SandboxNotready)?;
    }
    Ok(())
}

async fn remove_is_idempotent(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    ctx.stop_pod(&pod.id).await?;
    for _ in 0..3 {
        ctx.remove_pod(&pod.id).await?;
    }
    equal("ListPodSandbox after a removal", listed(&ctx, &pod.id).await?, None)
}

/// A pod with a container that runs; the container's id.
async fn busy_pod(ctx: &Ctx) -> Checked<(Pod, String)> {
    let pod = ctx.new_pod().await?;
    let container = ctx.start_sleeper(&pod).await?;
    Ok((pod, container))
}

async fn remove_without_stop(ctx: Ctx) -> Checked {
    let (pod, container) = busy_pod(&ctx).await?;
    ctx.remove_pod(&pod.id).await?;
    refused("PodSandboxStatus after a removal", ctx.try_pod_status(&pod.id).await, &[Code::NotFound])?;
    refused("ContainerStatus after the sandbox's removal", ctx.try_status_of(&container).await, &[Code::NotFound])?;
    let containers = ctx.list_containers(ListContainersRequest::default()).await?.containers;
    let left: Vec<_> = containers.iter().filter(|one| one.pod_sandbox_id == pod.id || one.id == container).collect();
    holds("ListContainers after the sandbox's removal", left.is_empty(), "none of its containers", left)
}

async fn stop_ends_its_containers(ctx: Ctx) -> Checked {
    let (pod, container) = busy_pod(&ctx).await?;
    ctx.stop_pod(&pod.id).await?;
    let status = ctx.status_of(&container).await?;
    equal("ContainerStatus.state after StopPodSandbox", status.state(), ContainerState::ContainerExited)?;
    holds("ContainerStatus.finished_at", status.finished_at >= status.started_at, "not before its start", &status)?;
    equal("ContainerStatus.exit_code of what was killed", status.exit_code, 137)
}

async fn unknown_is_not_found(ctx: Ctx) -> Checked {
    let unknown = "0".repeat(64);
    refused("PodSandboxStatus of an unknown id", ctx.try_pod_status(&unknown).await, &[Code::NotFound])?;
    // What is not there is as good as removed; for the stop, runtimes differ in whether that is said.
    ctx.remove_pod(&unknown).await?;
    if let Err(refusal) = ctx.stop_pod(&unknown).await {
        equal("StopPodSandbox of an unknown id", refusal.code(), Code::NotFound)?;
    }
    Ok(())
}

async fn attempts(ctx: Ctx) -> Checked {
    let first = ctx.new_pod().await?;
    ctx.stop_pod(&first.id).await?;
    let mut config = first.config.clone();
    config.metadata.get_or_insert_default().attempt = 1;
    let second = ctx.run_pod(config).await?;
    holds("the id of another attempt", first.id != second.id, "another", &second.id)?;
    equal("PodSandboxStatus.state of attempt 0", state(&ctx, &first.id).await?, PodSandboxState::SandboxNotready)?;
    equal("PodSandboxStatus.state of attempt 1", state(&ctx, &second.id).await?, PodSandboxState::SandboxReady)?;
    for (pod, attempt) in [(&first, 0), (&second, 1)] {
        let metadata = ctx.pod_status(&pod.id).await?.metadata.unwrap_or_default();
        equal("PodSandboxStatus.metadata.attempt", metadata.attempt, attempt)?;
    }
    Ok(())
}

async fn a_name_is_taken_once(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    // Runtimes differ: the same sandbox again, or an error.
    if let Ok(id) = ctx.try_run(&pod.config).await {
        equal("the id of the same sandbox again", &id, &pod.id)?;
    }
    let filter = PodSandboxFilter { label_selector: ctx.labels(), ..Default::default() };
    let listed = ctx.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?.items;
    equal("ListPodSandbox: how many", listed.len(), 1)?;
    equal("PodSandboxStatus.state of the first", state(&ctx, &pod.id).await?, PodSandboxState::SandboxReady)
}

async fn no_metadata(ctx: Ctx) -> Checked {
    let config = PodSandboxConfig { metadata: None, ..ctx.pod("pod")? };
    for (what, config) in [("no config", None), ("no metadata", Some(config))] {
        let request = RunPodSandboxRequest { config, runtime_handler: ctx.handler().to_owned() };
        crate::expect::fails(format!("RunPodSandbox with {what}"), ctx.run_pod_sandbox(request).await)?;
    }
    none_of_ours(&ctx).await
}

async fn unknown_handler(ctx: Ctx) -> Checked {
    let request = RunPodSandboxRequest {
        config: Some(ctx.pod("pod")?),
        runtime_handler: "corten-validate-no-such-handler".to_owned(),
    };
    crate::expect::fails("RunPodSandbox with an unknown handler", ctx.run_pod_sandbox(request).await)?;
    none_of_ours(&ctx).await
}

async fn none_of_ours(ctx: &Ctx) -> Checked {
    let listed = ctx.list_pod_sandbox(ListPodSandboxRequest::default()).await?.items;
    let labels = ctx.labels();
    let ours: Vec<_> = listed.iter().filter(|pod| pod.labels == labels).collect();
    // A sandbox that could not be made may be listed until it is removed, but is not ready.
    let ready = ours.iter().any(|pod| pod.state() == PodSandboxState::SandboxReady);
    holds("ListPodSandbox after a request that was refused", !ready, "none that is ready", ours)
}
