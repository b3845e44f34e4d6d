//! Whose namespaces containers are in.

use std::{collections::BTreeMap, fs};

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{as_said, equal, holds, present},
    make::{Pod, as_in, namespace_options, security},
    verdict::{Checked, Stop},
};

checks! {
    "namespaces/pid-container", "NamespaceMode CONTAINER of pid: each container has its own processes", [], pid_container;
    "namespaces/pid-pod", "NamespaceMode POD of pid: the containers of a sandbox see each other's processes", [], pid_pod;
    "namespaces/pid-node", "NamespaceMode NODE of pid: containers see the node's processes", [], pid_node;
    "namespaces/pid-target", "NamespaceMode TARGET of pid: the processes of the container target_id",
        ["NamespaceMode=TARGET"], pid_target;
    "namespaces/network", "NamespaceMode of network: the sandbox's own, or the node's", [], network;
    "namespaces/ipc", "NamespaceMode of ipc: the sandbox's own, or the node's", [], ipc;
    "namespaces/user",
        "NamespaceOption.userns_options: the containers' ids are mapped to ids of the node, if the handler's features say so",
        ["NamespaceOption.userns_options", "RuntimeHandlerFeatures.user_namespaces"], user;
    "namespaces/user-with-the-nodes-network",
        "RuntimeFeatures.user_namespaces_host_network: a pod has a user namespace and the node's network if and only if it is set",
        ["RuntimeFeatures.user_namespaces_host_network"], user_with_network;
}

async fn pod(ctx: &Ctx, change: impl FnOnce(&mut NamespaceOption)) -> Checked<Pod> {
    let mut config = ctx.pod("pod")?;
    change(namespace_options(&mut config));
    ctx.run_pod(config).await
}

/// The namespaces of a container by kind, as in `net:[4026531840]`.
async fn of(ctx: &Ctx, id: &str) -> Checked<BTreeMap<String, String>> {
    let said = ctx.said(id, &["namespaces"]).await?;
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(kind, value)| (kind.to_owned(), value.to_owned())).collect())
}

fn of_the_node(kind: &str) -> Checked<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}"));
    Ok(link.map_err(|error| Stop::node("read /proc/self/ns", error))?.display().to_string())
}

/// Two containers that sleep, of a pod.
async fn two(ctx: &Ctx, pod: &Pod) -> Checked<[String; 2]> {
    let start = async |name: &str| ctx.start(pod, &as_in(pod, ctx.container(name, &["sleep"]))).await;
    Ok([start("one").await?, start("two").await?])
}

async fn pid_container(ctx: Ctx) -> Checked {
    let pod = pod(&ctx, |options| options.pid = NamespaceMode::Container.into()).await?;
    let [one, two] = two(&ctx, &pod).await?;
    let (first, second) = (of(&ctx, &one).await?, of(&ctx, &two).await?);
    holds("the PID namespaces of two containers", first.get("pid") != second.get("pid"), "two", &first)?;
    let seen = ctx.said(&one, &["processes"]).await?;
    let sleeping = seen.lines().filter(|line| line.ends_with(" sleep")).count();
    equal(format!("the containers' processes that are seen in {seen:?}"), sleeping, 1)
}

async fn pid_pod(ctx: Ctx) -> Checked {
    let pod = pod(&ctx, |options| options.pid = NamespaceMode::Pod.into()).await?;
    let [one, two] = two(&ctx, &pod).await?;
    let (first, second) = (of(&ctx, &one).await?, of(&ctx, &two).await?);
    equal("the PID namespaces of two containers", first.get("pid"), second.get("pid"))?;
    holds("the PID namespace", first.get("pid") != Some(&of_the_node("pid")?), "not the node's", &first)?;
    let seen = ctx.said(&one, &["processes"]).await?;
    let sleeping = seen.lines().filter(|line| line.ends_with(" sleep")).count();
    equal(format!("the containers' processes that are seen in {seen:?}"), sleeping, 2)
}

async fn pid_node(ctx: Ctx) -> Checked {
    let pod = pod(&ctx, |options| options.pid = NamespaceMode::Node.into()).await?;
    let [one, _] = two(&ctx, &pod).await?;
    equal("the PID namespace", of(&ctx, &one).await?.get("pid"), Some(&of_the_node("pid")?))
}

async fn pid_target(ctx: Ctx) -> Checked {
    let pod = pod(&ctx, |_| {}).await?;
    let [one, two] = two(&ctx, &pod).await?;
    let mut config = as_in(&pod, ctx.container("three", &["sleep", "1000"]));
    let options = security(&mut config).namespace_options.get_or_insert_default();
    options.pid = NamespaceMode::Target.into();
    options.target_id.clone_from(&one);
    let three = ctx.start(&pod, &config).await?;
    equal("the PID namespace of the target", of(&ctx, &three).await?.get("pid"), of(&ctx, &one).await?.get("pid"))?;
    let other = of(&ctx, &two).await?;
    holds("the PID namespace of another", of(&ctx, &three).await?.get("pid") != other.get("pid"), "another", &other)?;
    let seen = ctx.said(&three, &["processes"]).await?;
    holds("the target's process", seen.lines().any(|line| line.ends_with(" sleep")), "it is seen", &seen)
}

