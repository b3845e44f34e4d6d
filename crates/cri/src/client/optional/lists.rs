//! Lists: as streams where the runtime has them, which may be longer than a message, else in one message.

use std::{sync::atomic::AtomicBool, time::Duration};

use prost::Message;
use tonic::Status;

use super::{Answer, Lists, Streaming, Streams, is_unimplemented};
use crate::{ApiVersion, client::raw, v1::*, wire::Shapes};

/// What the kubelet does without metrics by CRI.
pub(super) const NO_METRICS: &str = "the pods' metrics are absent from /metrics/cadvisor";

/// The most memory a list may take, in bytes: a runtime must not fill ours. Two bytes can be an element of a hundred times
/// their size, so that is counted ([`crate::wire::Message::memory`]), before anything is decoded.
const MOST: usize = 256 * 1024 * 1024;

/// The statistics of pods.
#[derive(Debug, Clone, PartialEq)]
pub enum PodStats {
    /// Of the pods and the containers in them.
    Pods(Vec<PodSandboxStats>),
    /// Of the containers alone: what the kubelet completes from the cgroups itself.
    Containers(Vec<ContainerStats>),
}

/// An RPC that answers with a list, or a part of one.
struct Rpc<R, T> {
    /// `Service/Method`
    name: &'static str,
    /// The name of its answer's message.
    answer: &'static str,
    request: Vec<u8>,
    items: fn(R) -> Vec<T>,
}

