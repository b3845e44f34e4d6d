//! The calls that make pods and containers, follow them, and ask what becomes of them.

use std::path::Path;

use corten_cri::v1::*;

use super::{Output, Pod, command, spec};
use crate::{
    context::Ctx,
    expect::present,
    log,
    verdict::{Checked, Refusal, Stop},
};

impl Ctx {
    /// RunPodSandbox.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn try_run(&self, config: &PodSandboxConfig) -> Result<String, Refusal> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: self.handler().to_owned() };
        Ok(self.run_pod_sandbox(request).await?.pod_sandbox_id)
    }

    /// RunPodSandbox with a configuration.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn run_pod(&self, config: PodSandboxConfig) -> Checked<Pod> {
        let id = self.try_run(&config).await?;
        if id.is_empty() {
            return Err(Stop::failed("RunPodSandboxResponse.pod_sandbox_id", "an id", "nothing"));
        }
        Ok(Pod { id, config })
    }

    /// A running pod with the node's network.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn new_pod(&self) -> Checked<Pod> {
        self.run_pod(self.pod("pod")?).await
    }

    /// CreateContainer.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn try_create(&self, pod: &Pod, config: &ContainerConfig) -> Result<String, Refusal> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config.clone()),
            sandbox_config: Some(pod.config.clone()),
        };
        Ok(self.create_container(request).await?.container_id)
    }

    /// A created container. Its network is the pod's kind.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn create(&self, pod: &Pod, config: &ContainerConfig) -> Checked<String> {
        let id = self.try_create(pod, config).await?;
        if id.is_empty() {
            return Err(Stop::failed("CreateContainerResponse.container_id", "an id", "nothing"));
        }
        Ok(id)
    }

    /// A started container.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn start(&self, pod: &Pod, config: &ContainerConfig) -> Checked<String> {
        let id = self.create(pod, config).await?;
        self.start_id(&id).await?;
        Ok(id)
    }

    /// A started container that does nothing.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn start_sleeper(&self, pod: &Pod) -> Checked<String> {
        self.start(pod, &self.container("sleeper", &["sleep"])).await
    }

    /// StartContainer.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn start_id(&self, id: &str) -> Result<(), Refusal> {
        self.start_container(StartContainerRequest { container_id: id.to_owned() }).await.map(drop)
    }

    /// StopContainer.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn stop(&self, id: &str, timeout: i64) -> Result<(), Refusal> {
        self.stop_container(StopContainerRequest { container_id: id.to_owned(), timeout }).await.map(drop)
    }

    /// RemoveContainer.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn remove(&self, id: &str) -> Result<(), Refusal> {
        self.remove_container(RemoveContainerRequest { container_id: id.to_owned() }).await.map(drop)
    }

    /// StopPodSandbox.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn stop_pod(&self, id: &str) -> Result<(), Refusal> {
        self.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.map(drop)
    }

    /// RemovePodSandbox.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Refusal> {
        self.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }).await.map(drop)
    }

    /// PodSandboxStatus, not verbose.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn try_pod_status(&self, id: &str) -> Result<PodSandboxStatusResponse, Refusal> {
        self.pod_sandbox_status(PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false }).await
    }

    /// The status of a sandbox.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn pod_status(&self, id: &str) -> Checked<PodSandboxStatus> {
        present("PodSandboxStatusResponse.status", self.try_pod_status(id).await?.status)
    }

    /// ContainerStatus, not verbose.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn try_status_of(&self, id: &str) -> Result<ContainerStatusResponse, Refusal> {
        self.container_status(ContainerStatusRequest { container_id: id.to_owned(), verbose: false }).await
    }

    /// The status of a container.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn status_of(&self, id: &str) -> Checked<ContainerStatus> {
        present("ContainerStatusResponse.status", self.try_status_of(id).await?.status)
    }

    /// The status of a container when it has ended.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn ended(&self, id: &str) -> Checked<ContainerStatus> {
        let ended = self.until("ContainerStatus.state becomes CONTAINER_EXITED", || async {
            let status = self.status_of(id).await?;
            Ok((status.state() == ContainerState::ContainerExited).then_some(status))
        });
        ended.await
    }

    /// Runs a container to its end; its status and what it logged on both streams.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn run_to_end(&self, pod: &Pod, config: &ContainerConfig) -> Checked<(ContainerStatus, Output)> {
        let id = self.start(pod, config).await?;
        let status = self.ended(&id).await?;
        let path = Path::new(&pod.config.log_directory).join(&config.log_path);
        let output = log::output(&log::read(&path)?, status.exit_code);
        Ok((status, output))
    }

    /// ExecSync of the test program.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn try_exec(&self, id: &str, words: &[&str], timeout: i64) -> Result<ExecSyncResponse, Refusal> {
        self.exec_sync(ExecSyncRequest { container_id: id.to_owned(), cmd: command(words), timeout }).await
    }

    /// What the test program says in a container.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn exec_in(&self, id: &str, words: &[&str]) -> Checked<Output> {
        let response = self.try_exec(id, words, 30).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output { code: response.exit_code, stdout: text(&response.stdout), stderr: text(&response.stderr) })
    }

    /// What the test program says on standard output in a container; it must end with code 0.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn said(&self, id: &str, words: &[&str]) -> Checked<String> {
        let output = self.exec_in(id, words).await?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(Stop::failed(format!("ExecSync of {words:?}"), "exit code 0", format!("{output:?}")))
    }

    /// Waits until a container has logged a line with this text; the whole log.
    ///
    /// # Errors
    /// [`Stop`]
    pub async fn logged(&self, pod: &Pod, config: &ContainerConfig, text: &str) -> Checked<Vec<log::Line>> {
        let path = Path::new(&pod.config.log_directory).join(&config.log_path);
        self.until(&format!("the line {text:?} in the log"), || async {
            // It may not be there yet, or end in the middle of a line.
            let lines = log::read(&path).unwrap_or_default();
            Ok(lines.iter().any(|line| line.text.contains(text)).then_some(lines))
        })
        .await
    }

    /// PullImage of a public image; what it returns.
    ///
    /// # Errors
    /// What the runtime says.
    pub async fn pull(&self, reference: &str) -> Result<String, Refusal> {
        let request = PullImageRequest { image: Some(spec(reference)), ..Default::default() };
        Ok(self.pull_image(request).await?.image_ref)
    }
}
