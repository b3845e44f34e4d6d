//! ListContainers and what it leaves out.

use std::collections::BTreeSet;

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, same},
    make::Pod,
    verdict::Checked,
};

checks! {
    "containers/list-filters-by-id", "ContainerFilter.id: the container of this id", [], by_id;
    "containers/list-filters-by-state", "ContainerFilter.state: the containers in this state", [], by_state;
    "containers/list-filters-by-sandbox", "ContainerFilter.pod_sandbox_id: the containers of this sandbox", [], by_sandbox;
    "containers/list-filters-by-labels",
        "ContainerFilter.label_selector: only exact matches, all of them, are selected", [], by_labels;
    "containers/list-filters-combine", "ContainerFilter: all those conditions are combined with 'AND'", [], combined;
    "containers/stream-says-what-the-list-says",
        "StreamContainers: ListContainers as a stream, with the same filter",
        ["RuntimeService/StreamContainers"], streamed;
}

/// Two pods, and the containers `created` (kind=a), `running` (kind=b) and `exited` in the first, `other` (kind=a) in the
/// second, which runs.
struct World {
    pods: [Pod; 2],
    created: String,
    running: String,
    exited: String,
    other: String,
}

async fn world(ctx: &Ctx) -> Checked<World> {
    let pods = [ctx.new_pod().await?, ctx.new_pod().await?];
    let labelled = |name: &str, kind: &str| {
        let mut config = ctx.container(name, &["sleep"]);
        config.labels.insert("kind".to_owned(), kind.to_owned());
        config.labels.insert("both".to_owned(), "yes".to_owned());
        config
    };
    let [first, second] = &pods;
    let created = ctx.create(first, &labelled("created", "a")).await?;
    let running = ctx.start(first, &labelled("running", "b")).await?;
    let exited = ctx.start(first, &ctx.container("exited", &["exit", "0"])).await?;
    ctx.ended(&exited).await?;
    let other = ctx.start(second, &labelled("other", "a")).await?;
    Ok(World { pods, created, running, exited, other })
}

fn state(state: ContainerState) -> Option<ContainerStateValue> {
    Some(ContainerStateValue { state: state.into() })
}

fn labelled(ctx: &Ctx, more: &[(&str, &str)]) -> ContainerFilter {
    let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ContainerFilter { label_selector: ctx.labels().into_iter().chain(more).collect(), ..Default::default() }
}

async fn selects(ctx: &Ctx, what: &str, filter: ContainerFilter, expected: &[&String]) -> Checked {
    let listed = ctx.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
    let ids: BTreeSet<&String> = listed.iter().map(|container| &container.id).collect();
    equal(format!("ListContainers {what}: how many"), listed.len(), expected.len())?;
    equal(format!("ListContainers {what}: ids"), ids, expected.iter().copied().collect::<BTreeSet<_>>())
}

async fn by_id(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    for id in [&world.created, &world.running, &world.exited, &world.other] {
        selects(&ctx, "by id", ContainerFilter { id: id.clone(), ..Default::default() }, &[id]).await?;
    }
    selects(&ctx, "by an unknown id", ContainerFilter { id: "f".repeat(64), ..Default::default() }, &[]).await
}

async fn by_state(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    let cases = [
        (ContainerState::ContainerCreated, vec![&world.created]),
        (ContainerState::ContainerRunning, vec![&world.running, &world.other]),
        (ContainerState::ContainerExited, vec![&world.exited]),
        (ContainerState::ContainerUnknown, vec![]),
    ];
    for (wanted, expected) in cases {
        let filter = ContainerFilter { state: state(wanted), ..labelled(&ctx, &[]) };
        selects(&ctx, &format!("by {wanted:?}"), filter, &expected).await?;
        let filter = ContainerFilter { state: state(wanted), ..Default::default() };
        let listed = ctx.list_containers(ListContainersRequest { filter: Some(filter) }).await?.containers;
        equal("Container.state of those in a state", listed.iter().all(|one| one.state() == wanted), true)?;
        let ours = listed.iter().filter(|one| expected.contains(&&one.id)).count();
        equal(format!("our containers among those in {wanted:?}"), ours, expected.len())?;
    }
    Ok(())
}

