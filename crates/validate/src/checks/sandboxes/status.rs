//! What PodSandboxStatus and ListPodSandbox say.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, fails, holds, present, same},
    make::{namespace_options, resources, security},
    time::Window,
    verdict::Checked,
};

checks! {
    "sandboxes/status-gives-back-the-config",
        "PodSandboxStatus: id, metadata, state, creation time, namespaces, labels, annotations and runtime handler",
        [], status_gives_back_the_config;
    "sandboxes/list-gives-back-the-config",
        "PodSandbox: id, metadata, state, creation time, labels, annotations and runtime handler",
        [], list_gives_back_the_config;
    "sandboxes/verbose-adds-information",
        "PodSandboxStatusResponse.info: extra information, returned only when verbose is set", [], verbose;
    "sandboxes/network-has-an-address",
        "PodSandboxNetworkStatus.ip: the address of the pod; empty with the node's network", [], address;
    "sandboxes/address-goes-with-the-stop",
        "StopPodSandbox reclaims network resources: a stopped sandbox has no address that others may get", [], released;
    "sandboxes/status-lists-the-containers",
        "PodSandboxStatusResponse.containers_statuses and timestamp: set by a runtime that offers container events",
        ["PodSandboxStatusResponse.containers_statuses", "RuntimeService/GetContainerEvents"], lists_containers;
}

/// A configuration in which everything that comes back is set.
fn full(ctx: &Ctx) -> Checked<PodSandboxConfig> {
    let mut config = ctx.pod("full")?;
    config.labels.insert("empty".to_owned(), String::new());
    config.labels.insert("example.org/kind".to_owned(), "with spaces, and \"quotes\"".to_owned());
    config.annotations.insert("example.org/note".to_owned(), "caf\u{e9}\nsecond line".to_owned());
    config.annotations.insert("none".to_owned(), String::new());
    let metadata = config.metadata.get_or_insert_default();
    metadata.attempt = 7;
    metadata.namespace = "another-namespace".to_owned();
    *namespace_options(&mut config) = NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Pod.into(),
        ipc: NamespaceMode::Node.into(),
        ..Default::default()
    };
    Ok(config)
}

/// What the status of a sandbox must be. Addresses are another check's.
fn expected(ctx: &Ctx, id: &str, config: &PodSandboxConfig, seen: &PodSandboxStatus) -> PodSandboxStatus {
    let options = config.linux.clone().and_then(|linux| linux.security_context?.namespace_options);
    PodSandboxStatus {
        id: id.to_owned(),
        metadata: config.metadata.clone(),
        state: PodSandboxState::SandboxReady.into(),
        created_at: seen.created_at,
        network: seen.network.clone(),
        linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options }) }),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        runtime_handler: ctx.handler().to_owned(),
    }
}

async fn status_gives_back_the_config(ctx: Ctx) -> Checked {
    let window = Window::open();
    let pod = ctx.run_pod(full(&ctx)?).await?;
    let window = window.close();
    let status = ctx.pod_status(&pod.id).await?;
    same("PodSandboxStatus", &status, &expected(&ctx, &pod.id, &pod.config, &status))?;
    window.holds("PodSandboxStatus.created_at", status.created_at)?;
    ctx.stop_pod(&pod.id).await?;
    let stopped = ctx.pod_status(&pod.id).await?;
    let expected =
        PodSandboxStatus { state: PodSandboxState::SandboxNotready.into(), network: stopped.network.clone(), ..status };
    same("PodSandboxStatus after a stop", &stopped, &expected)
}

async fn list_gives_back_the_config(ctx: Ctx) -> Checked {
    let window = Window::open();
    let pod = ctx.run_pod(full(&ctx)?).await?;
    let window = window.close();
    let status = ctx.pod_status(&pod.id).await?;
    for filter in [None, Some(PodSandboxFilter { id: pod.id.clone(), ..Default::default() })] {
        let listed = ctx.list_pod_sandbox(ListPodSandboxRequest { filter }).await?.items;
        let mut ours = listed.into_iter().filter(|one| one.id == pod.id);
        let item = present("our pod in ListPodSandbox", ours.next())?;
        holds("our pod in ListPodSandbox", ours.next().is_none(), "once", "more than once")?;
        let expected = PodSandbox {
            id: pod.id.clone(),
            metadata: pod.config.metadata.clone(),
            state: PodSandboxState::SandboxReady.into(),
            created_at: status.created_at,
            labels: pod.config.labels.clone(),
            annotations: pod.config.annotations.clone(),
            runtime_handler: ctx.handler().to_owned(),
        };
        same("PodSandbox in ListPodSandbox", &item, &expected)?;
        window.holds("PodSandbox.created_at", item.created_at)?;
    }
    Ok(())
}

async fn verbose(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let plain = ctx.try_pod_status(&pod.id).await?;
    equal("PodSandboxStatusResponse.info without verbose", plain.info.len(), 0)?;
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
    let verbose = ctx.pod_sandbox_status(request).await?;
    holds("PodSandboxStatusResponse.info with verbose", !verbose.info.is_empty(), "something", &verbose.info)?;
    equal("PodSandboxStatusResponse.status with verbose", verbose.status, plain.status)
}

