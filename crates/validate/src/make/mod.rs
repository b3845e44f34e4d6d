//! Pods and containers as the kubelet would ask for them, and the calls that make and follow them.

mod calls;

use std::collections::BTreeMap;

use corten_cri::v1::*;

use crate::{
    context::{CHECK_LABEL, Ctx, RUN_LABEL},
    image::{PROGRAM, names},
    verdict::Checked,
};

/// A sandbox that there is.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// What it was made of.
    pub config: PodSandboxConfig,
}

/// What a command said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ctx {
    /// The labels of everything the check makes.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let check = self.own().name.replace('/', ".");
        [(RUN_LABEL.to_owned(), self.run().id.clone()), (CHECK_LABEL.to_owned(), check)].into()
    }

    /// A pod of its own, with the node's network, which is the cheapest.
    ///
    /// # Errors
    /// [`Failed`](crate::verdict::Stop::Failed) when there is no directory for it.
    pub fn pod(&self, name: &str) -> Checked<PodSandboxConfig> {
        let name = self.unique(name);
        let logs = self.directory()?.join(&name);
        let context = LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(NamespaceMode::Node)),
            ..Default::default()
        };
        Ok(PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                uid: format!("{name}-uid"),
                namespace: "corten-validate".to_owned(),
                name,
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            labels: self.labels(),
            linux: Some(LinuxPodSandboxConfig { security_context: Some(context), ..Default::default() }),
            ..Default::default()
        })
    }

    /// A pod of its own with a network of its own.
    ///
    /// # Errors
    /// As [`Ctx::pod`].
    pub fn networked_pod(&self, name: &str) -> Checked<PodSandboxConfig> {
        let mut config = self.pod(name)?;
        config.hostname = name.to_owned();
        namespace_options(&mut config).network = NamespaceMode::Pod.into();
        Ok(config)
    }

    /// The same pod in a cgroup of its own, as the kubelet's are: where statistics of a whole pod come from.
    pub async fn with_cgroup(&self, mut config: PodSandboxConfig) -> PodSandboxConfig {
        let name = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        config.linux.get_or_insert_default().cgroup_parent = crate::cgroup::parent(self, &name).await;
        config
    }

    /// A container of the plain image that runs the test program with these words.
    pub fn container(&self, name: &str, words: &[&str]) -> ContainerConfig {
        let image = self.image(names::PLAIN);
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(spec(&image)),
            command: command(words),
            labels: self.labels(),
            log_path: format!("{name}.log"),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces(NamespaceMode::Node)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// An image by its reference alone.
pub fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..Default::default() }
}

/// The test program with these words.
pub fn command(words: &[&str]) -> Vec<String> {
    std::iter::once(PROGRAM).chain(words.iter().copied()).map(str::to_owned).collect()
}

/// What the kubelet asks for by default, with this network.
pub fn namespaces(network: NamespaceMode) -> NamespaceOption {
    NamespaceOption {
        network: network.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

/// The namespaces of a sandbox's configuration, to change them.
pub fn namespace_options(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default()
}

/// The security context of a container's configuration, to change it.
pub fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

/// The resources of a container's configuration, to change them.
pub fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    config.linux.get_or_insert_default().resources.get_or_insert_default()
}

/// A container with the namespaces of its pod, as the kubelet would ask for it.
pub fn as_in(pod: &Pod, mut container: ContainerConfig) -> ContainerConfig {
    let options = pod.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security(&mut container).namespace_options = options.and_then(|context| context.namespace_options.clone());
    container
}
