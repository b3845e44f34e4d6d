#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use corten_cri::v1::{ContainerState, ContainerStatus};
use tonic::{Code, Status};

use super::{
    RPCS,
    call::{Call, Container, ContainerFilter, Grace, Odd, Pod, Program},
    draw::Draw,
    generate,
    model::Model,
    perform::{Answer, Reply},
    world::World,
};

fn world() -> World {
    World::detached("world".to_owned())
}

fn id(id: &str) -> Answer {
    Ok(Reply::Id(id.to_owned()))
}

fn refused(code: Code) -> Answer {
    Err(Status::new(code, "refused"))
}

const CREATE: Call = Call::CreateContainer { container: 0, image: 0, program: Program::Exit(3) };
const START: Call = Call::StartContainer(Container::At(0));
const STATUS: Call = Call::ContainerStatus(Container::At(0));

/// A pod and a running container in it.
fn running() -> Model {
    let mut model = Model::new();
    for (call, answer) in [
        (Call::RunPodSandbox(0), id("pod")),
        (Call::PullImage(0), id("image")),
        (CREATE, id("container")),
        (START, Ok(Reply::Done)),
    ] {
        model.judge(&world(), &call, &answer).unwrap();
    }
    model
}

fn status(state: ContainerState, exit_code: i32) -> Answer {
    let world = world();
    let status = ContainerStatus {
        id: "container".to_owned(),
        metadata: Some(World::container_metadata(0)),
        state: state.into(),
        created_at: 1,
        started_at: 2,
        finished_at: if state == ContainerState::ContainerExited { 3 } else { 0 },
        exit_code,
        image_ref: "image".to_owned(),
        labels: world.labels(0),
        annotations: World::annotations(0),
        log_path: world.log(0).display().to_string(),
        ..Default::default()
    };
    Ok(Reply::Container(Box::new(status)))
}

fn about(model: &mut Model, call: &Call, answer: &Answer) -> &'static str {
    model.judge(&world(), call, answer).err().map_or("", |breach| breach.about)
}

#[test]
fn a_seed_makes_one_sequence_and_all_rpcs_come_up() {
    let make = |seed| generate::sequence(&mut Draw::new(seed), 200);
    assert_eq!(make(7), make(7));
    assert_ne!(make(7), make(8));
    let all = (0..20).flat_map(make).filter(|call| !matches!(call, Call::Together(..)));
    let called: BTreeSet<&str> = all.map(|call| call.rpc()).collect();
    let known: BTreeSet<&str> = RPCS.iter().filter_map(|rpc| rpc.split('/').nth(1)).collect();
    assert_eq!(called, known);
}

#[test]
fn a_program_may_end_when_it_likes_but_not_run_again_and_with_its_own_code() {
    let mut model = running();
    assert_eq!(about(&mut model, &STATUS, &status(ContainerState::ContainerRunning, 0)), "");
    assert_eq!(about(&mut model, &STATUS, &status(ContainerState::ContainerExited, 4)), "the exit code is wrong");
    assert_eq!(about(&mut model, &STATUS, &status(ContainerState::ContainerExited, 3)), "");
    let again = status(ContainerState::ContainerRunning, 0);
    assert_eq!(about(&mut model, &STATUS, &again), "a container has the wrong state");
}

#[test]
fn what_is_removed_stays_so_and_can_be_removed_again() {
    let mut model = running();
    let remove = Call::RemovePodSandbox(Pod::At(0));
    assert_eq!(about(&mut model, &remove, &Ok(Reply::Done)), "");
    assert_eq!(
        about(&mut model, &STATUS, &status(ContainerState::ContainerExited, 3)),
        "a removed container is still there"
    );
    assert_eq!(about(&mut model, &STATUS, &refused(Code::Unknown)), "what is not there is not NotFound");
    assert_eq!(about(&mut model, &STATUS, &refused(Code::NotFound)), "");
    assert_eq!(about(&mut model, &remove, &refused(Code::NotFound)), "it is removed already");
    assert_eq!(about(&mut model, &START, &Ok(Reply::Done)), "it works for a removed container");
}

#[test]
fn a_list_has_what_there_is() {
    let mut model = running();
    let none = Ok(Reply::Containers(Vec::new()));
    let all = Call::ListContainers(ContainerFilter::All);
    assert_eq!(about(&mut model, &all, &none), "a container is not listed");
    let nobody = Call::ListContainers(ContainerFilter::Id(Container::Odd(Odd::Missing)));
    assert_eq!(about(&mut model, &nobody, &none), "");
}

#[test]
fn of_two_calls_at_once_either_may_be_first() {
    let mut model = running();
    let (stop, remove) = (Call::StopContainer(Container::At(0), Grace::None), Call::RemoveContainer(Container::At(0)));
    let done = Ok(Reply::Done);
    let exec = Call::ExecSync(Container::At(0), 0);
    let failed = refused(Code::NotFound);
    model.judge_both(&world(), [&stop, &exec], [&done, &failed]).unwrap();
    model.judge_both(&world(), [&remove, &STATUS], [&done, &status(ContainerState::ContainerExited, 137)]).unwrap();
    assert_eq!(about(&mut model, &STATUS, &refused(Code::NotFound)), "");
    let start = Call::StartContainer(Container::At(0));
    assert!(model.judge_both(&world(), [&start, &remove], [&done, &done]).is_err(), "it was removed before");
}
