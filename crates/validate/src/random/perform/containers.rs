//! Calls about containers.

use std::{fs, io};

use corten_cri::v1::*;
use tonic::Status;

use super::{Answer, Performer, Reply, node_trouble, within};
use crate::{
    image::PROGRAM,
    random::{
        call::{By, Call, Container, ContainerFilter as CF, Grace, Odd, Pod, Program, State, pod_of},
        world::{Ids, odd_id, pod_id, shares_processes},
    },
};

fn container_id(ids: &Ids, container: Container) -> String {
    let id = match container {
        Container::At(place) => ids.containers.get(place),
        Container::OfPod(place) => ids.pods.get(place),
        Container::Odd(odd) => return odd_id(odd),
    };
    id.cloned().flatten().unwrap_or_else(|| odd_id(Odd::Missing))
}

impl Performer<'_> {
    pub(super) async fn read_container(&self, ids: &Ids, call: &Call) -> Answer {
        let mut runtime = self.target.runtime.clone();
        Ok(match call {
            Call::ContainerStatus(container) => {
                let request = ContainerStatusRequest { container_id: container_id(ids, *container), verbose: false };
                let status = within(runtime.container_status(request)).await?.status;
                status.map_or(Reply::Lacks("the status"), |status| Reply::Container(Box::new(status)))
            }
            Call::ListContainers(filter) => {
                let request = ListContainersRequest { filter: Some(self.container_filter(ids, *filter)) };
                Reply::Containers(within(runtime.list_containers(request)).await?.containers)
            }
            Call::ContainerStats(container) => {
                let request = ContainerStatsRequest { container_id: container_id(ids, *container) };
                container_stats(within(runtime.container_stats(request)).await?.stats)
            }
            Call::ListContainerStats(filter) => {
                let ContainerFilter { id, pod_sandbox_id, label_selector, .. } = self.container_filter(ids, *filter);
                let filter = ContainerStatsFilter { id, pod_sandbox_id, label_selector };
                let request = ListContainerStatsRequest { filter: Some(filter) };
                container_stats(within(runtime.list_container_stats(request)).await?.stats)
            }
            Call::Exec(container) => {
                let request = ExecRequest {
                    container_id: container_id(ids, *container),
                    cmd: vec![PROGRAM.into(), "pid".into()],
                    stdout: true,
                    ..Default::default()
                };
                Reply::Url(within(runtime.exec(request)).await?.url)
            }
            Call::Attach(container) => {
                let container_id = container_id(ids, *container);
                let request = AttachRequest { container_id, stdout: true, ..Default::default() };
                Reply::Url(within(runtime.attach(request)).await?.url)
            }
            _ => Reply::Done,
        })
    }

    fn container_filter(&self, ids: &Ids, filter: CF) -> ContainerFilter {
        match filter {
            CF::All => ContainerFilter::default(),
            CF::Id(container) => ContainerFilter { id: container_id(ids, container), ..Default::default() },
            CF::Pod(pod) => ContainerFilter { pod_sandbox_id: pod_id(ids, pod), ..Default::default() },
            CF::State(state) => {
                let state = ContainerStateValue { state: wire_state(state).into() };
                ContainerFilter { state: Some(state), ..Default::default() }
            }
            CF::Label(place) => ContainerFilter { label_selector: self.world.labels(place), ..Default::default() },
        }
    }

    pub(super) async fn change_container(&self, ids: &Ids, call: &Call) -> Answer {
        let mut runtime = self.target.runtime.clone();
        match call {
            Call::CreateContainer { container, image, program } => {
                let pod = pod_id(ids, Pod::At(pod_of(*container)));
                return self.create(&pod, *container, *image, *program).await;
            }
            Call::CreateContainerIn(odd) => return self.create(&odd_id(*odd), 0, 0, Program::Pause).await,
            Call::StartContainer(container) => {
                let request = StartContainerRequest { container_id: container_id(ids, *container) };
                within(runtime.start_container(request)).await?;
            }
            Call::StopContainer(container, grace) => {
                let timeout = seconds(*container, *grace);
                let request = StopContainerRequest { container_id: container_id(ids, *container), timeout };
                within(runtime.stop_container(request)).await?;
            }
            Call::RemoveContainer(container) => {
                let request = RemoveContainerRequest { container_id: container_id(ids, *container) };
                within(runtime.remove_container(request)).await?;
            }
            Call::UpdateContainerResources(container) => {
                let request = UpdateContainerResourcesRequest {
                    container_id: container_id(ids, *container),
                    linux: Some(LinuxContainerResources { cpu_shares: 200, ..Default::default() }),
                    ..Default::default()
                };
                within(runtime.update_container_resources(request)).await?;
            }
            Call::ReopenContainerLog(container) => return self.reopen(ids, *container).await,
            Call::ExecSync(container, code) => {
                let cmd = [PROGRAM, "echo", "executed", "then", "exit", &code.to_string()].map(str::to_owned).to_vec();
                let request = ExecSyncRequest { container_id: container_id(ids, *container), cmd, timeout: 30 };
                let response = within(runtime.exec_sync(request)).await?;
                return Ok(Reply::Output { stdout: response.stdout, code: response.exit_code });
            }
            _ => {}
        }
        Ok(Reply::Done)
    }

    async fn create(&self, pod: &str, container: usize, image: usize, program: Program) -> Answer {
        // As the kubelet, which asks by the id.
        let image = self.image(image, By::Id).image;
        let request = self.world.container(pod, container, &image, program);
        Ok(Reply::Id(within(self.target.runtime.clone().create_container(request)).await?.container_id))
    }

    /// Moves the log away, as the kubelet does, and asks for a new one. The old one is not put back.
    async fn reopen(&self, ids: &Ids, container: Container) -> Answer {
        let log = match container {
            Container::At(place) => Some(self.world.log(place)),
            Container::OfPod(_) | Container::Odd(_) => None,
        };
        if let Some(log) = &log {
            ignore_missing(fs::rename(log, log.with_extension("old"))).map_err(node_trouble)?;
        }
        let request = ReopenContainerLogRequest { container_id: container_id(ids, container) };
        let answer = within(self.target.runtime.clone().reopen_container_log(request)).await;
        let created = log.is_some_and(|log| log.exists());
        match answer {
            Err(status) if created => Err(Status::data_loss(format!("a log was created although: {status}"))),
            Err(status) => Err(status),
            Ok(_) => Ok(Reply::Log { created }),
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// How long a container is given, in seconds.
fn seconds(container: Container, grace: Grace) -> i64 {
    match (grace, container) {
        (Grace::None, _) => 0,
        (Grace::Some, Container::At(place)) if shares_processes(pod_of(place)) => 10,
        (Grace::Some, _) => 1,
    }
}

/// The CRI's value for a state; of what is gone there is none.
fn wire_state(state: State) -> ContainerState {
    match state {
        State::Created => ContainerState::ContainerCreated,
        State::Running => ContainerState::ContainerRunning,
        State::Exited => ContainerState::ContainerExited,
        State::Gone => ContainerState::ContainerUnknown,
    }
}

fn container_stats(stats: impl IntoIterator<Item = ContainerStats>) -> Reply {
    Reply::Stats(stats.into_iter().map(|stats| stats.attributes.unwrap_or_default().id).collect())
}