async fn network(ctx: Ctx) -> Checked {
    let own = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let [one, two_] = two(&ctx, &own).await?;
    let (first, second) = (of(&ctx, &one).await?, of(&ctx, &two_).await?);
    equal("the network namespaces of two containers", first.get("net"), second.get("net"))?;
    let node = of_the_node("net")?;
    holds("the network namespace of a sandbox", first.get("net") != Some(&node), "not the node's", &first)?;
    let host = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&host).await?;
    equal("the network namespace with the node's", of(&ctx, &id).await?.get("net"), Some(&node))?;
    let told = ctx.pod_status(&own.id).await?.linux.and_then(|linux| linux.namespaces?.options);
    let told = present("PodSandboxStatus.linux.namespaces.options", told)?;
    equal("NamespaceOption.network of a sandbox", told.network(), NamespaceMode::Pod)
}

async fn ipc(ctx: Ctx) -> Checked {
    let node = of_the_node("ipc")?;
    let own = pod(&ctx, |options| options.ipc = NamespaceMode::Pod.into()).await?;
    let [one, two_] = two(&ctx, &own).await?;
    let (first, second) = (of(&ctx, &one).await?, of(&ctx, &two_).await?);
    equal("the IPC namespaces of two containers", first.get("ipc"), second.get("ipc"))?;
    holds("the IPC namespace of a sandbox", first.get("ipc") != Some(&node), "not the node's", &first)?;
    ctx.said(&one, &["write", "/dev/shm/shared", "seen"]).await?;
    equal("/dev/shm of another container", ctx.said(&two_, &["cat", "/dev/shm/shared"]).await?.trim_end(), "seen")?;
    let host = pod(&ctx, |options| options.ipc = NamespaceMode::Node.into()).await?;
    let id = ctx.start(&host, &as_in(&host, ctx.container("c", &["sleep"]))).await?;
    equal("the IPC namespace with the node's", of(&ctx, &id).await?.get("ipc"), Some(&node))
}

fn users() -> UserNamespace {
    let mapping = IdMapping { host_id: 3_000_000, container_id: 0, length: 65_536 };
    UserNamespace { mode: NamespaceMode::Pod.into(), uids: vec![mapping], gids: vec![mapping] }
}

/// A container of a pod with a user namespace; none if the runtime refuses that, or does not do it.
async fn mapped(ctx: &Ctx, mut config: PodSandboxConfig, mounts: Vec<Mount>) -> Checked<Option<String>> {
    namespace_options(&mut config).userns_options = Some(users());
    let Ok(id) = ctx.try_run(&config).await else { return Ok(None) };
    let pod = Pod { id, config };
    let container = ContainerConfig { mounts, ..ctx.container("c", &["sleep"]) };
    let Ok(id) = ctx.try_create(&pod, &as_in(&pod, container)).await else { return Ok(None) };
    if ctx.start_id(&id).await.is_err() {
        return Ok(None);
    }
    let mapping = ctx.said(&id, &["cat", "/proc/self/uid_map"]).await?;
    Ok(mapping.split_whitespace().eq(["0", "3000000", "65536"]).then_some(id))
}

/// Whether a pod can have a user namespace, and a volume whose owners are mapped: the feature stands for both.
async fn maps_volumes(ctx: &Ctx) -> Checked<bool> {
    let volume = Mount {
        host_path: ctx.directory()?.display().to_string(),
        container_path: "/mnt".to_owned(),
        uid_mappings: users().uids,
        gid_mappings: users().gids,
        ..Default::default()
    };
    let Some(id) = mapped(ctx, ctx.networked_pod("pod")?, vec![volume]).await? else { return Ok(false) };
    Ok(ctx.said(&id, &["stat", "/mnt"]).await?.trim_end().ends_with(" 0 0"))
}

async fn user_with_network(ctx: Ctx) -> Checked {
    let feature = "RuntimeFeatures.user_namespaces_host_network";
    let features = ctx.status(StatusRequest { verbose: false }).await?.features;
    let said = features.is_some_and(|features| features.user_namespaces_host_network);
    let mut seen = false;
    if let Some(id) = mapped(&ctx, ctx.pod("pod")?, Vec::new()).await? {
        seen = of(&ctx, &id).await?.get("net") == Some(&of_the_node("net")?);
    }
    as_said(feature, said, seen)
}

async fn user(ctx: Ctx) -> Checked {
    let handlers = ctx.status(StatusRequest { verbose: false }).await?.runtime_handlers;
    let handler = handlers.iter().find(|handler| handler.name == ctx.handler());
    if !handler.and_then(|handler| handler.features).is_some_and(|features| features.user_namespaces) {
        return as_said("RuntimeHandlerFeatures.user_namespaces", false, maps_volumes(&ctx).await?);
    }
    let users = users();
    let mut config = ctx.networked_pod("pod")?;
    namespace_options(&mut config).userns_options = Some(users.clone());
    let pod = ctx.run_pod(config).await?;
    let id = ctx.start(&pod, &as_in(&pod, ctx.container("c", &["sleep"]))).await?;
    for file in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let seen = ctx.said(&id, &["cat", file]).await?;
        equal(file, seen.split_whitespace().collect::<Vec<_>>(), vec!["0", "3000000", "65536"])?;
    }
    let told = ctx.pod_status(&pod.id).await?.linux.and_then(|linux| linux.namespaces?.options);
    equal(
        "NamespaceOption.userns_options in PodSandboxStatus",
        told.and_then(|options| options.userns_options),
        Some(users),
    )
}
