//! Making up sequences.

use super::{
    call::{
        By, CONTAINERS, Call, Container, ContainerFilter, Grace, IMAGES, Odd, PODS, Pod, PodFilter, Program, State,
        pod_of,
    },
    draw::Draw,
};

/// One call in so many is two at once.
const TOGETHER: usize = 8;

/// One id in so many is nobody's.
const ODD: usize = 16;

/// One call in so many is made however little it has to work on.
const BLIND: usize = 5;

/// What is thought to be there: only to make calls likelier that have something to work on.
struct Guess {
    pods: [bool; PODS],
    containers: [State; CONTAINERS],
    images: [bool; IMAGES],
}

/// A sequence of so many calls.
pub fn sequence(draw: &mut Draw, calls: usize) -> Vec<Call> {
    let mut guess = Guess { pods: [false; PODS], containers: [State::Gone; CONTAINERS], images: [false; IMAGES] };
    (0..calls).map(|_| step(draw, &mut guess)).collect()
}

fn step(draw: &mut Draw, guess: &mut Guess) -> Call {
    if !draw.once_in(TOGETHER) {
        return single(draw, guess);
    }
    let first = single(draw, guess);
    let second =
        if draw.once_in(3) { first.clone() } else { rival(draw, &first).unwrap_or_else(|| single(draw, guess)) };
    Call::Together(Box::new(first), Box::new(second))
}

/// Another call about the same object.
fn rival(draw: &mut Draw, call: &Call) -> Option<Call> {
    match call {
        Call::RunPodSandbox(pod) => Some(of_pod(draw, Pod::At(*pod))),
        Call::StopPodSandbox(pod) | Call::RemovePodSandbox(pod) => Some(match draw.below(3) {
            0 => Call::CreateContainer { container: place(*pod)? * 2, image: 0, program: Program::Pause },
            1 => of_container(draw, Container::At(place(*pod)? * 2)),
            _ => of_pod(draw, *pod),
        }),
        Call::CreateContainer { container, .. } => Some(match draw.below(2) {
            0 => of_pod(draw, Pod::At(pod_of(*container))),
            _ => of_container(draw, Container::At(*container)),
        }),
        Call::StartContainer(container) | Call::StopContainer(container, _) | Call::RemoveContainer(container) => {
            Some(of_container(draw, *container))
        }
        Call::PullImage(image) => Some(Call::RemoveImage(*image, By::Id)),
        _ => None,
    }
}

fn place(pod: Pod) -> Option<usize> {
    match pod {
        Pod::At(place) => Some(place),
        Pod::OfContainer(_) | Pod::Odd(_) => None,
    }
}

/// A call that is likely to work on something, tried a few times, or any.
fn single(draw: &mut Draw, guess: &mut Guess) -> Call {
    let mut call = any(draw);
    for _ in 0..8 {
        if draw.once_in(BLIND) || guess.is_sensible(&call) {
            break;
        }
        call = any(draw);
    }
    guess.apply(&call);
    call
}

fn any(draw: &mut Draw) -> Call {
    match draw.below(100) {
        0..12 => Call::RunPodSandbox(draw.below(PODS)),
        12..24 => {
            let pod = pod(draw);
            of_pod(draw, pod)
        }
        24..42 => Call::CreateContainer {
            container: draw.below(CONTAINERS),
            image: draw.below(IMAGES),
            program: draw.pick(Program::Pause, &[Program::Pause, Program::Exit(0), Program::Exit(3), Program::Say]),
        },
        42..43 => Call::CreateContainerIn(odd(draw)),
        43..80 => {
            let container = container(draw);
            of_container(draw, container)
        }
        80..96 => of_images(draw),
        _ => of_all(draw),
    }
}

fn of_pod(draw: &mut Draw, pod: Pod) -> Call {
    match draw.below(13) {
        0..3 => Call::StopPodSandbox(pod),
        3..5 => Call::RemovePodSandbox(pod),
        5..8 => Call::PodSandboxStatus(pod),
        8 => Call::ListPodSandbox(PodFilter::Id(pod)),
        9 => Call::PodSandboxStats(pod),
        10 => Call::UpdatePodSandboxResources(pod),
        11 => Call::PortForward(pod),
        _ => Call::ListContainers(ContainerFilter::Pod(pod)),
    }
}

fn of_container(draw: &mut Draw, container: Container) -> Call {
    match draw.below(22) {
        0..7 => Call::StartContainer(container),
        7..9 => Call::StopContainer(container, draw.pick(Grace::None, &[Grace::None, Grace::Some])),
        9..11 => Call::RemoveContainer(container),
        11..14 => Call::ContainerStatus(container),
        14 => Call::ListContainers(ContainerFilter::Id(container)),
        15 => Call::UpdateContainerResources(container),
        16 => Call::ReopenContainerLog(container),
        17 => Call::ExecSync(container, draw.pick(0, &[7])),
        18 => Call::Exec(container),
        19 => Call::Attach(container),
        20 => Call::ContainerStats(container),
        _ => Call::ListContainerStats(ContainerFilter::Id(container)),
    }
}