async fn by_sandbox(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    let [first, second] = &world.pods;
    let filter = Some(ContainerFilter { pod_sandbox_id: first.id.clone(), ..Default::default() });
    for one in ctx.list_containers(ListContainersRequest { filter }).await?.containers {
        let name = one.metadata.unwrap_or_default().name;
        let expected = [(&world.created, "created"), (&world.running, "running"), (&world.exited, "exited")];
        let expected = expected.into_iter().find_map(|(id, name)| (*id == one.id).then_some(name));
        equal("Container.metadata.name of an id", Some(name.as_str()), expected)?;
    }
    let of = |pod: &Pod| ContainerFilter { pod_sandbox_id: pod.id.clone(), ..Default::default() };
    selects(&ctx, "of a sandbox", of(first), &[&world.created, &world.running, &world.exited]).await?;
    selects(&ctx, "of another sandbox", of(second), &[&world.other]).await?;
    let unknown = ContainerFilter { pod_sandbox_id: "f".repeat(64), ..Default::default() };
    selects(&ctx, "of an unknown sandbox", unknown, &[]).await
}

async fn by_labels(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    let all = [&world.created, &world.running, &world.exited, &world.other];
    selects(&ctx, "with the check's labels", labelled(&ctx, &[]), &all).await?;
    selects(&ctx, "with kind=a", labelled(&ctx, &[("kind", "a")]), &[&world.created, &world.other]).await?;
    let both = labelled(&ctx, &[("kind", "b"), ("both", "yes")]);
    selects(&ctx, "with two labels", both, &[&world.running]).await?;
    for nothing in [("kind", ""), ("kind", "A"), ("kind", "c"), ("none", "a")] {
        selects(&ctx, &format!("with {nothing:?}"), labelled(&ctx, &[nothing]), &[]).await?;
    }
    Ok(())
}

async fn combined(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    let [first, second] = &world.pods;
    let of = |id: &str, pod: &Pod, wanted, kind: &str| ContainerFilter {
        id: id.to_owned(),
        state: state(wanted),
        pod_sandbox_id: pod.id.clone(),
        ..labelled(&ctx, &[("kind", kind)])
    };
    let running = ContainerState::ContainerRunning;
    selects(&ctx, "by everything", of(&world.running, first, running, "b"), &[&world.running]).await?;
    selects(&ctx, "by everything without an id", of("", second, running, "a"), &[&world.other]).await?;
    selects(&ctx, "by another label", of(&world.running, first, running, "a"), &[]).await?;
    selects(&ctx, "by another sandbox", of(&world.running, second, running, "b"), &[]).await?;
    selects(&ctx, "by another id", of(&world.created, first, running, "b"), &[]).await?;
    let created = ContainerState::ContainerCreated;
    selects(&ctx, "by another state", of(&world.running, first, created, "b"), &[]).await
}

async fn streamed(ctx: Ctx) -> Checked {
    let world = world(&ctx).await?;
    let [first, _] = &world.pods;
    let filters = [
        labelled(&ctx, &[]),
        labelled(&ctx, &[("kind", "c")]),
        ContainerFilter { id: world.exited.clone(), ..Default::default() },
        ContainerFilter { pod_sandbox_id: first.id.clone(), ..Default::default() },
        ContainerFilter { state: state(ContainerState::ContainerCreated), ..labelled(&ctx, &[]) },
    ];
    let by_id = |mut containers: Vec<Container>| {
        containers.sort_by(|left, right| left.id.cmp(&right.id));
        ListContainersResponse { containers }
    };
    for filter in filters {
        let filter = Some(filter);
        let listed = ctx.list_containers(ListContainersRequest { filter: filter.clone() }).await?.containers;
        let streamed = ctx.stream_containers(StreamContainersRequest { filter }).await?;
        let streamed = streamed.into_iter().flat_map(|batch| batch.containers).collect();
        same("StreamContainers", &by_id(streamed), &by_id(listed))?;
    }
    let all = ctx.stream_containers(StreamContainersRequest { filter: None }).await?;
    let ids: Vec<String> = all.into_iter().flat_map(|batch| batch.containers).map(|one| one.id).collect();
    for ours in [&world.created, &world.running, &world.exited, &world.other] {
        equal("our container in StreamContainers without a filter", ids.iter().filter(|id| *id == ours).count(), 1)?;
    }
    Ok(())
}
