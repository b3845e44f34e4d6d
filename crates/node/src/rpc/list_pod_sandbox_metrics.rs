//! ListPodSandboxMetrics

use std::sync::Arc;

use corten_cri::v1;
use corten_host::cgroup::Mode;
use futures::StreamExt;

use crate::error::Result;
use crate::node::Node;
use crate::stats::AT_ONCE;
use crate::stats::metrics::{self, Family, Kind, PodMetrics, Sample, Value, families};

/// The metrics of the ready pods and their running containers.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ListPodSandboxMetricsRequest,
) -> Result<v1::ListPodSandboxMetricsResponse> {
    let v1::ListPodSandboxMetricsRequest {} = request;
    Ok(v1::ListPodSandboxMetricsResponse { pod_metrics: items(node).await })
}

/// The same as items. A pod or container that goes meanwhile is left out.
pub async fn items(node: &Arc<Node>) -> Vec<v1::PodSandboxMetrics> {
    let mode = node.cgroup_mode();
    let items = futures::stream::iter(node.pods.all()).map(|pod| async move {
        match metrics::pod(node, &pod).await {
            Ok(metrics) => metrics.map(|metrics| message(mode, pod.id.clone(), &metrics)),
            Err(error) => {
                tracing::debug!(pod = pod.id, %error, "no metrics");
                None
            }
        }
    });
    items.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

fn message(mode: Mode, pod_sandbox_id: String, metrics: &PodMetrics) -> v1::PodSandboxMetrics {
    let container = |sample: &Sample| v1::ContainerMetrics {
        container_id: sample.subject.id.clone(),
        metrics: metrics_of(mode, sample),
    };
    v1::PodSandboxMetrics {
        pod_sandbox_id,
        metrics: metrics_of(mode, &metrics.pod),
        container_metrics: metrics.containers.iter().map(container).collect(),
    }
}

fn metrics_of(mode: Mode, sample: &Sample) -> Vec<v1::Metric> {
    let of_family =
        |family: &'static Family| family.values(sample).into_iter().map(move |value| metric(family, sample, value));
    families(mode).flat_map(of_family).collect()
}

fn metric(family: &Family, sample: &Sample, value: Value) -> v1::Metric {
    let Value { labels, value, at } = value;
    let kind = match family.kind {
        Kind::Counter => v1::MetricType::Counter,
        Kind::Gauge => v1::MetricType::Gauge,
    };
    v1::Metric {
        name: family.name.to_owned(),
        timestamp: at,
        metric_type: kind.into(),
        label_values: sample.subject.labels().map(str::to_owned).into_iter().chain(labels).collect(),
        value: Some(v1::UInt64Value { value }),
    }
}
