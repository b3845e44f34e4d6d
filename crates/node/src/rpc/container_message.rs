//! Containers in the CRI's messages.

use std::path::Path;

use corten_cri::v1;
use v1::ContainerState::{ContainerCreated, ContainerExited, ContainerRunning};

use super::security_message::id_mappings;
use crate::container::config::{
    ContainerConfig, ContainerMetadata, ImageSpec, Mount, MountAccess, Propagation, Source,
};
use crate::container::{Container, Resolved, State};
use crate::spec;

/// The container in a list; `None` while it is being created.
pub fn listed(container: &Container) -> Option<v1::Container> {
    let state = state(&container.state())?;
    let (config, resolved) = (container.config(), container.resolved()?);
    Some(v1::Container {
        id: container.id().into(),
        pod_sandbox_id: container.facts.pod_id.clone(),
        metadata: Some(metadata(container)),
        image: Some(image(&config.image)),
        image_ref: resolved.image_ref.clone(),
        state: state.into(),
        created_at: container.facts.created_at,
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        image_id: resolved.image_id.clone(),
    })
}

/// The container's status; `None` while it is being created.
pub fn status(container: &Container) -> Option<v1::ContainerStatus> {
    let now = container.state();
    let (config, resolved) = (container.config(), container.resolved()?);
    let ended = now.ended();
    let started_at = now.run().map(|run| run.started_at).or_else(|| ended?.started_at);
    Some(v1::ContainerStatus {
        id: container.id().into(),
        metadata: Some(metadata(container)),
        state: state(&now)?.into(),
        created_at: container.facts.created_at,
        started_at: started_at.unwrap_or_default(),
        finished_at: ended.map_or(0, |ended| ended.finished_at),
        exit_code: ended.map_or(0, |ended| ended.code),
        image: Some(user_image(&config.image)),
        image_ref: resolved.image_ref.clone(),
        reason: ended.map_or("", |ended| ended.reason.as_str()).into(),
        message: ended.map_or("", |ended| &ended.message).into(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: mounts(config, resolved),
        log_path: container.log_file().map(|path| text(&path)).unwrap_or_default(),
        resources: Some(resources(container)),
        image_id: resolved.image_id.clone(),
        user: Some(user(container)),
        stop_signal: spec::signal_message(resolved.stop_signal).into(),
    })
}

fn state(state: &State) -> Option<v1::ContainerState> {
    match state {
        State::Creating => None,
        State::Created | State::Starting | State::Removing(None) => Some(ContainerCreated),
        State::Running(_) | State::Stopping(_) => Some(ContainerRunning),
        State::Exited(_) | State::Lost(_) | State::Removing(Some(_)) => Some(ContainerExited),
    }
}

/// The container's name and attempt.
pub fn metadata(container: &Container) -> v1::ContainerMetadata {
    container_metadata(&container.config().metadata)
}

/// The same, of its configuration.
pub fn container_metadata(metadata: &ContainerMetadata) -> v1::ContainerMetadata {
    let ContainerMetadata { name, attempt } = metadata.clone();
    v1::ContainerMetadata { name, attempt }
}

/// An image as it was asked for.
pub fn image(image: &ImageSpec) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.image.clone(),
        annotations: image.annotations.clone(),
        user_specified_image: image.user_specified_image.clone(),
        runtime_handler: image.runtime_handler.clone(),
        image_ref: image.image_ref.clone(),
    }
}

/// The image under the name that its user gave, when the kubelet asked for it by id.
fn user_image(spec: &ImageSpec) -> v1::ImageSpec {
    let mut message = image(spec);
    if !spec.user_specified_image.is_empty() {
        message.image.clone_from(&spec.user_specified_image);
    }
    message
}

/// A mount as it was asked for.
pub fn mount(mount: &Mount) -> v1::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => v1::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    let (host_path, image, sub_path) = match &mount.source {
        Source::Host(path) => (text(path), None, None),
        Source::Image(source) => (String::new(), Some(image(&source.spec)), source.sub_path.as_deref()),
    };
    v1::Mount {
        container_path: text(&mount.container_path),
        host_path,
        image,
        image_sub_path: sub_path.map(text).unwrap_or_default(),
        readonly: mount.access != MountAccess::ReadWrite,
        recursive_read_only: mount.access == MountAccess::RecursiveReadOnly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation.into(),
        uid_mappings: mount.users.as_ref().map(|users| id_mappings(&users.uids)).unwrap_or_default(),
        gid_mappings: mount.users.as_ref().map(|users| id_mappings(&users.gids)).unwrap_or_default(),
        mount_options: mount.options.iter().map(|option| option.name().to_owned()).collect(),
    }
}

/// The mounts with what they show: an image by its id, as it was pulled (KEP-5365).
fn mounts(config: &ContainerConfig, resolved: &Resolved) -> Vec<v1::Mount> {
    let mut ids = resolved.mounted_images.iter();
    let told = |wanted: &Mount| {
        let mut message = mount(wanted);
        if let Some((image, id)) = message.image.as_mut().and_then(|image| Some((image, ids.next()?))) {
            image.image_ref.clone_from(id);
        }
        message
    };
    config.mounts.iter().map(told).collect()
}

fn resources(container: &Container) -> v1::ContainerResources {
    v1::ContainerResources { linux: Some(container.resources().to_cri()), windows: None }
}

fn user(container: &Container) -> v1::ContainerUser {
    let linux = container.resolved().map(|resolved| v1::LinuxContainerUser {
        uid: resolved.user.uid.into(),
        gid: resolved.user.gid.into(),
        supplemental_groups: resolved.user.additional_gids.iter().map(|gid| i64::from(*gid)).collect(),
    });
    v1::ContainerUser { linux }
}

/// A path; those that were asked for are UTF-8.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
