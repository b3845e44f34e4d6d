//! The CRI as the tests speak it: a call a line, panicking where a test expects success.

use std::{path::Path, time::Duration};

use corten_cri::{
    client::{self, Connection, ImageClient, RuntimeClient},
    v1::*,
};
use tonic::{Code, Status};

/// Both services of a runtime. Cheap to clone: one connection.
#[derive(Debug, Clone)]
pub struct Cri {
    connection: Connection,
}

/// What came out of ExecSync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// How often something awaited is asked for.
const POLL: Duration = Duration::from_millis(10);

/// How long something may take to come about before a test gives it up. Generous: nothing is asserted about speed, and an
/// emulated machine is some twenty times slower than a real one.
pub const PATIENCE: Duration = Duration::from_secs(120);

impl Cri {
    /// Connects to the socket.
    ///
    /// # Panics
    /// If nothing answers.
    pub async fn connect(socket: &Path) -> Self {
        let connection =
            client::connect(&format!("unix://{}", socket.display())).await.expect("connect to the runtime");
        Self { connection }
    }

    /// The RuntimeService.
    pub fn runtime(&self) -> RuntimeClient {
        client::runtime(self.connection.clone())
    }

    /// The ImageService.
    pub fn images(&self) -> ImageClient {
        client::images(self.connection.clone())
    }

    /// cortend's own service.
    pub fn node(&self) -> corten_cri::node::node_client::NodeClient<Connection> {
        client::node(self.connection.clone())
    }