async fn address(ctx: Ctx) -> Checked {
    let (one, two) = (ctx.run_pod(ctx.networked_pod("one")?).await?, ctx.run_pod(ctx.networked_pod("two")?).await?);
    let mut addresses = Vec::new();
    for pod in [&one, &two] {
        let network = present("PodSandboxStatus.network", ctx.pod_status(&pod.id).await?.network)?;
        let more = network.additional_ips.iter().map(|more| &more.ip);
        for address in std::iter::once(&network.ip).chain(more) {
            let parsed = address.parse::<std::net::IpAddr>();
            holds("PodSandboxNetworkStatus.ip", parsed.is_ok(), "an IP address", address)?;
            holds("PodSandboxNetworkStatus.ip", !addresses.contains(address), "an address of its own", address)?;
            addresses.push(address.clone());
        }
        let container = ctx.container("address", &["cat", "/proc/net/fib_trie"]);
        let (_, output) = ctx.run_to_end(pod, &crate::make::as_in(pod, container)).await?;
        if network.ip.contains('.') {
            let inside = output.stdout.contains(&format!("|-- {}\n", network.ip));
            holds("the address in the pod's own network", inside, &network.ip, &output.stdout)?;
        }
    }
    let host = ctx.new_pod().await?;
    let network = ctx.pod_status(&host.id).await?.network.unwrap_or_default();
    equal("PodSandboxNetworkStatus.ip with the node's network", network.ip.as_str(), "")?;
    equal("PodSandboxNetworkStatus.additional_ips with the node's network", network.additional_ips.len(), 0)
}

async fn released(ctx: Ctx) -> Checked {
    let pod = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let network = present("PodSandboxStatus.network", ctx.pod_status(&pod.id).await?.network)?;
    holds("PodSandboxNetworkStatus.ip", !network.ip.is_empty(), "an address", &network)?;
    ctx.stop_pod(&pod.id).await?;
    let stopped = ctx.pod_status(&pod.id).await?;
    equal("PodSandboxStatus.state", stopped.state(), PodSandboxState::SandboxNotready)?;
    // Runtimes differ in whether they go on telling the address; nobody may be told another.
    let ip = stopped.network.unwrap_or_default().ip;
    holds("PodSandboxNetworkStatus.ip after a stop", ip.is_empty() || ip == network.ip, "none or the old one", &ip)
}

/// A container of whose status much is to be told.
fn telling(ctx: &Ctx) -> ContainerConfig {
    let mut config = ctx.container("running", &["sleep"]);
    config.metadata.get_or_insert_default().attempt = 2;
    config.labels.insert("example.org/kind".to_owned(), "a".to_owned());
    config.annotations.insert("example.org/note".to_owned(), "a note".to_owned());
    config.annotations.insert("example.org/other".to_owned(), "another".to_owned());
    *resources(&mut config) = LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 500,
        ..Default::default()
    };
    let context = security(&mut config);
    context.run_as_user = Some(Int64Value { value: 1000 });
    context.supplemental_groups = vec![4444];
    config
}

async fn lists_containers(ctx: Ctx) -> Checked {
    // What a runtime does that does not offer events is its own affair.
    ctx.get_container_events().await?;
    let pod = ctx.new_pod().await?;
    let window = Window::open();
    let empty = ctx.try_pod_status(&pod.id).await?;
    window.close().holds("PodSandboxStatusResponse.timestamp", empty.timestamp)?;
    equal("PodSandboxStatusResponse.containers_statuses of a new sandbox", empty.containers_statuses.len(), 0)?;
    let running = ctx.start(&pod, &telling(&ctx)).await?;
    let created = ctx.create(&pod, &ctx.container("created", &["pause"])).await?;
    let exited = ctx.start(&pod, &ctx.container("exited", &["exit", "3"])).await?;
    ctx.ended(&exited).await?;
    // One of which there is something to say.
    let mut config = ctx.container("broken", &[]);
    config.command = vec!["/no/such/program".to_owned()];
    let broken = ctx.create(&pod, &config).await?;
    fails("StartContainer of a program that is not there", ctx.start_id(&broken).await)?;
    ctx.ended(&broken).await?;
    let statuses = ctx.try_pod_status(&pod.id).await?.containers_statuses;
    equal("PodSandboxStatusResponse.containers_statuses: how many", statuses.len(), 4)?;
    for id in [running, created, exited, broken] {
        let found = statuses.iter().find(|status| status.id == id);
        let found = present("a container in PodSandboxStatusResponse.containers_statuses", found)?;
        let mut expected = ctx.status_of(&id).await?;
        // The same as in ContainerStatus, except for what only that has to look up.
        expected.mounts.clone_from(&found.mounts);
        same("PodSandboxStatusResponse.containers_statuses", found, &expected)?;
    }
    Ok(())
}
