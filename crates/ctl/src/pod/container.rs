//! A container's configuration.

use std::collections::BTreeMap;

use corten_cri::v1;

use super::{DEFAULT_GRACE, NamedPod, expand::expand, kubelet, resources, security};
use crate::manifest::{FieldError, schema::Container};

/// The image a container runs, as the runtime knows it.
#[derive(Debug, Clone)]
pub struct Image {
    /// What PullImage returned, or the id of an image that was there.
    pub reference: String,
}

/// What CreateContainer gets for one container.
///
/// # Errors
/// [`FieldError`], with a path that starts at the container, for a resource that cannot be given.
pub fn config(
    pod: &NamedPod,
    container: &Container,
    image: &Image,
    mounts: Vec<v1::Mount>,
    memory_capacity: i64,
) -> Result<v1::ContainerConfig, FieldError> {
    let spec = &pod.manifest.spec;
    let envs = environment(container);
    let known: BTreeMap<&str, &str> = envs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expanded = |words: &[String]| words.iter().map(|word| expand(word, |name| known.get(name).copied())).collect();
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: 0 }),
        image: Some(v1::ImageSpec {
            image: image.reference.clone(),
            user_specified_image: container.image.clone(),
            image_ref: image.reference.clone(),
            ..v1::ImageSpec::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone(),
        envs: envs.into_iter().map(|(key, value)| v1::KeyValue { key, value: value.into_bytes() }).collect(),
        mounts,
        labels: labels(pod, container),
        annotations: annotations(pod),
        log_path: format!("{}/0.log", container.name),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::container(container, memory_capacity)?),
            security_context: Some(security::container(container, spec)),
        }),
        ..v1::ContainerConfig::default()
    })
}

/// The variables in order. A value may refer to those before it; a name given twice has its last value.
fn environment(container: &Container) -> Vec<(String, String)> {
    let mut envs: Vec<(String, String)> = Vec::new();
    for variable in &container.env {
        let lookup = |name: &str| envs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = expand(&variable.value, lookup);
        match envs.iter_mut().find(|(known, _)| *known == variable.name) {
            Some((_, old)) => *old = value,
            None => envs.push((variable.name.clone(), value)),
        }
    }
    envs
}

fn labels(pod: &NamedPod, container: &Container) -> BTreeMap<String, String> {
    let name = (kubelet::CONTAINER_NAME.to_owned(), container.name.clone());
    pod.labels().into_iter().chain([name]).collect()
}

fn annotations(pod: &NamedPod) -> BTreeMap<String, String> {
    let grace = pod.manifest.spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
    BTreeMap::from([
        (kubelet::GRACE_PERIOD.to_owned(), grace.to_string()),
        (kubelet::RESTART_COUNT.to_owned(), "0".to_owned()),
    ])
}