fn of_images(draw: &mut Draw) -> Call {
    let image = draw.below(IMAGES);
    let by = draw.pick(By::Tag, &[By::Id, By::Digest]);
    match draw.below(16) {
        0..7 => Call::PullImage(image),
        7 => Call::PullNothing,
        8..10 => Call::RemoveImage(image, by),
        10..13 => Call::ImageStatus(image, by),
        13 => Call::ListImages(None),
        14 => Call::ListImages(Some(image)),
        _ => Call::ImageFsInfo,
    }
}

fn of_all(draw: &mut Draw) -> Call {
    let state = draw.pick(State::Created, &[State::Running, State::Exited]);
    match draw.below(9) {
        0 => Call::ListPodSandbox(PodFilter::All),
        1 => Call::ListPodSandbox(PodFilter::Ready(draw.once_in(2))),
        2 => Call::ListPodSandbox(PodFilter::Label(draw.below(PODS))),
        3 => Call::ListContainers(ContainerFilter::All),
        4 => Call::ListContainers(ContainerFilter::State(state)),
        5 => Call::ListContainers(ContainerFilter::Label(draw.below(CONTAINERS))),
        6 => Call::ListContainerStats(ContainerFilter::All),
        7 => Call::ListPodSandboxStats(PodFilter::All),
        _ => draw_one(draw),
    }
}

fn draw_one(draw: &mut Draw) -> Call {
    if draw.once_in(2) { Call::Version } else { Call::Status }
}

fn pod(draw: &mut Draw) -> Pod {
    if !draw.once_in(ODD) {
        return Pod::At(draw.below(PODS));
    }
    if draw.once_in(3) { Pod::OfContainer(draw.below(CONTAINERS)) } else { Pod::Odd(odd(draw)) }
}

fn container(draw: &mut Draw) -> Container {
    if !draw.once_in(ODD) {
        return Container::At(draw.below(CONTAINERS));
    }
    if draw.once_in(3) { Container::OfPod(draw.below(PODS)) } else { Container::Odd(odd(draw)) }
}

fn odd(draw: &mut Draw) -> Odd {
    draw.pick(Odd::Missing, &[Odd::Empty, Odd::Path, Odd::Long])
}

impl Guess {
    fn has(&self, container: usize) -> State {
        self.containers.get(container).copied().unwrap_or(State::Gone)
    }

    fn is_sensible(&self, call: &Call) -> bool {
        let pod = |pod: usize| self.pods.get(pod).copied().unwrap_or_default();
        match call {
            Call::StopPodSandbox(Pod::At(place)) | Call::RemovePodSandbox(Pod::At(place)) => pod(*place),
            Call::CreateContainer { container, image, .. } => {
                let image = self.images.get(*image).copied().unwrap_or_default();
                pod(pod_of(*container)) && image && self.has(*container) == State::Gone
            }
            Call::StartContainer(Container::At(place)) => self.has(*place) == State::Created,
            Call::StopContainer(Container::At(place), _)
            | Call::ExecSync(Container::At(place), _)
            | Call::Exec(Container::At(place))
            | Call::Attach(Container::At(place))
            | Call::ReopenContainerLog(Container::At(place))
            | Call::UpdateContainerResources(Container::At(place))
            | Call::ContainerStats(Container::At(place)) => self.has(*place) == State::Running,
            Call::RemoveContainer(Container::At(place)) | Call::ContainerStatus(Container::At(place)) => {
                self.has(*place) != State::Gone
            }
            Call::RemoveImage(image, _) => self.images.get(*image).copied().unwrap_or_default(),
            _ => true,
        }
    }

    fn apply(&mut self, call: &Call) {
        let (pods, containers, images) = (&mut self.pods, &mut self.containers, &mut self.images);
        let mut pod = |place: usize, ready: bool, state: State| {
            pods.iter_mut().skip(place).take(1).for_each(|pod| *pod = ready);
            containers.iter_mut().skip(2 * place).take(2).for_each(|container| *container = state);
        };
        match call {
            Call::RunPodSandbox(place) => pod(*place, true, State::Gone),
            Call::StopPodSandbox(Pod::At(place)) => pod(*place, false, State::Exited),
            Call::RemovePodSandbox(Pod::At(place)) => pod(*place, false, State::Gone),
            Call::CreateContainer { container, .. } => set(containers, *container, State::Created),
            Call::StartContainer(Container::At(place)) => set(containers, *place, State::Running),
            Call::StopContainer(Container::At(place), _) => set(containers, *place, State::Exited),
            Call::RemoveContainer(Container::At(place)) => set(containers, *place, State::Gone),
            Call::PullImage(image) => set(images, *image, true),
            Call::RemoveImage(image, _) => set(images, *image, false),
            _ => {}
        }
    }
}

fn set<T>(places: &mut [T], place: usize, value: T) {
    if let Some(old) = places.get_mut(place) {
        *old = value;
    }
}
