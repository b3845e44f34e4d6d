//! The objects of one sequence: their names and configurations.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use corten_cri::v1::*;

use super::{
    Target,
    call::{CONTAINERS, Odd, PODS, Pod, Program, SAID, pod_of},
};
use crate::image::{PROGRAM, names};

/// The label of everything that a sequence makes; its value is the world's name.
const WORLD: &str = "dev.corten.validate.sequence";

/// The label that says which place in the sequence an object has.
const PLACE: &str = "dev.corten.validate.place";

/// What one run of a sequence makes: named so that it has nothing to do with any other's.
#[derive(Debug, Clone)]
pub struct World {
    name: String,
    directory: PathBuf,
    handler: String,
    host: String,
    extra: BTreeMap<String, String>,
    /// The first of the images that are its own.
    first_image: usize,
}

/// What ids the places have had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// Those of pods.
    pub pods: [Option<String>; PODS],
    /// Those of containers.
    pub containers: [Option<String>; CONTAINERS],
}

impl World {
    /// A world at a runtime.
    pub fn new(name: String, target: &Target, first_image: usize) -> Self {
        let directory = target.directory.join(&name);
        let (handler, host) = (target.handler.clone(), target.registry.host());
        Self { name, directory, handler, host, extra: target.labels.clone(), first_image }
    }

    /// A world at no runtime.
    #[cfg(test)]
    pub fn detached(name: String) -> Self {
        let host = "127.0.0.1:1".to_owned();
        Self { name, directory: "/none".into(), handler: String::new(), host, extra: BTreeMap::new(), first_image: 0 }
    }

    /// Where its logs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `repository:tag` of an image.
    pub fn image(&self, image: usize) -> String {
        names::scratch(self.first_image + image)
    }

    /// The full reference of an image.
    pub fn image_reference(&self, image: usize) -> String {
        format!("{}/{}", self.host, self.image(image))
    }

    /// The labels of what is at a place.
    pub fn labels(&self, place: usize) -> BTreeMap<String, String> {
        let mut labels = self.extra.clone();
        labels.extend([(WORLD.to_owned(), self.name.clone()), (PLACE.to_owned(), place.to_string())]);
        labels
    }

    /// The label that all have.
    pub fn label(&self) -> BTreeMap<String, String> {
        [(WORLD.to_owned(), self.name.clone())].into()
    }

    /// Whether something with these labels is of this world.
    pub fn owns(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(WORLD) == Some(&self.name)
    }

    /// Annotations, of pods and containers alike.
    pub fn annotations(place: usize) -> BTreeMap<String, String> {
        [("dev.corten.validate/annotation".to_owned(), format!("place {place}"))].into()
    }

    /// The name of the pod at a place.
    pub fn pod_metadata(&self, pod: usize) -> PodSandboxMetadata {
        PodSandboxMetadata {
            name: format!("pod-{pod}-{}", self.name),
            uid: format!("uid-{pod}-{}", self.name),
            namespace: "corten-validate".to_owned(),
            attempt: 0,
        }
    }

    /// The request for the pod at a place. Pod 1 shares the node's network, pods 1 and 2 a PID namespace.
    pub fn pod(&self, pod: usize) -> RunPodSandboxRequest {
        RunPodSandboxRequest { config: Some(self.pod_config(pod)), runtime_handler: self.handler.clone() }
    }

    fn pod_config(&self, pod: usize) -> PodSandboxConfig {
        let hostname = if pod == 1 { String::new() } else { format!("pod-{pod}") };
        PodSandboxConfig {
            metadata: Some(self.pod_metadata(pod)),
            hostname,
            log_directory: self.log_directory(pod).display().to_string(),
            labels: self.labels(pod),
            annotations: Self::annotations(pod),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces(pod)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// The directory of a pod's logs.
    pub fn log_directory(&self, pod: usize) -> PathBuf {
        self.directory.join(format!("pod-{pod}"))
    }

    /// The log of the container at a place.
    pub fn log(&self, container: usize) -> PathBuf {
        self.log_directory(pod_of(container)).join(log_name(container))
    }

    /// The name of the container at a place.
    pub fn container_metadata(container: usize) -> ContainerMetadata {
        ContainerMetadata { name: format!("container-{container}"), attempt: 0 }
    }

    /// The request for the container at a place.
    pub fn container(&self, pod_id: &str, container: usize, image: &str, program: Program) -> CreateContainerRequest {
        let pod = pod_of(container);
        let config = ContainerConfig {
            metadata: Some(Self::container_metadata(container)),
            image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
            command: command(program),
            labels: self.labels(container),
            annotations: Self::annotations(container),
            log_path: log_name(container),
            linux: Some(LinuxContainerConfig {
                resources: Some(LinuxContainerResources { cpu_shares: 128, ..Default::default() }),
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces(pod)),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        };
        CreateContainerRequest {
            pod_sandbox_id: pod_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(self.pod_config(pod)),
        }
    }
}

fn log_name(container: usize) -> String {
    format!("container-{container}.log")
}

/// Whether a pod's containers are not process 1 of a PID namespace of their own: then SIGTERM ends them.
pub fn shares_processes(pod: usize) -> bool {
    pod != 0
}

fn namespaces(pod: usize) -> NamespaceOption {
    let network = if pod == 1 { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = if shares_processes(pod) { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption { network: network.into(), pid: pid.into(), ..Default::default() }
}

fn command(program: Program) -> Vec<String> {
    let mut words = vec![PROGRAM.to_owned()];
    match program {
        Program::Pause => words.push("pause".to_owned()),
        Program::Exit(code) => words.extend(["exit".to_owned(), code.to_string()]),
        Program::Say => words.extend(["echo".to_owned(), SAID.to_owned()]),
    }
    words
}

/// An id that is nobody's.
pub fn odd_id(odd: Odd) -> String {
    match odd {
        Odd::Missing => "0123456789abcdef".repeat(4),
        Odd::Empty => String::new(),
        Odd::Path => "../../../../etc/passwd".to_owned(),
        Odd::Long => "a".repeat(10_000),
    }
}

/// The id that a call gives for a pod.
pub fn pod_id(ids: &Ids, pod: Pod) -> String {
    let id = match pod {
        Pod::At(place) => ids.pods.get(place),
        Pod::OfContainer(place) => ids.containers.get(place),
        Pod::Odd(odd) => return odd_id(odd),
    };
    id.cloned().flatten().unwrap_or_else(|| odd_id(Odd::Missing))
}
