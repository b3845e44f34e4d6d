//! The model: what a runtime may answer to each call, given what was answered before.
//!
//! Of each object it knows the states in which it may be: where the CRI leaves freedom, or two calls were made at once, there is
//! more than one, and what is seen afterwards narrows them down. An answer that fits no state is a breach.

mod containers;
mod content;
mod images;
mod lists;
mod pods;
mod together;

use std::collections::BTreeSet;

use tonic::Code;

use super::{
    call::{CONTAINERS, Call, Container, IMAGES, Odd, PODS, Pod, Program, State},
    perform::{Answer, Reply},
    world::{Ids, World},
};

/// The state of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodState {
    /// It can have running containers.
    Ready,
    /// It cannot.
    NotReady,
    /// It is not there.
    Gone,
}

/// The state of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageState {
    /// It is there with its tag.
    Tagged,
    /// It is there without its tag.
    Untagged,
    /// It is not there.
    Absent,
}

/// What a runtime did that it may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The RPC.
    pub rpc: &'static str,
    /// What it is about. Two breaches with the same RPC and this are taken for the same one.
    pub about: &'static str,
    /// What the runtime may do.
    pub expected: String,
    /// What it did.
    pub seen: String,
}

/// Whether an answer fits.
pub type Verdict = Result<(), Breach>;

/// What is known of the container at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    states: BTreeSet<State>,
    program: Program,
    image: usize,
    /// Whether it was started, as far as is known.
    started: bool,
    /// Whether it was asked to end: then its exit code may be a signal's.
    disturbed: bool,
    /// Whether its log was moved, or is not its alone.
    log_changed: bool,
}

/// What may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    ids: Ids,
    pods: [BTreeSet<PodState>; PODS],
    containers: [Known; CONTAINERS],
    images: [BTreeSet<ImageState>; IMAGES],
}

/// Whose id a call gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// That of an object that is, or was, at a place.
    Place(usize),
    /// One in the form of an id that is no such object's.
    Nobody,
    /// Something that is no id.
    NoId,
}

impl Model {
    /// Nothing is there.
    pub fn new() -> Self {
        let container = Known {
            states: [State::Gone].into(),
            program: Program::Pause,
            image: 0,
            started: false,
            disturbed: false,
            log_changed: false,
        };
        Self {
            ids: Ids::default(),
            pods: std::array::from_fn(|_| [PodState::Gone].into()),
            containers: std::array::from_fn(|_| container.clone()),
            images: std::array::from_fn(|_| [ImageState::Absent].into()),
        }
    }

    /// The ids that the places have, or had last.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Takes an answer in, if it fits.
    ///
    /// # Errors
    /// What does not fit. Then the model is as it was.
    pub fn judge(&mut self, world: &World, call: &Call, answer: &Answer) -> Verdict {
        let mut after = self.clone();
        after.take(world, call, answer)?;
        *self = after;
        Ok(())
    }

    fn take(&mut self, world: &World, call: &Call, answer: &Answer) -> Verdict {
        if let Ok(Reply::Lacks(what)) = answer {
            return Err(breach(call, "the answer is incomplete", *what, "an answer without it"));
        }
        if let Err(status) = answer
            && matches!(status.code(), Code::DeadlineExceeded | Code::DataLoss | Code::Cancelled)
        {
            return Err(breach(call, "there is no proper answer", "an answer", seen(answer)));
        }
        match call {
            Call::Version | Call::Status | Call::ImageFsInfo => must_work(call, "it cannot be asked", answer),
            Call::PullImage(_) | Call::PullNothing | Call::RemoveImage(..) | Call::ImageStatus(..) => {
                self.take_image(world, call, answer)
            }
            Call::ListImages(filter) => self.take_images(world, call, *filter, answer),
            Call::ListPodSandbox(filter) => self.take_pods(world, call, *filter, answer),
            Call::ListContainers(filter) => self.take_containers(world, call, *filter, answer),
            Call::ListContainerStats(filter) => self.take_container_stats(call, *filter, answer),
            Call::ListPodSandboxStats(filter) => self.take_pod_stats(call, *filter, answer),
            Call::RunPodSandbox(_)
            | Call::StopPodSandbox(_)
            | Call::RemovePodSandbox(_)
            | Call::PodSandboxStatus(_)
            | Call::PodSandboxStats(_)
            | Call::UpdatePodSandboxResources(_)
            | Call::PortForward(_) => self.take_pod(world, call, answer),
            Call::Together(..) => Ok(()),
            _ => self.take_container(world, call, answer),
        }
    }

    /// Gives up knowing the state of what a call is about, after a breach that is known already.
    pub fn forget(&mut self) {
        for states in &mut self.pods {
            states.extend([PodState::Ready, PodState::NotReady, PodState::Gone]);
        }
        for container in &mut self.containers {
            container.states.extend([State::Created, State::Running, State::Exited, State::Gone]);
            (container.disturbed, container.log_changed) = (true, true);
        }
        for states in &mut self.images {
            states.extend([ImageState::Tagged, ImageState::Untagged, ImageState::Absent]);
        }
    }

    fn pod_subject(&self, pod: Pod) -> Subject {
        match pod {
            Pod::At(place) if self.ids.pods[place].is_some() => Subject::Place(place),
            Pod::At(_) | Pod::OfContainer(_) | Pod::Odd(Odd::Missing) => Subject::Nobody,
            Pod::Odd(_) => Subject::NoId,
        }
    }

    fn container_subject(&self, container: Container) -> Subject {
        match container {
            Container::At(place) if self.ids.containers[place].is_some() => Subject::Place(place),
            Container::At(_) | Container::OfPod(_) | Container::Odd(Odd::Missing) => Subject::Nobody,
            Container::Odd(_) => Subject::NoId,
        }
    }
}

/// Makes a breach.
fn breach(call: &Call, about: &'static str, expected: impl Into<String>, seen: impl Into<String>) -> Breach {
    Breach { rpc: call.rpc(), about, expected: expected.into(), seen: seen.into() }
}

/// What an answer is, in a few words.
pub fn seen(answer: &Answer) -> String {
    match answer {
        Err(status) => {
            let text: String = status.message().chars().take(200).collect();
            format!("{:?}: {text}", status.code())
        }
        Ok(reply) => content::summary(reply),
    }
}

fn must_work(call: &Call, about: &'static str, answer: &Answer) -> Verdict {
    if answer.is_ok() { Ok(()) } else { Err(breach(call, about, "success", seen(answer))) }
}

fn must_fail(call: &Call, about: &'static str, answer: &Answer) -> Verdict {
    if answer.is_err() { Ok(()) } else { Err(breach(call, about, "an error", seen(answer))) }
}

fn code(answer: &Answer) -> Code {
    answer.as_ref().err().map_or(Code::Ok, tonic::Status::code)
}
