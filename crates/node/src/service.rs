//! The index of the RPCs: every one a line.

use std::pin::Pin;
use std::sync::Arc;

use corten_cri::ApiVersion;
use corten_cri::node as api;
use corten_cri::v1::{self, image_service_server::ImageService, runtime_service_server::RuntimeService};
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::node::Node;
use crate::rpc;

/// Serves all services of the socket.
#[derive(Clone)]
pub struct Service(pub Arc<Node>);

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;
type Batches<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Writes the methods of a service's trait from a table.
macro_rules! methods {
    () => {};
    // Implemented: the handler is the module of the RPC's name.
    ($name:ident: $request:ident => $response:ident; $($rest:tt)*) => {
        fn $name<'a, 'b>(&'a self, request: Request<v1::$request>) -> Answer<'b, v1::$response>
        where 'a: 'b, Self: 'b {
            Box::pin(async move {
                Ok(Response::new(rpc::$name::handle(&self.0, request.into_inner()).await.map_err(logged(stringify!($name)))?))
            })
        }
        methods!($($rest)*);
    };
    ($name:ident: $request:ident => stream $stream:ident of $response:ident; $($rest:tt)*) => {
        type $stream = Batches<v1::$response>;
        fn $name<'a, 'b>(&'a self, request: Request<v1::$request>) -> Answer<'b, Self::$stream>
        where 'a: 'b, Self: 'b {
            Box::pin(async move {
                let stream = rpc::$name::handle(&self.0, request.into_inner()).await.map_err(logged(stringify!($name)))?;
                Ok(Response::new(Box::pin(stream) as Self::$stream))
            })
        }
        methods!($($rest)*);
    };
    (unimplemented $name:ident: $request:ident => $response:ident; $($rest:tt)*) => {
        fn $name<'a, 'b>(&'a self, _: Request<v1::$request>) -> Answer<'b, v1::$response>
        where 'a: 'b, Self: 'b {
            Box::pin(async move { Err(unimplemented(stringify!($name))) })
        }
        methods!($($rest)*);
    };
    (unimplemented $name:ident: $request:ident => stream $stream:ident of $response:ident; $($rest:tt)*) => {
        type $stream = Batches<v1::$response>;
        fn $name<'a, 'b>(&'a self, _: Request<v1::$request>) -> Answer<'b, Self::$stream>
        where 'a: 'b, Self: 'b {
            Box::pin(async move { Err(unimplemented(stringify!($name))) })
        }
        methods!($($rest)*);
    };
}

impl RuntimeService for Service {
    // The one RPC whose answer tells which version of the interface it was called by.
    fn version<'a, 'b>(&'a self, request: Request<v1::VersionRequest>) -> Answer<'b, v1::VersionResponse>
    where
        'a: 'b,
        Self: 'b,
    {
        let called = request.extensions().get().copied().unwrap_or(ApiVersion::V1);
        Box::pin(async move {
            let answer = rpc::version::handle(&self.0, called, request.into_inner()).await;
            Ok(Response::new(answer.map_err(logged("version"))?))
        })
    }

    methods! {
        status: StatusRequest => StatusResponse;
        runtime_config: RuntimeConfigRequest => RuntimeConfigResponse;
        update_runtime_config: UpdateRuntimeConfigRequest => UpdateRuntimeConfigResponse;

        run_pod_sandbox: RunPodSandboxRequest => RunPodSandboxResponse;
        stop_pod_sandbox: StopPodSandboxRequest => StopPodSandboxResponse;
        remove_pod_sandbox: RemovePodSandboxRequest => RemovePodSandboxResponse;
        pod_sandbox_status: PodSandboxStatusRequest => PodSandboxStatusResponse;
        list_pod_sandbox: ListPodSandboxRequest => ListPodSandboxResponse;
        stream_pod_sandboxes: StreamPodSandboxesRequest => stream StreamPodSandboxesStream of StreamPodSandboxesResponse;
        update_pod_sandbox_resources: UpdatePodSandboxResourcesRequest => UpdatePodSandboxResourcesResponse;

        create_container: CreateContainerRequest => CreateContainerResponse;
        start_container: StartContainerRequest => StartContainerResponse;
        stop_container: StopContainerRequest => StopContainerResponse;
        remove_container: RemoveContainerRequest => RemoveContainerResponse;
        container_status: ContainerStatusRequest => ContainerStatusResponse;
        list_containers: ListContainersRequest => ListContainersResponse;
        stream_containers: StreamContainersRequest => stream StreamContainersStream of StreamContainersResponse;
        update_container_resources: UpdateContainerResourcesRequest => UpdateContainerResourcesResponse;
        reopen_container_log: ReopenContainerLogRequest => ReopenContainerLogResponse;

        exec_sync: ExecSyncRequest => ExecSyncResponse;
        exec: ExecRequest => ExecResponse;
        attach: AttachRequest => AttachResponse;
        port_forward: PortForwardRequest => PortForwardResponse;

        container_stats: ContainerStatsRequest => ContainerStatsResponse;
        list_container_stats: ListContainerStatsRequest => ListContainerStatsResponse;
        stream_container_stats: StreamContainerStatsRequest => stream StreamContainerStatsStream of StreamContainerStatsResponse;
        pod_sandbox_stats: PodSandboxStatsRequest => PodSandboxStatsResponse;
        list_pod_sandbox_stats: ListPodSandboxStatsRequest => ListPodSandboxStatsResponse;
        stream_pod_sandbox_stats: StreamPodSandboxStatsRequest => stream StreamPodSandboxStatsStream of StreamPodSandboxStatsResponse;
        list_metric_descriptors: ListMetricDescriptorsRequest => ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics: ListPodSandboxMetricsRequest => ListPodSandboxMetricsResponse;
        stream_pod_sandbox_metrics: StreamPodSandboxMetricsRequest => stream StreamPodSandboxMetricsStream of StreamPodSandboxMetricsResponse;
        get_container_events: GetEventsRequest => stream GetContainerEventsStream of ContainerEventResponse;

        unimplemented checkpoint_container: CheckpointContainerRequest => CheckpointContainerResponse;
        unimplemented checkpoint_pod: CheckpointPodRequest => CheckpointPodResponse;
        unimplemented restore_pod: RestorePodRequest => RestorePodResponse;
    }
}

impl ImageService for Service {
    methods! {
        list_images: ListImagesRequest => ListImagesResponse;
        image_status: ImageStatusRequest => ImageStatusResponse;
        pull_image: PullImageRequest => PullImageResponse;
        remove_image: RemoveImageRequest => RemoveImageResponse;
        image_fs_info: ImageFsInfoRequest => ImageFsInfoResponse;
        stream_images: StreamImagesRequest => stream StreamImagesStream of StreamImagesResponse;
    }
}

#[tonic::async_trait]
impl api::node_server::Node for Service {
    type CheckImagesStream = Batches<api::CheckImagesResponse>;

