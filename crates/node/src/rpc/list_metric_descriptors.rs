//! ListMetricDescriptors

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;
use crate::stats::metrics::{Family, LABELS, families};

/// The metric families that ListPodSandboxMetrics serves on this machine.
pub async fn handle(
    node: &Arc<Node>,
    request: v1::ListMetricDescriptorsRequest,
) -> Result<v1::ListMetricDescriptorsResponse> {
    let v1::ListMetricDescriptorsRequest {} = request;
    Ok(v1::ListMetricDescriptorsResponse { descriptors: families(node.cgroup_mode()).map(descriptor).collect() })
}

fn descriptor(family: &Family) -> v1::MetricDescriptor {
    let keys = LABELS.iter().chain(family.labels);
    v1::MetricDescriptor {
        name: family.name.to_owned(),
        help: family.help.to_owned(),
        label_keys: keys.map(|key| (*key).to_owned()).collect(),
    }
}