    /// PullImage; the image's reference.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pull(&self, image: &str) -> Result<String, Status> {
        let request = PullImageRequest { image: Some(spec(image)), ..Default::default() };
        Ok(self.images().pull_image(request).await?.into_inner().image_ref)
    }

    /// ImageStatus; nothing if there is no such image.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn image(&self, image: &str) -> Result<Option<Image>, Status> {
        let request = ImageStatusRequest { image: Some(spec(image)), verbose: false };
        Ok(self.images().image_status(request).await?.into_inner().image)
    }

    /// RemoveImage.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn remove_image(&self, image: &str) -> Result<(), Status> {
        self.images().remove_image(RemoveImageRequest { image: Some(spec(image)) }).await?;
        Ok(())
    }

    /// ListImages without a filter.
    ///
    /// # Panics
    /// If it fails.
    pub async fn list_images(&self) -> Vec<Image> {
        self.images().list_images(ListImagesRequest::default()).await.expect("ListImages").into_inner().images
    }

    /// RunPodSandbox with a runtime handler (empty for the default); the sandbox's id.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn run_pod(&self, config: &PodSandboxConfig, handler: &str) -> Result<String, Status> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        Ok(self.runtime().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// StopPodSandbox.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn stop_pod(&self, id: &str) -> Result<(), Status> {
        self.runtime().stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await?;
        Ok(())
    }

    /// RemovePodSandbox.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Status> {
        self.runtime().remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await?;
        Ok(())
    }

    /// Stops and removes a pod.
    ///
    /// # Panics
    /// If that fails.
    pub async fn end_pod(&self, id: &str) {
        self.stop_pod(id).await.unwrap_or_else(|e| panic!("StopPodSandbox: {e}"));
        self.remove_pod(id).await.unwrap_or_else(|e| panic!("RemovePodSandbox: {e}"));
    }

    /// PodSandboxStatus.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn pod_status(&self, id: &str) -> Result<PodSandboxStatus, Status> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let status = self.runtime().pod_sandbox_status(request).await?.into_inner().status;
        Ok(status.expect("a status without a status"))
    }

    /// The first address of a pod.
    ///
    /// # Panics
    /// If it has none.
    pub async fn pod_ip(&self, id: &str) -> String {
        let network = self.pod_status(id).await.expect("PodSandboxStatus").network.expect("a pod with a network");
        assert!(!network.ip.is_empty(), "the pod has no address");
        network.ip
    }

    /// ListPodSandbox; the ids, sorted.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn list_pods(&self, filter: Option<PodSandboxFilter>) -> Result<Vec<String>, Status> {
        let items = self.runtime().list_pod_sandbox(ListPodSandboxRequest { filter }).await?.into_inner().items;
        let mut ids: Vec<String> = items.into_iter().map(|pod| pod.id).collect();
        ids.sort();
        Ok(ids)
    }

    /// CreateContainer; its id.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn create(
        &self,
        pod: &str,
        pod_config: &PodSandboxConfig,
        config: &ContainerConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_owned(),
            config: Some(config.clone()),
            sandbox_config: Some(pod_config.clone()),
        };
        Ok(self.runtime().create_container(request).await?.into_inner().container_id)
    }

    /// StartContainer.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn start(&self, id: &str) -> Result<(), Status> {
        self.runtime().start_container(StartContainerRequest { container_id: id.to_owned() }).await?;
        Ok(())
    }

    /// StopContainer with a grace period in seconds.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn stop(&self, id: &str, timeout: i64) -> Result<(), Status> {
        self.runtime().stop_container(StopContainerRequest { container_id: id.to_owned(), timeout }).await?;
        Ok(())
    }

    /// RemoveContainer.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn remove(&self, id: &str) -> Result<(), Status> {
        self.runtime().remove_container(RemoveContainerRequest { container_id: id.to_owned() }).await?;
        Ok(())
    }

    /// UpdateContainerResources.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn update(&self, id: &str, linux: LinuxContainerResources) -> Result<(), Status> {
        let request =
            UpdateContainerResourcesRequest { container_id: id.to_owned(), linux: Some(linux), ..Default::default() };
        self.runtime().update_container_resources(request).await.map(drop)
    }

    /// ContainerStatus.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn status(&self, id: &str) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let status = self.runtime().container_status(request).await?.into_inner().status;
        Ok(status.expect("a status without a status"))
    }

    /// ListContainers; the ids, sorted.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn list(&self, filter: Option<ContainerFilter>) -> Result<Vec<String>, Status> {
        let items = self.runtime().list_containers(ListContainersRequest { filter }).await?.into_inner().containers;
        let mut ids: Vec<String> = items.into_iter().map(|container| container.id).collect();
        ids.sort();
        Ok(ids)
    }

    /// Waits until a container has ended and returns its status.
    ///
    /// # Panics
    /// If it goes on for longer than [`PATIENCE`].
    pub async fn wait_exited(&self, id: &str) -> ContainerStatus {
        let exited = until("the container to end", async || {
            let status = self.status(id).await.expect("ContainerStatus");
            (status.state() == ContainerState::ContainerExited).then_some(status)
        });
        exited.await
    }

    /// ExecSync with a timeout in seconds (0: none).
    ///
    /// # Errors
    /// The runtime's.
    pub async fn exec_sync(&self, id: &str, command: &[&str], timeout: i64) -> Result<ExecSyncResponse, Status> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
        Ok(self.runtime().exec_sync(request).await?.into_inner())
    }

    /// ExecSync that must work out, whatever the exit code.
    ///
    /// # Panics
    /// If it does not.
    pub async fn exec(&self, id: &str, command: &[&str]) -> Output {
        let response = self.exec_sync(id, command, 60).await.unwrap_or_else(|e| panic!("ExecSync {command:?}: {e}"));
        Output {
            code: response.exit_code,
            stdout: String::from_utf8_lossy(&response.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&response.stderr).into_owned(),
        }
    }

    /// The standard output of a shell script that must end with code 0.
    ///
    /// # Panics
    /// If it does not.
    pub async fn shell(&self, id: &str, script: &str) -> String {
        let output = self.exec(id, &["/bin/sh", "-c", script]).await;
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// Makes `/tmp/go` in a container that waits for it. It may end at once, and everything that runs in it with it.
    ///
    /// # Panics
    /// If that does not work out.
    pub async fn let_go(&self, id: &str) {
        let output = self.exec(id, &["touch", "/tmp/go"]).await;
        assert!(matches!(output.code, 0 | 137), "{output:?}");
    }

    /// ContainerStats.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn stats(&self, id: &str) -> Result<ContainerStats, Status> {
        let request = ContainerStatsRequest { container_id: id.to_owned() };
        let stats = self.runtime().container_stats(request).await?.into_inner().stats;
        Ok(stats.expect("stats without stats"))
    }
}

/// An image by its reference alone.
pub fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..Default::default() }
}

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within [`PATIENCE`], naming what was awaited.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < patience, "waited in vain for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Asserts that a call failed with this code and that the text names each of `words`.
///
/// # Panics
/// If it did not.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &[&str]) {
    let status = match result {
        Ok(value) => panic!("expected {code:?}, got {value:?}"),
        Err(status) => status,
    };
    assert_eq!(status.code(), code, "{}", status.message());
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in: {}", status.message());
    }
}
