//! The calls of a sequence. They name pods, containers and images by places in it, not by ids: so a sequence stays one when
//! calls are taken out of it.

use std::fmt;

/// How many pods a sequence has places for.
pub const PODS: usize = 3;

/// How many containers: two for each pod.
pub const CONTAINERS: usize = 2 * PODS;

/// How many images.
pub const IMAGES: usize = 3;

/// The pod that a container's place belongs to.
pub fn pod_of(container: usize) -> usize {
    container / 2
}

/// An id that is no object's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// In the form of an id, but there never was such an object.
    Missing,
    /// The empty string.
    Empty,
    /// A path out of wherever ids are used as file names.
    Path,
    /// As long as nothing sensible is.
    Long,
}

/// Whose id is given where a pod's is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pod {
    /// The pod that is at a place, or was, or an id that there never was.
    At(usize),
    /// A container's.
    OfContainer(usize),
    /// Nobody's.
    Odd(Odd),
}

/// Whose id is given where a container's is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The container that is at a place, or was, or an id that there never was.
    At(usize),
    /// A pod's.
    OfPod(usize),
    /// Nobody's.
    Odd(Odd),
}

/// By what an image is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its repository and tag.
    Tag,
    /// Its id.
    Id,
    /// Its repository and digest.
    Digest,
}

/// What a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Nothing, without end.
    Pause,
    /// It ends at once with this code.
    Exit(u8),
    /// It says [`SAID`] and ends with 0.
    Say,
}

/// What [`Program::Say`] says.
pub const SAID: &str = "said by the program";

/// Which pods a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFilter {
    /// All.
    All,
    /// One, by id.
    Id(Pod),
    /// Those that are ready, or not.
    Ready(bool),
    /// Those that have the label of a place.
    Label(usize),
}

/// Which containers a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerFilter {
    /// All.
    All,
    /// One, by id.
    Id(Container),
    /// Those of a pod.
    Pod(Pod),
    /// Those in a state.
    State(State),
    /// Those that have the label of a place.
    Label(usize),
}

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not started.
    Created,
    /// Started, and not ended.
    Running,
    /// Ended.
    Exited,
    /// Not there.
    Gone,
}

/// How long a container is given to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// Not at all.
    None,
    /// A second, or longer where the program does end by SIGTERM.
    Some,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the RPC of its name")]
pub enum Call {
    Version,
    Status,
    RunPodSandbox(usize),
    StopPodSandbox(Pod),
    RemovePodSandbox(Pod),
    PodSandboxStatus(Pod),
    ListPodSandbox(PodFilter),
    PodSandboxStats(Pod),
    ListPodSandboxStats(PodFilter),
    UpdatePodSandboxResources(Pod),
    PortForward(Pod),
    CreateContainer {
        container: usize,
        image: usize,
        program: Program,
    },
    CreateContainerIn(Odd),
    StartContainer(Container),
    StopContainer(Container, Grace),
    RemoveContainer(Container),
    ContainerStatus(Container),
    ListContainers(ContainerFilter),
    UpdateContainerResources(Container),
    ReopenContainerLog(Container),
    ExecSync(Container, u8),
    Exec(Container),
    Attach(Container),
    ContainerStats(Container),
    ListContainerStats(ContainerFilter),
    PullImage(usize),
    PullNothing,
    RemoveImage(usize, By),
    ImageStatus(usize, By),
    ListImages(Option<usize>),
    ImageFsInfo,
    /// Two calls at once.
    Together(Box<Call>, Box<Call>),
}

