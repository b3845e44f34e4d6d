//! What the answers say about an object beside its state.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{SystemTime, UNIX_EPOCH},
};

use corten_cri::v1::{
    Container, ContainerState, ContainerStatus, Image, PodSandbox, PodSandboxState, PodSandboxStatus,
};

use super::{Call, PodState, Reply, State, Verdict, World, breach};
use crate::random::call::By;

/// The model's state for the CRI's; none for what is unknown, or no value of the enum.
pub fn state(state: i32) -> Option<State> {
    match ContainerState::try_from(state).ok()? {
        ContainerState::ContainerCreated => Some(State::Created),
        ContainerState::ContainerRunning => Some(State::Running),
        ContainerState::ContainerExited => Some(State::Exited),
        ContainerState::ContainerUnknown => None,
    }
}

/// The model's state of a pod for the CRI's; none for what is no value of the enum.
pub fn pod_state(state: i32) -> Option<PodState> {
    Some(match PodSandboxState::try_from(state).ok()? {
        PodSandboxState::SandboxReady => PodState::Ready,
        PodSandboxState::SandboxNotready => PodState::NotReady,
    })
}

/// A reply in a few words.
pub fn summary(reply: &Reply) -> String {
    match reply {
        Reply::Done => "success".to_owned(),
        Reply::Id(id) => short(id).to_owned(),
        Reply::Pod(status) => named(pod_state(status.state)),
        Reply::Pods(rows) => {
            let rows = rows.iter().map(|row| format!("{} {}", short(&row.id), named(pod_state(row.state))));
            listed(rows)
        }
        Reply::Container(status) => format!("{}, exit code {}", named(state(status.state)), status.exit_code),
        Reply::Containers(rows) => {
            listed(rows.iter().map(|row| format!("{} {}", short(&row.id), named(state(row.state)))))
        }
        Reply::Output { stdout, code } => format!("{:?}, exit code {code}", String::from_utf8_lossy(stdout)),
        Reply::Url(_) => "a URL".to_owned(),
        Reply::Stats(ids) | Reply::PodStats(ids) => listed(ids.iter().map(|id| short(id).to_owned())),
        Reply::Image(None) => "no image".to_owned(),
        Reply::Image(Some(image)) => format!("image {}", short(&image.id)),
        Reply::Images(rows) => listed(rows.iter().map(|row| row.repo_tags.first().unwrap_or(&row.id).clone())),
        Reply::Log { created: true } => "success, with a new log".to_owned(),
        Reply::Log { created: false } => "success, without a new log".to_owned(),
        Reply::Lacks(what) => format!("an answer without {what}"),
    }
}

fn listed(rows: impl Iterator<Item = String>) -> String {
    let rows: Vec<String> = rows.collect();
    format!("[{}]", rows.join(", "))
}

fn named(state: Option<impl Debug>) -> String {
    state.map_or_else(|| "unknown".to_owned(), |state| format!("{state:?}"))
}

fn short(id: &str) -> &str {
    id.get(..20).unwrap_or(id)
}

fn equal<T: PartialEq + Debug>(call: &Call, about: &'static str, seen: &T, expected: &T) -> Verdict {
    if seen == expected { Ok(()) } else { Err(breach(call, about, format!("{expected:?}"), format!("{seen:?}"))) }
}

fn own(call: &Call, world: &World, place: usize, labels: &Map, annotations: &Map) -> Verdict {
    equal(call, "the labels are wrong", labels, &world.labels(place))?;
    equal(call, "the annotations are wrong", annotations, &World::annotations(place))
}

type Map = BTreeMap<String, String>;

