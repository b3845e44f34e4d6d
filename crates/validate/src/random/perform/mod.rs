//! Making the calls.

mod containers;

use std::{fs, future::Future, io, time::Duration};

use corten_cri::v1::*;
use tonic::{Response, Status};

use super::{
    Target,
    call::{By, Call, PodFilter as PF},
    world::{Ids, World, pod_id},
};
use crate::image::names;

/// How long any call may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a call was answered with, if with success.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Reply {
    Done,
    Id(String),
    Pod(Box<PodSandboxStatus>),
    Pods(Vec<PodSandbox>),
    Container(Box<ContainerStatus>),
    Containers(Vec<Container>),
    Output {
        stdout: Vec<u8>,
        code: i32,
    },
    Url(String),
    /// The ids that stats are about.
    Stats(Vec<String>),
    /// The ids that stats are about, of a runtime that may leave them out.
    PodStats(Vec<String>),
    Image(Option<Box<Image>>),
    Images(Vec<Image>),
    /// Whether there is a log after a call that reopens it, where there was none before.
    Log {
        created: bool,
    },
    /// Something that there must be is not in the answer.
    Lacks(&'static str),
}

/// A call's answer.
pub type Answer = Result<Reply, Status>;

/// Makes the calls of one world.
#[derive(Debug)]
pub struct Performer<'a> {
    pub target: &'a Target,
    pub world: &'a World,
}

async fn within<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let answer = tokio::time::timeout(DEADLINE, call).await;
    answer.unwrap_or_else(|_| Err(no_answer())).map(Response::into_inner)
}

fn no_answer() -> Status {
    Status::deadline_exceeded(format!("no answer within {DEADLINE:?}"))
}

