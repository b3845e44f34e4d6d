//! Every RPC as a check calls it: recorded, and with a refusal that says which call it was.

use std::{sync::PoisonError, time::Duration};

use corten_cri::v1::*;
use tokio::time::timeout;
use tonic::{Response, Status};

use crate::{
    context::Ctx,
    verdict::{Checked, Refusal, Stop},
};

macro_rules! unary {
    ($($client:ident $name:ident($request:ident) -> $response:ident = $rpc:literal;)+) => {
        impl Ctx {$(
            #[doc = concat!("`", $rpc, "`")]
            ///
            /// # Errors
            /// What the runtime says.
            pub async fn $name(&self, request: $request) -> Result<$response, Refusal> {
                let mut client = self.run().$client.clone();
                self.answered($rpc, limited(self.run().limit, client.$name(request)).await)
            }
        )+}
    };
}

/// A call's answer, if it comes within a limit: a runtime that hangs does not hang whoever looks at it.
pub(crate) async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    let late = |_| Err(Status::deadline_exceeded(format!("no answer within {limit:?}")));
    timeout(limit, call).await.unwrap_or_else(late)
}

/// Calls that make something: they go on when the check is given up, so that what they make can be removed.
macro_rules! making {
    ($($client:ident $name:ident($request:ident) -> $response:ident = $rpc:literal;)+) => {
        impl Ctx {$(
            #[doc = concat!("`", $rpc, "`, which is waited for even when the check is given up.")]
            ///
            /// # Errors
            /// What the runtime says.
            pub async fn $name(&self, request: $request) -> Result<$response, Refusal> {
                let mut client = self.run().$client.clone();
                let (going, limit) = (self.run().making.clone().read_owned().await, self.run().limit);
                let call = tokio::spawn(async move {
                    let answer = limited(limit, client.$name(request)).await;
                    drop(going);
                    answer
                });
                let answer = call.await.unwrap_or_else(|error| Err(Status::internal(error.to_string())));
                self.answered($rpc, answer)
            }
        )+}
    };
}

