//! UpdatePodSandboxResources.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails},
    verdict::Checked,
};

checks! {
    "sandboxes/resources-can-change",
        "UpdatePodSandboxResources: overhead and resources of a sandbox that runs; it goes on as it was",
        ["RuntimeService/UpdatePodSandboxResources"], change;
    "sandboxes/resources-of-an-unknown-one",
        "UpdatePodSandboxResources of an unknown sandbox is an error",
        ["RuntimeService/UpdatePodSandboxResources"], unknown;
}

fn limits(cpu_shares: i64, memory_limit_in_bytes: i64) -> LinuxContainerResources {
    LinuxContainerResources { cpu_shares, memory_limit_in_bytes, ..Default::default() }
}

async fn change(ctx: Ctx) -> Checked {
    let mut config = ctx.pod("pod")?;
    config.linux.get_or_insert_default().resources = Some(limits(512, 256 << 20));
    let pod = ctx.run_pod(config).await?;
    let id = ctx.start_sleeper(&pod).await?;
    let before = (ctx.pod_status(&pod.id).await?, ctx.status_of(&id).await?);
    let request = UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: pod.id.clone(),
        overhead: Some(limits(2, 16 << 20)),
        resources: Some(limits(1024, 512 << 20)),
    };
    ctx.update_pod_sandbox_resources(request).await?;
    let after = (ctx.pod_status(&pod.id).await?, ctx.status_of(&id).await?);
    equal("PodSandboxStatus and ContainerStatus after the change", after, before)
}

async fn unknown(ctx: Ctx) -> Checked {
    let pod_sandbox_id = "0".repeat(64);
    let request =
        UpdatePodSandboxResourcesRequest { pod_sandbox_id, overhead: None, resources: Some(limits(1024, 512 << 20)) };
    fails("UpdatePodSandboxResources of an unknown sandbox", ctx.update_pod_sandbox_resources(request).await)
}
