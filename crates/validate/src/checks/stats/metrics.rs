//! Metrics: what there is of them, and what they say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds, present},
    time::{Closed, Window},
    verdict::Checked,
};

checks! {
    "metrics/are-described",
        "ListMetricDescriptors: every metric that ListPodSandboxMetrics returns, with its label keys",
        ["RuntimeService/ListMetricDescriptors", "RuntimeService/ListPodSandboxMetrics"], described;
    "metrics/name-their-container",
        "ContainerMetrics: the metrics of each container of a sandbox, by its id",
        ["RuntimeService/ListPodSandboxMetrics"], of_containers;
    "metrics/stream-says-what-the-list-says",
        "StreamPodSandboxMetrics: ListPodSandboxMetrics as a stream",
        ["RuntimeService/StreamPodSandboxMetrics", "RuntimeService/ListPodSandboxMetrics"], streamed;
}

/// The metrics of a sandbox and of its containers.
async fn of(ctx: &Ctx, pod: &str) -> Checked<PodSandboxMetrics> {
    let all = ctx.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await?.pod_metrics;
    let mut ours = all.into_iter().filter(|metrics| metrics.pod_sandbox_id == pod);
    let first = present("our sandbox in ListPodSandboxMetrics", ours.next())?;
    equal("our sandbox in ListPodSandboxMetrics: how often", 1 + ours.count(), 1)?;
    Ok(first)
}

async fn described(ctx: Ctx) -> Checked {
    let descriptors = ctx.list_metric_descriptors(ListMetricDescriptorsRequest {}).await?.descriptors;
    holds("ListMetricDescriptorsResponse.descriptors", !descriptors.is_empty(), "some", &descriptors)?;
    let mut keys = BTreeMap::new();
    for descriptor in &descriptors {
        holds("MetricDescriptor.name", !descriptor.name.is_empty(), "a name", descriptor)?;
        holds("MetricDescriptor.help", !descriptor.help.is_empty(), "a text", descriptor)?;
        let again = keys.insert(descriptor.name.clone(), descriptor.label_keys.clone());
        holds("MetricDescriptor.name", again.is_none(), "once each", descriptor)?;
    }
    let pod = ctx.new_pod().await?;
    ctx.start_sleeper(&pod).await?;
    let window = recent();
    let seen = of(&ctx, &pod.id).await?;
    plausible(&seen, &window.close())?;
    let all = seen.metrics.iter().chain(seen.container_metrics.iter().flat_map(|one| &one.metrics));
    for metric in all {
        let keys = present(format!("the descriptor of {}", metric.name), keys.get(&metric.name))?;
        equal(format!("Metric.label_values of {}: how many", metric.name), metric.label_values.len(), keys.len())?;
        holds("Metric.metric_type", MetricType::try_from(metric.metric_type).is_ok(), "COUNTER or GAUGE", metric)?;
        present(format!("Metric.value of {}", metric.name), metric.value)?;
    }
    Ok(())
}

/// Runtimes may keep metrics for a while.
fn recent() -> Window {
    let mut window = Window::open();
    window.reach_back(Duration::from_secs(60));
    window
}

/// That metrics are such as the kubelet can pass on: none twice, gathered now or not long ago, and of the type that their names say, as
/// they are those of cAdvisor.
fn plausible(metrics: &PodSandboxMetrics, window: &Closed) -> Checked {
    let mut known = BTreeSet::new();
    for metric in metrics.metrics.iter().chain(metrics.container_metrics.iter().flat_map(|one| &one.metrics)) {
        let first = known.insert((&metric.name, &metric.label_values));
        holds("Metric.name and label_values", first, "once each", metric)?;
        present(format!("Metric.value of {}", metric.name), metric.value)?;
        if metric.timestamp != 0 {
            window.holds("Metric.timestamp", metric.timestamp)?;
        }
        let is_counter = metric.metric_type() == MetricType::Counter;
        holds(
            "Metric.metric_type",
            is_counter || !metric.name.ends_with("_seconds_total"),
            "COUNTER of a time that adds up",
            metric,
        )?;
    }
    Ok(())
}

async fn of_containers(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let seen = of(&ctx, &pod.id).await?;
    let ids: Vec<&str> = seen.container_metrics.iter().map(|one| one.container_id.as_str()).collect();
    equal("ContainerMetrics.container_id", ids, vec![id.as_str()])?;
    let metrics = seen.container_metrics.iter().map(|one| one.metrics.len()).sum::<usize>();
    holds("ContainerMetrics.metrics", metrics > 0, "some", metrics)?;
    let values: BTreeSet<&String> =
        seen.container_metrics.iter().flat_map(|one| &one.metrics).flat_map(|metric| &metric.label_values).collect();
    let name = pod.config.metadata.clone().unwrap_or_default().name;
    holds("Metric.label_values", values.contains(&name), format!("the pod's name {name} among them"), &values)
}

async fn streamed(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    let id = ctx.start_sleeper(&pod).await?;
    let listed = of(&ctx, &pod.id).await?;
    let window = recent();
    let streamed = ctx.stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest {}).await?;
    let window = window.close();
    let streamed: Vec<PodSandboxMetrics> = streamed
        .into_iter()
        .flat_map(|batch| batch.pod_sandbox_metrics)
        .filter(|metrics| metrics.pod_sandbox_id == pod.id)
        .collect();
    let [streamed] = streamed.as_slice() else {
        return equal("our sandbox in StreamPodSandboxMetrics: how often", streamed.len(), 1);
    };
    plausible(streamed, &window)?;
    let names = |metrics: &PodSandboxMetrics| {
        let inner = metrics.container_metrics.iter().flat_map(|one| &one.metrics).map(|metric| ("container", metric));
        let all = metrics.metrics.iter().map(|metric| ("sandbox", metric)).chain(inner);
        all.map(|(of, one)| (of, one.name.clone(), one.metric_type, one.label_values.len())).collect::<BTreeSet<_>>()
    };
    equal("the metrics in StreamPodSandboxMetrics", names(streamed), names(&listed))?;
    let ids: Vec<&str> = streamed.container_metrics.iter().map(|one| one.container_id.as_str()).collect();
    equal("ContainerMetrics.container_id in StreamPodSandboxMetrics", ids, vec![id.as_str()])
}