impl Call {
    /// The RPC's name.
    pub fn rpc(&self) -> &'static str {
        match self {
            Self::Version => "Version",
            Self::Status => "Status",
            Self::RunPodSandbox(_) => "RunPodSandbox",
            Self::StopPodSandbox(_) => "StopPodSandbox",
            Self::RemovePodSandbox(_) => "RemovePodSandbox",
            Self::PodSandboxStatus(_) => "PodSandboxStatus",
            Self::ListPodSandbox(_) => "ListPodSandbox",
            Self::PodSandboxStats(_) => "PodSandboxStats",
            Self::ListPodSandboxStats(_) => "ListPodSandboxStats",
            Self::UpdatePodSandboxResources(_) => "UpdatePodSandboxResources",
            Self::PortForward(_) => "PortForward",
            Self::CreateContainer { .. } | Self::CreateContainerIn(_) => "CreateContainer",
            Self::StartContainer(_) => "StartContainer",
            Self::StopContainer(..) => "StopContainer",
            Self::RemoveContainer(_) => "RemoveContainer",
            Self::ContainerStatus(_) => "ContainerStatus",
            Self::ListContainers(_) => "ListContainers",
            Self::UpdateContainerResources(_) => "UpdateContainerResources",
            Self::ReopenContainerLog(_) => "ReopenContainerLog",
            Self::ExecSync(..) => "ExecSync",
            Self::Exec(_) => "Exec",
            Self::Attach(_) => "Attach",
            Self::ContainerStats(_) => "ContainerStats",
            Self::ListContainerStats(_) => "ListContainerStats",
            Self::PullImage(_) | Self::PullNothing => "PullImage",
            Self::RemoveImage(..) => "RemoveImage",
            Self::ImageStatus(..) => "ImageStatus",
            Self::ListImages(_) => "ListImages",
            Self::ImageFsInfo => "ImageFsInfo",
            Self::Together(..) => "two calls at once",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rpc = self.rpc();
        match self {
            Self::Version | Self::Status | Self::ImageFsInfo => write!(f, "{rpc}"),
            Self::RunPodSandbox(pod) => write!(f, "{rpc} of pod {pod}"),
            Self::StopPodSandbox(pod)
            | Self::RemovePodSandbox(pod)
            | Self::PodSandboxStatus(pod)
            | Self::PodSandboxStats(pod)
            | Self::UpdatePodSandboxResources(pod)
            | Self::PortForward(pod) => write!(f, "{rpc} of {pod}"),
            Self::ListPodSandbox(filter) | Self::ListPodSandboxStats(filter) => write!(f, "{rpc} {filter}"),
            Self::CreateContainer { container, image, program } => {
                let pod = pod_of(*container);
                write!(f, "{rpc} of container {container} in pod {pod} from image {image}, to {program}")
            }
            Self::CreateContainerIn(odd) => write!(f, "{rpc} in {odd}"),
            Self::StopContainer(container, grace) => write!(f, "{rpc} of {container}, {grace}"),
            Self::StartContainer(container)
            | Self::RemoveContainer(container)
            | Self::ContainerStatus(container)
            | Self::UpdateContainerResources(container)
            | Self::ReopenContainerLog(container)
            | Self::Exec(container)
            | Self::Attach(container)
            | Self::ContainerStats(container) => write!(f, "{rpc} of {container}"),
            Self::ExecSync(container, code) => write!(f, "{rpc} in {container} of what ends with {code}"),
            Self::ListContainers(filter) | Self::ListContainerStats(filter) => write!(f, "{rpc} {filter}"),
            Self::PullImage(image) => write!(f, "{rpc} of image {image}"),
            Self::PullNothing => write!(f, "{rpc} of a tag that there is not"),
            Self::RemoveImage(image, by) | Self::ImageStatus(image, by) => write!(f, "{rpc} of image {image} by {by}"),
            Self::ListImages(None) => write!(f, "{rpc} of all"),
            Self::ListImages(Some(image)) => write!(f, "{rpc} of image {image}"),
            Self::Together(first, second) => write!(f, "at once: {first}; {second}"),
        }
    }
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "an id that is nobody's",
            Self::Empty => "an empty id",
            Self::Path => "an id that is a path",
            Self::Long => "an id of 10000 letters",
        })
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(pod) => write!(f, "pod {pod}"),
            Self::OfContainer(container) => write!(f, "container {container}'s id as a pod's"),
            Self::Odd(odd) => odd.fmt(f),
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(container) => write!(f, "container {container}"),
            Self::OfPod(pod) => write!(f, "pod {pod}'s id as a container's"),
            Self::Odd(odd) => odd.fmt(f),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tag => "tag",
            Self::Id => "id",
            Self::Digest => "digest",
        })
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause => f.write_str("pause"),
            Self::Exit(code) => write!(f, "exit with {code}"),
            Self::Say => f.write_str("say something"),
        }
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "at once",
            Self::Some => "with time to end",
        })
    }
}

impl fmt::Display for PodFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("of all"),
            Self::Id(pod) => write!(f, "by id, of {pod}"),
            Self::Ready(true) => f.write_str("of those ready"),
            Self::Ready(false) => f.write_str("of those not ready"),
            Self::Label(pod) => write!(f, "by the label of pod {pod}"),
        }
    }
}

impl fmt::Display for ContainerFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("of all"),
            Self::Id(container) => write!(f, "by id, of {container}"),
            Self::Pod(pod) => write!(f, "of those of {pod}"),
            Self::State(state) => write!(f, "of those in state {state:?}"),
            Self::Label(container) => write!(f, "by the label of container {container}"),
        }
    }
}