/// A pod's status.
pub fn pod(world: &World, call: &Call, place: usize, id: Option<&str>, status: &PodSandboxStatus) -> Verdict {
    equal(call, "the id is wrong", &Some(status.id.as_str()), &id)?;
    equal(call, "the metadata is wrong", &status.metadata, &Some(world.pod_metadata(place)))?;
    own(call, world, place, &status.labels, &status.annotations)?;
    positive(call, status.created_at)?;
    let has_address = status.network.as_ref().is_some_and(|network| !network.ip.is_empty());
    if place != 1 && pod_state(status.state) == Some(PodState::Ready) && !has_address {
        return Err(breach(call, "the address is missing", "the address of a ready pod", "none"));
    }
    Ok(())
}

/// A pod in a list.
pub fn pod_row(world: &World, call: &Call, place: usize, row: &PodSandbox) -> Verdict {
    equal(call, "the metadata is wrong", &row.metadata, &Some(world.pod_metadata(place)))?;
    own(call, world, place, &row.labels, &row.annotations)?;
    positive(call, row.created_at)
}

/// A container in a list.
pub fn container_row(world: &World, call: &Call, place: usize, pod: Option<&str>, row: &Container) -> Verdict {
    equal(call, "the pod is wrong", &Some(row.pod_sandbox_id.as_str()), &pod)?;
    equal(call, "the metadata is wrong", &row.metadata, &Some(World::container_metadata(place)))?;
    own(call, world, place, &row.labels, &row.annotations)?;
    positive(call, row.created_at)?;
    let named = row.image.as_ref().is_some_and(|image| !image.image.is_empty());
    if named && !row.image_ref.is_empty() {
        return Ok(());
    }
    Err(breach(
        call,
        "the image is missing",
        "the image and its reference",
        format!("{:?}, {:?}", row.image, row.image_ref),
    ))
}

/// That a time is one since sequences are run, and not one to come.
fn positive(call: &Call, time: i64) -> Verdict {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(i64::MAX, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    if (1..=now).contains(&time) {
        return Ok(());
    }
    Err(breach(call, "a time is wrong", "when it was created", time.to_string()))
}

/// A container's status.
pub fn container(world: &World, call: &Call, place: usize, id: Option<&str>, status: &ContainerStatus) -> Verdict {
    equal(call, "the id is wrong", &Some(status.id.as_str()), &id)?;
    equal(call, "the metadata is wrong", &status.metadata, &Some(World::container_metadata(place)))?;
    own(call, world, place, &status.labels, &status.annotations)?;
    positive(call, status.created_at)?;
    if status.image_ref.is_empty() {
        return Err(breach(call, "the image is missing", "the image's reference", "none"));
    }
    equal(call, "the log's path is wrong", &status.log_path, &world.log(place).display().to_string())?;
    let (created, started, finished) = (status.created_at, status.started_at, status.finished_at);
    let state = state(status.state);
    let fits = match state {
        Some(State::Created) => started == 0 && finished == 0,
        Some(State::Running) => started >= created && finished == 0,
        // It may have ended without having been started.
        _ => finished >= started && (started == 0 || started >= created),
    };
    if fits {
        return Ok(());
    }
    let seen = format!("created {created}, started {started}, finished {finished}");
    Err(breach(call, "the times are wrong", format!("those of one that is {}", named(state)), seen))
}

/// Whether an image is the one at a place.
pub fn is_image(world: &World, image: usize, row: &Image) -> bool {
    row.repo_tags.contains(&world.image_reference(image))
}

/// An image.
pub fn image(world: &World, call: &Call, image: usize, by: By, found: &Image) -> Verdict {
    if found.id.is_empty() || found.size == 0 {
        return Err(breach(call, "the image is incomplete", "an id and a size", format!("{found:?}")));
    }
    if by == By::Tag && !is_image(world, image, found) {
        return Err(breach(call, "the tag is missing", world.image_reference(image), format!("{:?}", found.repo_tags)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_nobody_knows_is_none() {
        assert_eq!(
            (0..5).map(state).collect::<Vec<_>>(),
            [Some(State::Created), Some(State::Running), Some(State::Exited), None, None]
        );
        assert_eq!((0..3).map(pod_state).collect::<Vec<_>>(), [Some(PodState::Ready), Some(PodState::NotReady), None]);
    }
}
