//! GetContainerEvents.

use corten_cri::v1::{ContainerEventType::*, *};

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present, same},
    make::as_in,
    rpc::Events,
    time::Window,
    verdict::Checked,
};

checks! {
    "events/a-containers-life",
        "GetContainerEvents: created, started, stopped and deleted, each once, in order, with the statuses after it",
        ["RuntimeService/GetContainerEvents", "ContainerEventResponse.pod_sandbox_status"], life;
    "events/a-stop-is-told", "GetContainerEvents: a container that StopContainer ends is told as stopped",
        ["RuntimeService/GetContainerEvents"], stop;
    "events/every-listener-hears", "GetContainerEvents: each stream has all events from when it was opened on",
        ["RuntimeService/GetContainerEvents"], listeners;
    "events/a-sandboxs-end",
        "GetContainerEvents: the containers of a sandbox that is stopped are told as stopped",
        ["RuntimeService/GetContainerEvents"], sandbox_end;
}

async fn life(ctx: Ctx) -> Checked {
    let mut events = ctx.get_container_events().await?;
    let pod = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let mut config = as_in(&pod, ctx.container("c", &["sleep", "0.05", "then", "exit", "5"]));
    config.annotations.insert("example.org/note".to_owned(), "a note".to_owned());
    config.metadata.get_or_insert_default().attempt = 2;
    let window = Window::open();
    let id = ctx.create(&pod, &config).await?;
    let created = expect(&mut events, ContainerCreatedEvent, &id).await?;
    told(&ctx, &created, &id, ContainerState::ContainerCreated)?;
    ctx.start_id(&id).await?;
    let started = expect(&mut events, ContainerStartedEvent, &id).await?;
    told(&ctx, &started, &id, ContainerState::ContainerRunning)?;
    let stopped = expect(&mut events, ContainerStoppedEvent, &id).await?;
    told(&ctx, &stopped, &id, ContainerState::ContainerExited)?;
    let status = ctx.status_of(&id).await?;
    let inner = stopped.containers_statuses.iter().find(|status| status.id == id);
    if let Some(inner) = inner {
        let expected = ContainerStatus { mounts: inner.mounts.clone(), ..status };
        same("ContainerEventResponse.containers_statuses", inner, &expected)?;
    }
    ctx.remove(&id).await?;
    let deleted = expect(&mut events, ContainerDeletedEvent, &id).await?;
    let left = deleted.containers_statuses.iter().any(|status| status.id == id);
    equal("whether a deleted container is among ContainerEventResponse.containers_statuses", left, false)?;
    let window = window.close();
    let times = [&created, &started, &stopped, &deleted].map(|event| event.created_at);
    holds("ContainerEventResponse.created_at", times.is_sorted(), "in order", times)?;
    for (event, time) in [&created, &started, &stopped, &deleted].into_iter().zip(times) {
        window.holds("ContainerEventResponse.created_at", time)?;
        let sandbox = present("ContainerEventResponse.pod_sandbox_status", event.pod_sandbox_status.clone())?;
        // With its addresses: the kubelet does not ask for them again.
        same("ContainerEventResponse.pod_sandbox_status", &sandbox, &ctx.pod_status(&pod.id).await?)?;
    }
    Ok(())
}

async fn expect(events: &mut Events, kind: ContainerEventType, id: &str) -> Checked<ContainerEventResponse> {
    let what = format!("GetContainerEvents: {}", kind.as_str_name());
    let event = events.next(&what, &[id]).await?;
    equal(what, event.container_event_type(), kind)?;
    Ok(event)
}

/// The next event of a container that was started before the stream was opened: that it started may be told still.
async fn expect_after_start(
    events: &mut Events,
    kind: ContainerEventType,
    id: &str,
) -> Checked<ContainerEventResponse> {
    let what = format!("GetContainerEvents: {}", kind.as_str_name());
    let mut event = events.next(&what, &[id]).await?;
    if event.container_event_type() == ContainerStartedEvent {
        event = events.next(&what, &[id]).await?;
    }
    equal(what, event.container_event_type(), kind)?;
    Ok(event)
}

/// That an event's statuses are of its container in a state, and of nothing else.
fn told(ctx: &Ctx, event: &ContainerEventResponse, id: &str, state: ContainerState) -> Checked {
    let statuses: Vec<_> =
        event.containers_statuses.iter().map(|status| (status.id.as_str(), status.state())).collect();
    if event.container_event_type() == ContainerStartedEvent {
        // It may have ended meanwhile.
        let known = statuses.iter().all(|(one, _)| *one == id) && statuses.len() == 1;
        return holds("ContainerEventResponse.containers_statuses", known, "the container's", statuses);
    }
    equal("ContainerEventResponse.containers_statuses", statuses, vec![(id, state)])?;
    let labels = event.containers_statuses.iter().all(|status| status.labels == ctx.labels());
    equal("labels in ContainerEventResponse.containers_statuses", labels, true)
}

async fn stop(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    ctx.start(&pod, &ctx.container("other", &["sleep"])).await?;
    let mut events = ctx.get_container_events().await?;
    ctx.stop(&id, 0).await?;
    let event = expect_after_start(&mut events, ContainerStoppedEvent, &id).await?;
    let ours = event.containers_statuses.iter().filter(|status| status.id == id);
    let codes: Vec<i32> = ours.map(|status| status.exit_code).collect();
    equal("exit codes in ContainerEventResponse.containers_statuses", codes, vec![137])?;
    for status in &event.containers_statuses {
        let known = ctx.status_of(&status.id).await?;
        let (told, known) = ((&status.metadata, status.state), (&known.metadata, known.state));
        equal("metadata and state in ContainerEventResponse.containers_statuses", told, known)?;
    }
    ctx.stop(&id, 0).await?;
    ctx.remove(&id).await?;
    // A second stop is no event.
    expect(&mut events, ContainerDeletedEvent, &id).await.map(drop)
}

async fn listeners(ctx: Ctx) -> Checked {
    let mut first = ctx.get_container_events().await?;
    let mut second = ctx.get_container_events().await?;
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let mut late = ctx.get_container_events().await?;
    ctx.stop(&id, 0).await?;
    for events in [&mut first, &mut second] {
        for kind in [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent] {
            expect(events, kind, &id).await?;
        }
    }
    expect_after_start(&mut late, ContainerStoppedEvent, &id).await.map(drop)
}

async fn sandbox_end(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let mut events = ctx.get_container_events().await?;
    ctx.stop_pod(&pod.id).await?;
    expect_after_start(&mut events, ContainerStoppedEvent, &id).await?;
    ctx.remove_pod(&pod.id).await?;
    expect(&mut events, ContainerDeletedEvent, &id).await.map(drop)
}