impl Performer<'_> {
    /// Makes a call that is a single one; of two at once it makes the first.
    pub async fn perform(&self, ids: &Ids, call: &Call) -> Answer {
        match call {
            Call::Together(first, _) => Box::pin(self.perform(ids, first)).await,
            Call::Version | Call::Status | Call::ImageFsInfo => self.node(call).await,
            Call::PullImage(_) | Call::PullNothing | Call::RemoveImage(..) => self.change_image(call).await,
            Call::ImageStatus(..) | Call::ListImages(_) => self.read_image(call).await,
            Call::RunPodSandbox(_)
            | Call::StopPodSandbox(_)
            | Call::RemovePodSandbox(_)
            | Call::UpdatePodSandboxResources(_) => self.change_pod(ids, call).await,
            Call::PodSandboxStatus(_)
            | Call::ListPodSandbox(_)
            | Call::PodSandboxStats(_)
            | Call::ListPodSandboxStats(_)
            | Call::PortForward(_) => self.read_pod(ids, call).await,
            Call::ContainerStatus(_)
            | Call::ListContainers(_)
            | Call::ContainerStats(_)
            | Call::ListContainerStats(_)
            | Call::Exec(_)
            | Call::Attach(_) => self.read_container(ids, call).await,
            _ => self.change_container(ids, call).await,
        }
    }

    async fn node(&self, call: &Call) -> Answer {
        let (mut runtime, mut images) = (self.target.runtime.clone(), self.target.images.clone());
        Ok(match call {
            Call::Version => {
                let version = within(runtime.version(VersionRequest { version: "0.1.0".into() })).await?;
                require(!version.runtime_name.is_empty() && !version.runtime_api_version.is_empty(), "its name and API")
            }
            Call::Status => {
                let status = within(runtime.status(StatusRequest::default())).await?.status.unwrap_or_default();
                let ready = |name| status.conditions.iter().any(|known| known.r#type == name);
                require(ready("RuntimeReady") && ready("NetworkReady"), "the conditions RuntimeReady and NetworkReady")
            }
            _ => {
                let info = within(images.image_fs_info(ImageFsInfoRequest {})).await?;
                require(!info.image_filesystems.is_empty(), "a file system")
            }
        })
    }

    /// A reference to an image.
    fn image(&self, image: usize, by: By) -> ImageSpec {
        let name = self.world.image(image);
        let registry = &self.target.registry;
        let reference = match by {
            By::Tag => registry.reference(&name),
            By::Id => registry.id(&name).unwrap_or_default().to_owned(),
            By::Digest => registry.reference_by_digest(&name).unwrap_or_default(),
        };
        ImageSpec { image: reference, ..Default::default() }
    }

    async fn change_image(&self, call: &Call) -> Answer {
        let mut images = self.target.images.clone();
        if let Call::RemoveImage(image, by) = call {
            within(images.remove_image(RemoveImageRequest { image: Some(self.image(*image, *by)) })).await?;
            return Ok(Reply::Done);
        }
        let spec = match call {
            Call::PullImage(image) => self.image(*image, By::Tag),
            _ => ImageSpec { image: self.target.registry.reference(names::NO_SUCH_TAG), ..Default::default() },
        };
        let request = PullImageRequest { image: Some(spec), ..Default::default() };
        Ok(Reply::Id(within(images.pull_image(request)).await?.image_ref))
    }

    async fn read_image(&self, call: &Call) -> Answer {
        let mut images = self.target.images.clone();
        if let Call::ImageStatus(image, by) = call {
            let request = ImageStatusRequest { image: Some(self.image(*image, *by)), verbose: false };
            return Ok(Reply::Image(within(images.image_status(request)).await?.image.map(Box::new)));
        }
        let filter = match call {
            Call::ListImages(Some(image)) => Some(ImageFilter { image: Some(self.image(*image, By::Tag)) }),
            _ => None,
        };
        Ok(Reply::Images(within(images.list_images(ListImagesRequest { filter })).await?.images))
    }

    async fn change_pod(&self, ids: &Ids, call: &Call) -> Answer {
        let mut runtime = self.target.runtime.clone();
        match call {
            Call::RunPodSandbox(pod) => {
                fs::create_dir_all(self.world.log_directory(*pod)).map_err(node_trouble)?;
                return Ok(Reply::Id(within(runtime.run_pod_sandbox(self.world.pod(*pod))).await?.pod_sandbox_id));
            }
            Call::StopPodSandbox(pod) => {
                let request = StopPodSandboxRequest { pod_sandbox_id: pod_id(ids, *pod) };
                within(runtime.stop_pod_sandbox(request)).await?;
            }
            Call::RemovePodSandbox(pod) => {
                let request = RemovePodSandboxRequest { pod_sandbox_id: pod_id(ids, *pod) };
                within(runtime.remove_pod_sandbox(request)).await?;
            }
            Call::UpdatePodSandboxResources(pod) => {
                let resources = LinuxContainerResources { cpu_shares: 300, ..Default::default() };
                let request = UpdatePodSandboxResourcesRequest {
                    pod_sandbox_id: pod_id(ids, *pod),
                    overhead: None,
                    resources: Some(resources),
                };
                within(runtime.update_pod_sandbox_resources(request)).await?;
            }
            _ => {}
        }
        Ok(Reply::Done)
    }

    fn pod_filter(&self, ids: &Ids, filter: PF) -> (String, Option<PodSandboxStateValue>, Option<usize>) {
        match filter {
            PF::All => (String::new(), None, None),
            PF::Id(pod) => (pod_id(ids, pod), None, None),
            PF::Ready(ready) => {
                let state = if ready { PodSandboxState::SandboxReady } else { PodSandboxState::SandboxNotready };
                (String::new(), Some(PodSandboxStateValue { state: state.into() }), None)
            }
            PF::Label(pod) => (String::new(), None, Some(pod)),
        }
    }

    async fn read_pod(&self, ids: &Ids, call: &Call) -> Answer {
        let mut runtime = self.target.runtime.clone();
        Ok(match call {
            Call::PodSandboxStatus(pod) => {
                let request = PodSandboxStatusRequest { pod_sandbox_id: pod_id(ids, *pod), verbose: false };
                let status = within(runtime.pod_sandbox_status(request)).await?.status;
                status.map_or(Reply::Lacks("the status"), |status| Reply::Pod(Box::new(status)))
            }
            Call::ListPodSandbox(filter) => {
                let (id, state, label) = self.pod_filter(ids, *filter);
                let label_selector = label.map(|place| self.world.labels(place)).unwrap_or_default();
                let filter = PodSandboxFilter { id, state, label_selector };
                let request = ListPodSandboxRequest { filter: Some(filter) };
                Reply::Pods(within(runtime.list_pod_sandbox(request)).await?.items)
            }
            Call::PodSandboxStats(pod) => {
                let request = PodSandboxStatsRequest { pod_sandbox_id: pod_id(ids, *pod) };
                pod_stats(within(runtime.pod_sandbox_stats(request)).await?.stats)
            }
            Call::ListPodSandboxStats(filter) => {
                let (id, _, label) = self.pod_filter(ids, *filter);
                let label_selector = label.map(|place| self.world.labels(place)).unwrap_or_default();
                let filter = PodSandboxStatsFilter { id, label_selector };
                let request = ListPodSandboxStatsRequest { filter: Some(filter) };
                pod_stats(within(runtime.list_pod_sandbox_stats(request)).await?.stats)
            }
            Call::PortForward(pod) => {
                let request = PortForwardRequest { pod_sandbox_id: pod_id(ids, *pod), port: vec![80] };
                Reply::Url(within(runtime.port_forward(request)).await?.url)
            }
            _ => Reply::Done,
        })
    }
}

fn require(holds: bool, what: &'static str) -> Reply {
    if holds { Reply::Done } else { Reply::Lacks(what) }
}

fn node_trouble(error: io::Error) -> Status {
    Status::aborted(format!("this node: {error}"))
}

fn pod_stats(stats: impl IntoIterator<Item = PodSandboxStats>) -> Reply {
    Reply::PodStats(stats.into_iter().map(|stats| stats.attributes.unwrap_or_default().id).collect())
}
