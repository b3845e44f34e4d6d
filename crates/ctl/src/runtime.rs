//! The runtime, as the commands ask it things.

use std::time::Duration;

use corten_cri::{
    client::{self, Connection, Deadlines, ImageClient, RuntimeClient},
    node::{self, node_client::NodeClient},
    v1,
};
use tokio_stream::Stream;
use tonic::{Code, Response, Streaming};

use crate::error::Error;

/// A connection to a runtime.
#[derive(Clone)]
pub struct Runtime {
    runtime: RuntimeClient,
    images: ImageClient,
    node: NodeClient<Connection>,
    deadlines: Deadlines,
}

/// Calls `$method` of a client within the time that the kubelet gives `$rpc`, and says what was attempted if it fails.
/// `; $own` is the time that the request itself allows.
macro_rules! call {
    ($self:ident.$client:ident.$method:ident($rpc:literal, $request:expr $(; $own:expr)?), $($what:tt)+) => {{
        let own = [Duration::ZERO $(, $own)?].into_iter().sum();
        let request = $self.deadlines.request($rpc, own, $request);
        let answer = $self.$client.clone().$method(request).await;
        answer.map(Response::into_inner).map_err(|status| Error::call(format!($($what)+), status))
    }};
}

impl Runtime {
    /// Connects. `timeout` is the usual time of a call; see [`Deadlines`] for what has another.
    ///
    /// # Errors
    /// [`Error::Connect`], naming the socket.
    pub async fn connect(endpoint: &str, timeout: Option<Duration>) -> Result<Self, Error> {
        let connection = client::connect(endpoint).await?;
        Ok(Self {
            runtime: client::runtime(connection.clone()),
            images: client::images(connection.clone()),
            node: client::node(connection),
            deadlines: Deadlines { usual: timeout },
        })
    }

    /// Version.
    pub async fn version(&self) -> Result<v1::VersionResponse, Error> {
        call!(
            self.runtime.version("RuntimeService/Version", v1::VersionRequest { version: "v1".to_owned() }),
            "ask for the version"
        )
    }

