//! Lists: as streams where the runtime has them, which have no limit of size, else in one message.

use std::{sync::atomic::AtomicBool, time::Duration};

use prost::Message;
use tonic::{Response, Status, Streaming as Incoming};

use super::{Answer, Lists, Streaming, Streams, is_unimplemented};
use crate::v1::*;

/// What the kubelet does without metrics by CRI.
pub(super) const NO_METRICS: &str = "the pods' metrics are absent from /metrics/cadvisor";

/// The most a streamed list may have, in bytes: a runtime must not fill our memory.
const MOST: usize = 256 * 1024 * 1024;

/// The statistics of pods.
#[derive(Debug, Clone, PartialEq)]
pub enum PodStats {
    /// Of the pods and the containers in them.
    Pods(Vec<PodSandboxStats>),
    /// Of the containers alone: what the kubelet completes from the cgroups itself.
    Containers(Vec<ContainerStats>),
}

/// The two RPCs for one list.
struct Names {
    stream: &'static str,
    unary: &'static str,
}

/// A method that gets a list of a service: `name(filter type) -> item type`, the two RPCs and the field in each.
macro_rules! list {
    ($(#[$doc:meta])* $vis:vis $name:ident($($filter:ident: $type:ty)?) -> $item:ty, $client:ident,
     $stream:ident($streamed:ident) $stream_field:ident $stream_name:literal,
     $unary:ident($asked:ident) $field:ident $unary_name:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The runtime's.
        $vis async fn $name(&self, $($filter: Option<$type>)?) -> Result<Answer<Vec<$item>>, Status> {
            let names = Names { stream: $stream_name, unary: $unary_name };
            let (mut streaming, mut client) = (self.$client.clone(), self.$client.clone());
            let message = $streamed { $($filter: $filter.clone())? };
            let stream = async move { streaming.$stream(message).await };
            let request = self.request($unary_name, $asked { $($filter)? });
            let unary = async move { Ok(client.$unary(request).await?.into_inner().$field) };
            self.list(&self.streaming.$client, names, stream, |part| part.$stream_field, unary).await
        }
    };
}

impl Lists {
    list! {
        /// The pods.
        pub pods(filter: PodSandboxFilter) -> PodSandbox, runtime,
        stream_pod_sandboxes(StreamPodSandboxesRequest) pod_sandboxes "RuntimeService/StreamPodSandboxes",
        list_pod_sandbox(ListPodSandboxRequest) items "RuntimeService/ListPodSandbox"
    }

    list! {
        /// The containers.
        pub containers(filter: ContainerFilter) -> Container, runtime,
        stream_containers(StreamContainersRequest) containers "RuntimeService/StreamContainers",
        list_containers(ListContainersRequest) containers "RuntimeService/ListContainers"
    }

    list! {
        /// The statistics of containers.
        pub container_stats(filter: ContainerStatsFilter) -> ContainerStats, runtime,
        stream_container_stats(StreamContainerStatsRequest) container_stats "RuntimeService/StreamContainerStats",
        list_container_stats(ListContainerStatsRequest) stats "RuntimeService/ListContainerStats"
    }

    list! {
        /// The images.
        pub images(filter: ImageFilter) -> Image, images,
        stream_images(StreamImagesRequest) images "ImageService/StreamImages",
        list_images(ListImagesRequest) images "ImageService/ListImages"
    }

    list! {
        /// The statistics of pods, from a runtime that has them.
        pod_stats_only(filter: PodSandboxStatsFilter) -> PodSandboxStats, runtime,
        stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) pod_sandbox_stats "RuntimeService/StreamPodSandboxStats",
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) stats "RuntimeService/ListPodSandboxStats"
    }

    list! {
        /// The metrics of pods, from a runtime that has them.
        pod_metrics_only() -> PodSandboxMetrics, runtime,
        stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) pod_sandbox_metrics
            "RuntimeService/StreamPodSandboxMetrics",
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) pod_metrics "RuntimeService/ListPodSandboxMetrics"
    }

    /// The statistics of pods, or of their containers where the runtime has no others.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pod_stats(&self, filter: Option<PodSandboxStatsFilter>) -> Result<Answer<PodStats>, Status> {
        let containers = filter.as_ref().map(|filter| ContainerStatsFilter {
            id: String::new(),
            pod_sandbox_id: filter.id.clone(),
            label_selector: filter.label_selector.clone(),
        });
        match self.pod_stats_only(filter).await {
            Ok(answer) => Ok(answer.map(PodStats::Pods)),
            Err(status) if is_unimplemented(&status) => {
                let answer = self.container_stats(containers).await?.into_inner().unwrap_or_default();
                let (lacking, used) = ("RuntimeService/ListPodSandboxStats", "RuntimeService/ListContainerStats");
                Ok(Answer::Degraded { answer: PodStats::Containers(answer), lacking, used })
            }
            Err(status) => Err(status),
        }
    }

    /// The metrics of pods.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pod_metrics(&self) -> Result<Answer<Vec<PodSandboxMetrics>>, Status> {
        match self.pod_metrics_only().await {
            Err(status) if is_unimplemented(&status) => {
                Ok(Answer::Unsupported { lacking: "RuntimeService/ListPodSandboxMetrics", instead: NO_METRICS })
            }
            answer => answer,
        }
    }

    async fn list<S: Message + Default, T>(
        &self,
        flag: &AtomicBool,
        names: Names,
        stream: impl Future<Output = Result<Response<Incoming<S>>, Status>>,
        items: impl Fn(S) -> Vec<T>,
        unary: impl Future<Output = Result<Vec<T>, Status>>,
    ) -> Result<Answer<Vec<T>>, Status> {
        if Streaming::wanted(flag) {
            match within(self.deadlines.limit(names.stream, Duration::ZERO), collect(stream, items)).await {
                Err(status) if is_unimplemented(&status) => Streaming::end(flag),
                all => return all.map(Answer::Answered),
            }
        }
        let answer = unary.await?;
        Ok(match self.streams {
            Streams::Prefer => Answer::Degraded { answer, lacking: names.stream, used: names.unary },
            Streams::Never => Answer::Answered(answer),
        })
    }
}

async fn collect<S: Message, T>(
    stream: impl Future<Output = Result<Response<Incoming<S>>, Status>>,
    items: impl Fn(S) -> Vec<T>,
) -> Result<Vec<T>, Status> {
    let mut stream = stream.await?.into_inner();
    let (mut all, mut room) = (Vec::new(), MOST);
    while let Some(part) = stream.message().await? {
        let size = part.encoded_len();
        room = room.checked_sub(size).ok_or_else(|| Status::resource_exhausted(format!("more than {MOST} bytes")))?;
        all.extend(items(part));
    }
    Ok(all)
}

/// A stream's deadline is for all of it.
async fn within<T>(limit: Option<Duration>, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let Some(limit) = limit else { return call.await };
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no end within {limit:?}"))))
}