/// A method that gets a list of a service: `name(filter type) -> item type`, and of the two RPCs the request and the answer
/// with its field.
macro_rules! list {
    ($(#[$doc:meta])* $vis:vis $name:ident($($filter:ident: $type:ty)?) -> $item:ty, $client:ident,
     $stream_name:literal $streamed:ident -> $part:ident.$stream_field:ident,
     $unary_name:literal $asked:ident -> $whole:ident.$field:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// The runtime's; ResourceExhausted for a list that is too large for our memory.
        $vis async fn $name(&self, $($filter: Option<$type>)?) -> Result<Answer<Vec<$item>>, Status> {
            let stream = Rpc {
                name: $stream_name,
                answer: stringify!($part),
                request: $streamed { $($filter: $filter.clone())? }.encode_to_vec(),
                items: |part: $part| part.$stream_field,
            };
            let unary = Rpc {
                name: $unary_name,
                answer: stringify!($whole),
                request: $asked { $($filter)? }.encode_to_vec(),
                items: |whole: $whole| whole.$field,
            };
            self.list(&self.streaming.$client, stream, unary).await
        }
    };
}

impl Lists {
    list! {
        /// The pods.
        pub pods(filter: PodSandboxFilter) -> PodSandbox, runtime,
        "RuntimeService/StreamPodSandboxes" StreamPodSandboxesRequest -> StreamPodSandboxesResponse.pod_sandboxes,
        "RuntimeService/ListPodSandbox" ListPodSandboxRequest -> ListPodSandboxResponse.items
    }

    list! {
        /// The containers.
        pub containers(filter: ContainerFilter) -> Container, runtime,
        "RuntimeService/StreamContainers" StreamContainersRequest -> StreamContainersResponse.containers,
        "RuntimeService/ListContainers" ListContainersRequest -> ListContainersResponse.containers
    }

    list! {
        /// The statistics of containers.
        pub container_stats(filter: ContainerStatsFilter) -> ContainerStats, runtime,
        "RuntimeService/StreamContainerStats" StreamContainerStatsRequest -> StreamContainerStatsResponse.container_stats,
        "RuntimeService/ListContainerStats" ListContainerStatsRequest -> ListContainerStatsResponse.stats
    }

    list! {
        /// The images.
        pub images(filter: ImageFilter) -> Image, images,
        "ImageService/StreamImages" StreamImagesRequest -> StreamImagesResponse.images,
        "ImageService/ListImages" ListImagesRequest -> ListImagesResponse.images
    }

    list! {
        /// The statistics of pods, from a runtime that has them.
        pod_stats_only(filter: PodSandboxStatsFilter) -> PodSandboxStats, runtime,
        "RuntimeService/StreamPodSandboxStats" StreamPodSandboxStatsRequest -> StreamPodSandboxStatsResponse.pod_sandbox_stats,
        "RuntimeService/ListPodSandboxStats" ListPodSandboxStatsRequest -> ListPodSandboxStatsResponse.stats
    }

    list! {
        /// The metrics of pods, from a runtime that has them.
        pod_metrics_only() -> PodSandboxMetrics, runtime,
        "RuntimeService/StreamPodSandboxMetrics" StreamPodSandboxMetricsRequest -> StreamPodSandboxMetricsResponse.pod_sandbox_metrics,
        "RuntimeService/ListPodSandboxMetrics" ListPodSandboxMetricsRequest -> ListPodSandboxMetricsResponse.pod_metrics
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

    async fn list<S: Message + Default, U: Message + Default, T>(
        &self,
        flag: &AtomicBool,
        stream: Rpc<S, T>,
        unary: Rpc<U, T>,
    ) -> Result<Answer<Vec<T>>, Status> {
        let (lacking, used) = (stream.name, unary.name);
        if Streaming::wanted(flag) {
            match within(self.deadlines.limit(lacking, Duration::ZERO), self.collect(stream)).await {
                Err(status) if is_unimplemented(&status) => Streaming::end(flag),
                all => return all.map(Answer::Answered),
            }
        }
        let request = self.request(used, unary.request);
        let whole = raw::unary(&self.connection, &ApiVersion::V1.path(used), request).await?;
        let answer = (unary.items)(decoded(unary.answer, &whole, &mut MOST.clone())?);
        Ok(match self.streams {
            Streams::Prefer => Answer::Degraded { answer, lacking, used },
            Streams::Never => Answer::Answered(answer),
        })
    }

    async fn collect<S: Message + Default, T>(&self, rpc: Rpc<S, T>) -> Result<Vec<T>, Status> {
        let mut stream = raw::stream(&self.connection, &ApiVersion::V1.path(rpc.name), rpc.request).await?;
        let (mut all, mut room) = (Vec::new(), MOST);
        while let Some(part) = stream.message().await? {
            all.extend((rpc.items)(decoded(rpc.answer, &part, &mut room)?));
        }
        Ok(all)
    }
}

/// A message, if there is room for it.
fn decoded<M: Message + Default>(name: &str, bytes: &[u8], room: &mut usize) -> Result<M, Status> {
    let broken = || Status::internal(format!("the table of the CRI's history has no {name}"));
    let message = Shapes::compiled().ok().and_then(|shapes| shapes.message(name)).ok_or_else(broken)?;
    let too_large = || Status::resource_exhausted(format!("the list takes more than {MOST} bytes of memory"));
    *room = room.checked_sub(message.memory(bytes)).ok_or_else(too_large)?;
    M::decode(bytes).map_err(|error| Status::internal(format!("{name}: {error}")))
}

/// A stream's deadline is for all of it.
async fn within<T>(limit: Option<Duration>, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let Some(limit) = limit else { return call.await };
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no end within {limit:?}"))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The largest there are of what a list can have many of.
    #[test]
    fn no_element_takes_more_than_is_counted_for_it() {
        let sizes = [
            size_of::<PodSandbox>(),
            size_of::<Container>(),
            size_of::<ContainerStats>(),
            size_of::<PodSandboxStats>(),
            size_of::<Image>(),
            size_of::<PodSandboxMetrics>(),
            size_of::<WindowsContainerStats>(),
        ];
        assert!(sizes.iter().all(|size| *size <= crate::wire::ELEMENT), "{sizes:?}");
    }

    #[test]
    fn a_list_that_takes_too_much_memory_is_refused_before_it_is_decoded() {
        // Half a MiB on the wire, of elements that are empty.
        let bytes = [10, 0].repeat(MOST / crate::wire::ELEMENT + 1);
        let mut room = MOST;
        let error =
            decoded::<ListContainerStatsResponse>("ListContainerStatsResponse", &bytes, &mut room).err().unwrap();
        assert_eq!((error.code(), room), (tonic::Code::ResourceExhausted, MOST));
        let few: ListContainerStatsResponse = decoded("ListContainerStatsResponse", &bytes[..20], &mut room).unwrap();
        assert!(few.stats.len() == 10 && room < MOST);
        // As much again is not there a second time.
        let mut room = 9 * crate::wire::ELEMENT;
        assert!(decoded::<ListContainerStatsResponse>("ListContainerStatsResponse", &bytes[..20], &mut room).is_err());
    }
}