    /// Status, verbose.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        call!(self.runtime.status("RuntimeService/Status", v1::StatusRequest { verbose: true }), "ask for the status")
    }

    /// RunPodSandbox.
    pub async fn run_pod(&self, config: v1::PodSandboxConfig, runtime_handler: String) -> Result<String, Error> {
        let name = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler };
        Ok(call!(self.runtime.run_pod_sandbox("RuntimeService/RunPodSandbox", request), "run pod {name}")?
            .pod_sandbox_id)
    }

    /// ListPodSandbox.
    pub async fn pods(&self) -> Result<v1::ListPodSandboxResponse, Error> {
        call!(
            self.runtime.list_pod_sandbox("RuntimeService/ListPodSandbox", v1::ListPodSandboxRequest::default()),
            "list the pods"
        )
    }

    /// PodSandboxStatus.
    pub async fn pod_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse, Error> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
        call!(self.runtime.pod_sandbox_status("RuntimeService/PodSandboxStatus", request), "inspect pod {id}")
    }

    /// StopPodSandbox.
    pub async fn stop_pod(&self, id: &str) -> Result<(), Error> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        call!(self.runtime.stop_pod_sandbox("RuntimeService/StopPodSandbox", request), "stop pod {id}").map(drop)
    }

    /// RemovePodSandbox.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Error> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        call!(self.runtime.remove_pod_sandbox("RuntimeService/RemovePodSandbox", request), "remove pod {id}").map(drop)
    }

    /// CreateContainer.
    pub async fn create_container(&self, request: v1::CreateContainerRequest) -> Result<String, Error> {
        let metadata = request.config.as_ref().and_then(|config| config.metadata.as_ref());
        let name = metadata.map(|metadata| metadata.name.clone()).unwrap_or_default();
        Ok(call!(self.runtime.create_container("RuntimeService/CreateContainer", request), "create container {name}")?
            .container_id)
    }

    /// StartContainer; `name` is for the error.
    pub async fn start_container(&self, id: &str, name: &str) -> Result<(), Error> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        call!(self.runtime.start_container("RuntimeService/StartContainer", request), "start container {name}")
            .map(drop)
    }

    /// StopContainer with a grace period in seconds, by which the call may take longer than others.
    pub async fn stop_container(&self, id: &str, grace: i64) -> Result<(), Error> {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        let own = seconds(grace);
        call!(self.runtime.stop_container("RuntimeService/StopContainer", request; own), "stop container {id}")
            .map(drop)
    }

    /// RemoveContainer.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        call!(self.runtime.remove_container("RuntimeService/RemoveContainer", request), "remove container {id}")
            .map(drop)
    }

    /// ListContainers.
    pub async fn containers(&self) -> Result<v1::ListContainersResponse, Error> {
        call!(
            self.runtime.list_containers("RuntimeService/ListContainers", v1::ListContainersRequest::default()),
            "list the containers"
        )
    }

    /// ContainerStatus.
    pub async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse, Error> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose };
        call!(self.runtime.container_status("RuntimeService/ContainerStatus", request), "inspect container {id}")
    }

    /// ExecSync: without a limit in the request, as long as the command takes.
    pub async fn exec_sync(&self, request: v1::ExecSyncRequest) -> Result<v1::ExecSyncResponse, Error> {
        let what = format!("run {} in container {}", request.cmd.join(" "), request.container_id);
        let own = seconds(request.timeout);
        call!(self.runtime.exec_sync("RuntimeService/ExecSync", request; own), "{what}")
    }

    /// Exec: the URL at which the command's streams are, for one connection.
    pub async fn exec(&self, request: v1::ExecRequest) -> Result<String, Error> {
        let what = format!("run {} in container {}", request.cmd.join(" "), request.container_id);
        Ok(call!(self.runtime.exec("RuntimeService/Exec", request), "{what}")?.url)
    }

    /// Attach: the URL at which the container's streams are, for one connection.
    pub async fn attach(&self, request: v1::AttachRequest) -> Result<String, Error> {
        let what = format!("attach to container {}", request.container_id);
        Ok(call!(self.runtime.attach("RuntimeService/Attach", request), "{what}")?.url)
    }

    /// PortForward: the URL at which the pod's ports are, for one connection.
    pub async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String, Error> {
        let what = format!("forward ports of pod {}", request.pod_sandbox_id);
        Ok(call!(self.runtime.port_forward("RuntimeService/PortForward", request), "{what}")?.url)
    }

    /// ListContainerStats.
    pub async fn stats(&self) -> Result<v1::ListContainerStatsResponse, Error> {
        call!(
            self.runtime
                .list_container_stats("RuntimeService/ListContainerStats", v1::ListContainerStatsRequest::default()),
            "ask for the statistics"
        )
    }

    /// ListImages.
    pub async fn images(&self) -> Result<v1::ListImagesResponse, Error> {
        call!(self.images.list_images("ImageService/ListImages", v1::ListImagesRequest::default()), "list the images")
    }

    /// ImageStatus: `None` when the image is not there.
    pub async fn image(&self, image: &str) -> Result<Option<v1::Image>, Error> {
        let request = v1::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        Ok(call!(self.images.image_status("ImageService/ImageStatus", request), "look for image {image}")?.image)
    }

    /// PullImage: as long as it takes. Returns the reference to use.
    pub async fn pull(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: Option<v1::PodSandboxConfig>,
    ) -> Result<String, Error> {
        let request = v1::PullImageRequest { image: Some(spec(image)), auth, sandbox_config };
        Ok(call!(self.images.pull_image("ImageService/PullImage", request), "pull {image}")?.image_ref)
    }

    /// Pull of cortend's own service, as it goes: as long as it takes. `None` if the runtime is another, which has PullImage.
    pub async fn watch_pull(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
    ) -> Result<Option<Streaming<node::PullResponse>>, Error> {
        let request = node::PullRequest { image: image.to_owned(), credentials: auth.map(credentials) };
        match self.node.clone().pull(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(Error::call(format!("pull {image}"), status)),
        }
    }

    /// RemoveImage.
    pub async fn remove_image(&self, image: &str) -> Result<(), Error> {
        let request = v1::RemoveImageRequest { image: Some(spec(image)) };
        call!(self.images.remove_image("ImageService/RemoveImage", request), "remove image {image}").map(drop)
    }

    /// ExplainPull of cortend's own service: as long as the hosts take.
    pub async fn explain_pull(&self, image: &str, ask: bool) -> Result<node::ExplainPullResponse, Error> {
        let request = node::ExplainPullRequest { image: image.to_owned(), ask };
        let answer = self.node.clone().explain_pull(request).await;
        answer.map(Response::into_inner).map_err(|status| Error::call(format!("explain the pull of {image}"), status))
    }

    /// CheckImages of cortend's own service: as long as it takes.
    pub async fn check_images(&self, request: node::CheckImagesRequest) -> Result<Checking, Error> {
        let answer = self.node.clone().check_images(request).await;
        answer.map(|answer| Checking(answer.into_inner())).map_err(|status| Error::call(CHECK, status))
    }

    /// LoadImage of cortend's own service: as long as it takes.
    pub async fn load_image(
        &self,
        what: &str,
        chunks: impl Stream<Item = node::LoadImageRequest> + Send + 'static,
    ) -> Result<node::LoadImageResponse, Error> {
        let answer = self.node.clone().load_image(chunks).await;
        answer.map(Response::into_inner).map_err(|status| Error::call(format!("load {what}"), status))
    }

    /// TagImage of cortend's own service. Returns the tag in full.
    pub async fn tag_image(&self, request: node::TagImageRequest) -> Result<String, Error> {
        let what = format!("tag image {}", request.image);
        let answer = self.node.clone().tag_image(request).await;
        answer.map(|answer| answer.into_inner().name).map_err(|status| Error::call(what, status))
    }

    /// UntagImage of cortend's own service: whether the image is gone too.
    pub async fn untag_image(&self, name: &str) -> Result<bool, Error> {
        let request = node::UntagImageRequest { name: name.to_owned() };
        let answer = self.node.clone().untag_image(request).await;
        answer.map(|answer| answer.into_inner().removed).map_err(|status| Error::call(format!("untag {name}"), status))
    }

    /// PruneImages of cortend's own service.
    pub async fn prune_images(&self, request: node::PruneImagesRequest) -> Result<node::PruneImagesResponse, Error> {
        let answer = self.node.clone().prune_images(request).await;
        answer.map(Response::into_inner).map_err(|status| Error::call("prune images", status))
    }

    /// InspectImage of cortend's own service.
    pub async fn inspect_image(&self, image: &str) -> Result<node::InspectImageResponse, Error> {
        let request = node::InspectImageRequest { image: image.to_owned() };
        let answer = self.node.clone().inspect_image(request).await;
        answer.map(Response::into_inner).map_err(|status| Error::call(format!("inspect image {image}"), status))
    }

    /// SaveImages of cortend's own service, as it goes: as long as it takes.
    pub async fn save_images(
        &self,
        what: &str,
        request: node::SaveImagesRequest,
    ) -> Result<Streaming<node::SaveImagesResponse>, Error> {
        let answer = self.node.clone().save_images(request).await;
        answer.map(Response::into_inner).map_err(|status| Error::call(format!("save {what}"), status))
    }
}

const CHECK: &str = "check the images";

/// What a check tells while it goes on.
pub struct Checking(Streaming<node::CheckImagesResponse>);

impl Checking {
    /// The next that it tells; nothing at its end.
    pub async fn next(&mut self) -> Result<Option<node::check_images_response::What>, Error> {
        loop {
            let answer = self.0.message().await.map_err(|status| Error::call(CHECK, status))?;
            match answer {
                Some(node::CheckImagesResponse { what: None }) => {}
                answer => return Ok(answer.and_then(|answer| answer.what)),
            }
        }
    }
}

/// A time in a request; less than nothing is nothing.
fn seconds(time: i64) -> Duration {
    Duration::from_secs(time.try_into().unwrap_or(0))
}

fn credentials(auth: v1::AuthConfig) -> node::Credentials {
    let v1::AuthConfig { username, password, auth, server_address, identity_token, registry_token } = auth;
    node::Credentials { username, password, auth, server_address, identity_token, registry_token }
}

fn spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..v1::ImageSpec::default() }
}