    async fn check_images(
        &self,
        request: Request<api::CheckImagesRequest>,
    ) -> Result<Response<Self::CheckImagesStream>, Status> {
        let stream = rpc::check_images::handle(&self.0, request.into_inner()).await.map_err(logged("check_images"))?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn load_image(
        &self,
        request: Request<tonic::Streaming<api::LoadImageRequest>>,
    ) -> Result<Response<api::LoadImageResponse>, Status> {
        let loaded = rpc::load_image::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(loaded.map_err(logged("load_image"))?))
    }

    async fn pod_timeline(
        &self,
        request: Request<api::PodTimelineRequest>,
    ) -> Result<Response<api::PodTimelineResponse>, Status> {
        let timeline = rpc::pod_timeline::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(timeline.map_err(logged("pod_timeline"))?))
    }

    async fn explain_pull(
        &self,
        request: Request<api::ExplainPullRequest>,
    ) -> Result<Response<api::ExplainPullResponse>, Status> {
        let explained = rpc::explain_pull::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(explained.map_err(logged("explain_pull"))?))
    }

    type PullStream = Batches<api::PullResponse>;

    async fn pull(&self, request: Request<api::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        let stream = rpc::pull::handle(&self.0, request.into_inner()).map_err(logged("pull"))?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn tag_image(
        &self,
        request: Request<api::TagImageRequest>,
    ) -> Result<Response<api::TagImageResponse>, Status> {
        let answer = rpc::tag_image::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(answer.map_err(logged("tag_image"))?))
    }

    async fn untag_image(
        &self,
        request: Request<api::UntagImageRequest>,
    ) -> Result<Response<api::UntagImageResponse>, Status> {
        let answer = rpc::untag_image::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(answer.map_err(logged("untag_image"))?))
    }

    async fn prune_images(
        &self,
        request: Request<api::PruneImagesRequest>,
    ) -> Result<Response<api::PruneImagesResponse>, Status> {
        let answer = rpc::prune_images::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(answer.map_err(logged("prune_images"))?))
    }

    async fn inspect_image(
        &self,
        request: Request<api::InspectImageRequest>,
    ) -> Result<Response<api::InspectImageResponse>, Status> {
        let answer = rpc::inspect_image::handle(&self.0, request.into_inner()).await;
        Ok(Response::new(answer.map_err(logged("inspect_image"))?))
    }

    type SaveImagesStream = Batches<api::SaveImagesResponse>;

    async fn save_images(
        &self,
        request: Request<api::SaveImagesRequest>,
    ) -> Result<Response<Self::SaveImagesStream>, Status> {
        let stream = rpc::save_images::handle(&self.0, request.into_inner()).map_err(logged("save_images"))?;
        Ok(Response::new(Box::pin(stream)))
    }
}

/// An error on its way out, told in the log too: the node's own as errors, a caller's for whoever looks closely.
fn logged(rpc: &'static str) -> impl Fn(crate::error::Error) -> Status {
    move |error| {
        match error.code() {
            tonic::Code::Internal => tracing::error!(rpc, %error, "failed"),
            code => tracing::info!(rpc, %error, ?code, "refused or failed"),
        }
        error.into()
    }
}

fn unimplemented(method: &str) -> Status {
    let name: String = method.split('_').map(capitalised).collect();
    Status::unimplemented(format!("method {name} not implemented"))
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
