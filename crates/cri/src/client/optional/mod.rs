//! RPCs that a runtime may lack, and what the kubelet does without them.
//!
//! What the client itself does is in `pkg/remote_runtime.go` and `pkg/remote_image.go` of k8s.io/cri-client; what the
//! kubelet does with an `Unimplemented` that reaches it, in `pkg/kubelet/{kubelet,stats/cri_stats_provider,pleg/evented,
//! kuberuntime/kuberuntime_manager}.go` of kubernetes.

mod events;
mod lists;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tonic::{Response, Status};

pub use self::{
    events::{Event, Events, POLLING},
    lists::PodStats,
};
use super::{Connection, Deadlines, RuntimeClient, is_unimplemented, runtime};
use crate::v1::{
    CgroupDriver, ListMetricDescriptorsRequest, MetricDescriptor, RuntimeConfigRequest, RuntimeConfigResponse,
    UpdatePodSandboxResourcesRequest,
};

/// What came of a call, and by which RPC.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T> {
    /// The RPC meant for it answered.
    Answered(T),
    /// The runtime lacks that RPC; an older one did.
    Degraded {
        /// The answer.
        answer: T,
        /// The RPC that the runtime lacks, as `Service/Method`.
        lacking: &'static str,
        /// The one that was used.
        used: &'static str,
    },
    /// The runtime lacks the RPC, and there is no other.
    Unsupported {
        /// The RPC, as `Service/Method`.
        lacking: &'static str,
        /// What the kubelet does without it.
        instead: &'static str,
    },
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub fn into_inner(self) -> Option<T> {
        match self {
            Self::Answered(answer) | Self::Degraded { answer, .. } => Some(answer),
            Self::Unsupported { .. } => None,
        }
    }

    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Answered(answer) => Answer::Answered(convert(answer)),
            Self::Degraded { answer, lacking, used } => Answer::Degraded { answer: convert(answer), lacking, used },
            Self::Unsupported { lacking, instead } => Answer::Unsupported { lacking, instead },
        }
    }
}

/// Whether lists are asked for as streams: the kubelet's feature gate `CRIListStreaming`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// As streams, and in one message where the runtime has none.
    Prefer,
    /// In one message.
    Never,
}

/// Calls RPCs that a runtime may lack. Its clones share what was learned about the runtime.
///
/// As with the kubelet, one missing `Stream*` ends the streams of that service for good.
#[derive(Debug, Clone)]
pub struct Lists {
    connection: Connection,
    runtime: RuntimeClient,
    deadlines: Deadlines,
    streams: Streams,
    streaming: Arc<Streaming>,
}

/// The services that lists are still streamed from.
#[derive(Debug)]
struct Streaming {
    runtime: AtomicBool,
    images: AtomicBool,
}

impl Lists {
    /// Calls over a connection.
    pub fn new(connection: Connection, deadlines: Deadlines, streams: Streams) -> Self {
        let wanted = || AtomicBool::new(streams == Streams::Prefer);
        Self {
            runtime: runtime(connection.clone()),
            connection,
            deadlines,
            streams,
            streaming: Arc::new(Streaming { runtime: wanted(), images: wanted() }),
        }
    }

    /// RuntimeConfig: who makes the cgroups.
    ///
    /// # Errors
    /// The runtime's; and as the kubelet does, a driver that this build does not know is refused, not taken for another.
    pub async fn cgroup_driver(&self) -> Result<Answer<CgroupDriver>, Status> {
        let request = self.request("RuntimeService/RuntimeConfig", RuntimeConfigRequest {});
        let answer = self.runtime.clone().runtime_config(request).await;
        let instead = "the cgroup driver of the kubelet's own configuration is used";
        let answer = optional(answer, "RuntimeService/RuntimeConfig", instead)?;
        let known = |config: RuntimeConfigResponse| known_driver(config.linux.unwrap_or_default().cgroup_driver);
        Ok(match answer {
            Answer::Answered(config) => Answer::Answered(known(config)?),
            Answer::Degraded { answer: config, lacking, used } => {
                Answer::Degraded { answer: known(config)?, lacking, used }
            }
            Answer::Unsupported { lacking, instead } => Answer::Unsupported { lacking, instead },
        })
    }

    /// UpdatePodSandboxResources: tells the runtime what the kubelet did to a pod's cgroup.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn update_pod_resources(&self, message: UpdatePodSandboxResourcesRequest) -> Result<Answer<()>, Status> {
        let request = self.request("RuntimeService/UpdatePodSandboxResources", message);
        let answer = self.runtime.clone().update_pod_sandbox_resources(request).await;
        let instead = "the pod is resized all the same; the runtime and its plugins do not hear of it";
        Ok(optional(answer, "RuntimeService/UpdatePodSandboxResources", instead)?.map(drop))
    }

    /// ListMetricDescriptors.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn metric_descriptors(&self) -> Result<Answer<Vec<MetricDescriptor>>, Status> {
        let request = self.request("RuntimeService/ListMetricDescriptors", ListMetricDescriptorsRequest {});
        let answer = self.runtime.clone().list_metric_descriptors(request).await;
        let answer = optional(answer, "RuntimeService/ListMetricDescriptors", lists::NO_METRICS)?;
        Ok(answer.map(|answer| answer.descriptors))
    }

    /// GetContainerEvents: nothing is sent before the first [`Events::next`].
    pub fn events(&self) -> Events {
        Events::new(self.runtime.clone())
    }

    fn request<T>(&self, rpc: &str, message: T) -> tonic::Request<T> {
        self.deadlines.request(rpc, std::time::Duration::ZERO, message)
    }
}

/// A driver that this build knows.
fn known_driver(value: i32) -> Result<CgroupDriver, Status> {
    CgroupDriver::try_from(value).map_err(|_| {
        Status::failed_precondition(format!(
            "RuntimeConfigResponse.linux.cgroup_driver: {value} is not a value this client knows"
        ))
    })
}

fn optional<T>(
    answer: Result<Response<T>, Status>,
    lacking: &'static str,
    instead: &'static str,
) -> Result<Answer<T>, Status> {
    match answer {
        Ok(answer) => Ok(Answer::Answered(answer.into_inner())),
        Err(status) if is_unimplemented(&status) => Ok(Answer::Unsupported { lacking, instead }),
        Err(status) => Err(status),
    }
}

impl Streaming {
    fn wanted(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn end(flag: &AtomicBool) {
        flag.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_driver_of_a_newer_runtime_is_refused_and_not_taken_for_another() {
        assert_eq!(known_driver(1).unwrap(), CgroupDriver::Cgroupfs);
        let refused = known_driver(100).unwrap_err();
        assert!(refused.message().contains("cgroup_driver: 100"), "{refused}");
    }
}