/// Calls that answer with a stream, which is read to its end.
macro_rules! streams {
    ($($client:ident $name:ident($request:ident) -> $response:ident = $rpc:literal;)+) => {
        impl Ctx {$(
            #[doc = concat!("`", $rpc, "`, read to its end.")]
            ///
            /// # Errors
            /// What the runtime says, and DeadlineExceeded when the stream does not end.
            pub async fn $name(&self, request: $request) -> Result<Vec<$response>, Refusal> {
                let mut client = self.run().$client.clone();
                let reading = async {
                    let mut stream = client.$name(request).await?.into_inner();
                    let mut all = Vec::new();
                    while let Some(message) = stream.message().await? {
                        all.push(message);
                    }
                    Ok(Response::new(all))
                };
                let answer = timeout(self.patience(), reading).await;
                self.answered($rpc, answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the stream does not end"))))
            }
        )+}
    };
}

unary! {
    runtime version(VersionRequest) -> VersionResponse = "RuntimeService/Version";
    runtime stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse = "RuntimeService/StopPodSandbox";
    runtime remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse = "RuntimeService/RemovePodSandbox";
    runtime pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse = "RuntimeService/PodSandboxStatus";
    runtime list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse = "RuntimeService/ListPodSandbox";
    runtime start_container(StartContainerRequest) -> StartContainerResponse = "RuntimeService/StartContainer";
    runtime stop_container(StopContainerRequest) -> StopContainerResponse = "RuntimeService/StopContainer";
    runtime remove_container(RemoveContainerRequest) -> RemoveContainerResponse = "RuntimeService/RemoveContainer";
    runtime list_containers(ListContainersRequest) -> ListContainersResponse = "RuntimeService/ListContainers";
    runtime container_status(ContainerStatusRequest) -> ContainerStatusResponse = "RuntimeService/ContainerStatus";
    runtime update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse
        = "RuntimeService/UpdateContainerResources";
    runtime reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse
        = "RuntimeService/ReopenContainerLog";
    runtime exec_sync(ExecSyncRequest) -> ExecSyncResponse = "RuntimeService/ExecSync";
    runtime exec(ExecRequest) -> ExecResponse = "RuntimeService/Exec";
    runtime attach(AttachRequest) -> AttachResponse = "RuntimeService/Attach";
    runtime port_forward(PortForwardRequest) -> PortForwardResponse = "RuntimeService/PortForward";
    runtime container_stats(ContainerStatsRequest) -> ContainerStatsResponse = "RuntimeService/ContainerStats";
    runtime list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse
        = "RuntimeService/ListContainerStats";
    runtime pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse = "RuntimeService/PodSandboxStats";
    runtime list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse
        = "RuntimeService/ListPodSandboxStats";
    runtime status(StatusRequest) -> StatusResponse = "RuntimeService/Status";
    runtime list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse
        = "RuntimeService/ListMetricDescriptors";
    runtime list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse
        = "RuntimeService/ListPodSandboxMetrics";
    runtime runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse = "RuntimeService/RuntimeConfig";
    runtime update_pod_sandbox_resources(UpdatePodSandboxResourcesRequest) -> UpdatePodSandboxResourcesResponse
        = "RuntimeService/UpdatePodSandboxResources";
    images list_images(ListImagesRequest) -> ListImagesResponse = "ImageService/ListImages";
    images image_status(ImageStatusRequest) -> ImageStatusResponse = "ImageService/ImageStatus";
    images remove_image(RemoveImageRequest) -> RemoveImageResponse = "ImageService/RemoveImage";
    images image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse = "ImageService/ImageFsInfo";
}

making! {
    runtime run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse = "RuntimeService/RunPodSandbox";
    runtime create_container(CreateContainerRequest) -> CreateContainerResponse = "RuntimeService/CreateContainer";
    images pull_image(PullImageRequest) -> PullImageResponse = "ImageService/PullImage";
}

streams! {
    runtime stream_pod_sandboxes(StreamPodSandboxesRequest) -> StreamPodSandboxesResponse
        = "RuntimeService/StreamPodSandboxes";
    runtime stream_containers(StreamContainersRequest) -> StreamContainersResponse = "RuntimeService/StreamContainers";
    runtime stream_container_stats(StreamContainerStatsRequest) -> StreamContainerStatsResponse
        = "RuntimeService/StreamContainerStats";
    runtime stream_pod_sandbox_stats(StreamPodSandboxStatsRequest) -> StreamPodSandboxStatsResponse
        = "RuntimeService/StreamPodSandboxStats";
    runtime stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest) -> StreamPodSandboxMetricsResponse
        = "RuntimeService/StreamPodSandboxMetrics";
    images stream_images(StreamImagesRequest) -> StreamImagesResponse = "ImageService/StreamImages";
}

/// The events of a runtime, from when it was asked.
#[derive(Debug)]
pub struct Events {
    stream: tonic::Streaming<ContainerEventResponse>,
    ctx: Ctx,
}

impl Events {
    /// The next event about one of these; those about others, and those of a type that nobody knows, are passed over.
    ///
    /// # Errors
    /// [`Stop::Failed`] when none comes.
    pub async fn next(&mut self, what: &str, ids: &[&str]) -> Checked<ContainerEventResponse> {
        let reading = async {
            while let Some(event) = self.stream.message().await? {
                let known = ContainerEventType::try_from(event.container_event_type).is_ok();
                if known && ids.contains(&event.container_id.as_str()) {
                    return Ok(event);
                }
            }
            Err(Status::unavailable("the stream has ended"))
        };
        match timeout(self.ctx.patience(), reading).await {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(status)) => Err(Stop::failed(what, "an event", status)),
            Err(_) => Err(Stop::failed(what, "an event", "none")),
        }
    }
}

impl Ctx {
    /// `RuntimeService/GetContainerEvents`
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn get_container_events(&self) -> Result<Events, Refusal> {
        let mut client = self.run().runtime.clone();
        let answer = timeout(self.patience(), client.get_container_events(GetEventsRequest {})).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("the stream does not begin")));
        let stream = self.answered("RuntimeService/GetContainerEvents", answer)?;
        Ok(Events { stream, ctx: self.clone() })
    }

    /// Notes a call and says which it was if it was refused.
    fn answered<T>(&self, rpc: &'static str, answer: Result<Response<T>, Status>) -> Result<T, Refusal> {
        self.own().calls.lock().unwrap_or_else(PoisonError::into_inner).insert(rpc);
        answer.map(Response::into_inner).map_err(|status| {
            let lacking = status.code() == tonic::Code::Unimplemented && self.run().knowledge.may_lack(rpc);
            Refusal { rpc, status: Box::new(status), lacking }
        })
    }
}
