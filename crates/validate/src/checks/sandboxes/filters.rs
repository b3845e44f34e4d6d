//! ListPodSandbox and what it leaves out.

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
    "sandboxes/list-filters-by-id", "PodSandboxFilter.id: the sandbox of this id", [], by_id;
    "sandboxes/list-filters-by-state", "PodSandboxFilter.state: the sandboxes in this state", [], by_state;
    "sandboxes/list-filters-by-labels",
        "PodSandboxFilter.label_selector: only exact matches, all of them, are selected", [], by_labels;
    "sandboxes/list-filters-combine", "PodSandboxFilter: all those conditions are combined with 'AND'", [], combined;
    "sandboxes/stream-says-what-the-list-says",
        "StreamPodSandboxes: ListPodSandbox as a stream, with the same filter",
        ["RuntimeService/StreamPodSandboxes"], streamed;
}

/// Three pods: `one` and `two` with the label `kind` (`a`, `b`), `three` without and stopped.
async fn three(ctx: &Ctx) -> Checked<[Pod; 3]> {
    let labelled = |kind: Option<&str>| -> Checked<PodSandboxConfig> {
        let mut config = ctx.pod("pod")?;
        if let Some(kind) = kind {
            config.labels.insert("kind".to_owned(), kind.to_owned());
            config.labels.insert("both".to_owned(), "yes".to_owned());
        }
        Ok(config)
    };
    let one = ctx.run_pod(labelled(Some("a"))?).await?;
    let two = ctx.run_pod(labelled(Some("b"))?).await?;
    let three = ctx.run_pod(labelled(None)?).await?;
    ctx.stop_pod(&three.id).await?;
    Ok([one, two, three])
}

fn state(state: PodSandboxState) -> Option<PodSandboxStateValue> {
    Some(PodSandboxStateValue { state: state.into() })
}

fn labels(ctx: &Ctx, more: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ctx.labels().into_iter().chain(more).collect()
}

/// That a filter selects exactly these: of all that is listed, so that nobody else's are among them.
async fn selects(ctx: &Ctx, what: &str, filter: PodSandboxFilter, expected: &[&Pod]) -> Checked {
    let items = ctx.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?.items;
    let ids: Vec<&str> = items.iter().map(|pod| pod.id.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let expected: BTreeSet<&str> = expected.iter().map(|pod| pod.id.as_str()).collect();
    equal(format!("ListPodSandbox {what}: how many"), items.len(), expected.len())?;
    equal(format!("ListPodSandbox {what}: ids"), ids, expected.into_iter().collect::<Vec<_>>())
}

async fn by_id(ctx: Ctx) -> Checked {
    let [one, two, three] = three(&ctx).await?;
    for pod in [&one, &two, &three] {
        selects(&ctx, "by id", PodSandboxFilter { id: pod.id.clone(), ..Default::default() }, &[pod]).await?;
    }
    let unknown = PodSandboxFilter { id: "f".repeat(64), ..Default::default() };
    selects(&ctx, "by an unknown id", unknown, &[]).await
}

async fn by_state(ctx: Ctx) -> Checked {
    let [one, two, three] = three(&ctx).await?;
    let of = |wanted| PodSandboxFilter { state: state(wanted), label_selector: ctx.labels(), ..Default::default() };
    selects(&ctx, "that are ready", of(PodSandboxState::SandboxReady), &[&one, &two]).await?;
    selects(&ctx, "that are not ready", of(PodSandboxState::SandboxNotready), &[&three]).await?;
    for (wanted, ours) in [(PodSandboxState::SandboxReady, &one), (PodSandboxState::SandboxNotready, &three)] {
        let filter = PodSandboxFilter { state: state(wanted), ..Default::default() };
        let items = ctx.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await?.items;
        equal("PodSandbox.state of those in a state", items.iter().all(|pod| pod.state() == wanted), true)?;
        equal("our pod among those in a state", items.iter().filter(|pod| pod.id == ours.id).count(), 1)?;
    }
    Ok(())
}

async fn by_labels(ctx: Ctx) -> Checked {
    let [one, two, three] = three(&ctx).await?;
    let of = |more: &[(&str, &str)]| PodSandboxFilter { label_selector: labels(&ctx, more), ..Default::default() };
    selects(&ctx, "with the check's labels", of(&[]), &[&one, &two, &three]).await?;
    selects(&ctx, "with kind=a", of(&[("kind", "a")]), &[&one]).await?;
    selects(&ctx, "with kind=b", of(&[("kind", "b"), ("both", "yes")]), &[&two]).await?;
    selects(&ctx, "with both=yes", of(&[("both", "yes")]), &[&one, &two]).await?;
    for nothing in [("kind", ""), ("kind", "A"), ("kind", "c"), ("none", "a")] {
        selects(&ctx, &format!("with {nothing:?}"), of(&[nothing]), &[]).await?;
    }
    Ok(())
}

async fn combined(ctx: Ctx) -> Checked {
    let [one, _, three] = three(&ctx).await?;
    let of = |pod: &Pod, wanted, kind: &str| PodSandboxFilter {
        id: pod.id.clone(),
        state: state(wanted),
        label_selector: labels(&ctx, &[("kind", kind)]),
    };
    selects(&ctx, "by id, state and label", of(&one, PodSandboxState::SandboxReady, "a"), &[&one]).await?;
    selects(&ctx, "by id and label of another", of(&one, PodSandboxState::SandboxReady, "b"), &[]).await?;
    selects(&ctx, "by another state", of(&one, PodSandboxState::SandboxNotready, "a"), &[]).await?;
    selects(&ctx, "by id of another", of(&three, PodSandboxState::SandboxReady, "a"), &[]).await
}

async fn streamed(ctx: Ctx) -> Checked {
    let [one, two, three] = three(&ctx).await?;
    let filters = [
        PodSandboxFilter { label_selector: ctx.labels(), ..Default::default() },
        PodSandboxFilter { id: two.id.clone(), ..Default::default() },
        PodSandboxFilter {
            state: state(PodSandboxState::SandboxNotready),
            label_selector: ctx.labels(),
            ..Default::default()
        },
        PodSandboxFilter { label_selector: labels(&ctx, &[("kind", "c")]), ..Default::default() },
    ];
    let by_id = |mut pods: Vec<PodSandbox>| {
        pods.sort_by(|left, right| left.id.cmp(&right.id));
        ListPodSandboxResponse { items: pods }
    };
    for filter in filters {
        let filter = Some(filter);
        let listed = ctx.list_pod_sandbox(ListPodSandboxRequest { filter: filter.clone() }).await?.items;
        let streamed = ctx.stream_pod_sandboxes(StreamPodSandboxesRequest { filter: filter.clone() }).await?;
        let streamed = streamed.into_iter().flat_map(|batch| batch.pod_sandboxes).collect();
        same("StreamPodSandboxes", &by_id(streamed), &by_id(listed))?;
    }
    let all = ctx.stream_pod_sandboxes(StreamPodSandboxesRequest { filter: None }).await?;
    let ids: Vec<String> = all.into_iter().flat_map(|batch| batch.pod_sandboxes).map(|pod| pod.id).collect();
    for pod in [&one, &two, &three] {
        equal("our pod in StreamPodSandboxes without a filter", ids.iter().filter(|id| **id == pod.id).count(), 1)?;
    }
    Ok(())
}
