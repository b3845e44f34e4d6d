//! CreateContainer: the image is looked up, the writable layer made, the OCI runtime spec written. Nothing runs yet.

use std::path::Path;
use std::sync::Arc;

use corten_host::whole_file;
use corten_images::Image;
use oci_spec::runtime::{LinuxSeccomp, Spec};

use super::admit::admit;
use super::config::ContainerConfig;
use super::{Container, Operation, Resolved, State, image_mounts, remove, spec_path};
use crate::error::{Error, Result};
use crate::node::{Handler, Node};
use crate::pod::admit::Admission;
use crate::pod::{Pod, Ready};
use crate::spec::{self, Built, Namespaces, PodFiles, Seccomp, SpecInput};
use crate::user::{self, ResolvedUser};
use crate::{apparmor, record, resolv, seccomp};

/// The most bytes of an image's /etc/passwd or /etc/group that are read.
const ACCOUNTS: u64 = 4 << 20;

/// Creates a container, or joins or acknowledges the create that made it; returns its id.
pub async fn create(node: &Arc<Node>, pod: &Arc<Pod>, config: ContainerConfig) -> Result<String> {
    let container = node.containers.claim(pod, config)?;
    let (task_node, task_container) = (node.clone(), container.clone());
    container.slot.run(Operation::Create, || async move { operation(&task_node, &task_container).await }).await?;
    Ok(container.id().to_owned())
}

async fn operation(node: &Arc<Node>, container: &Arc<Container>) -> Result<()> {
    if !node.containers.holds(container.id()) {
        let id = container.id();
        return Err(Error::Precondition(format!("container {id:?} of this name and attempt is gone: try again")));
    }
    match admit(container.id(), &container.state(), Operation::Create) {
        Admission::Do => {}
        Admission::Done => return Ok(()),
        Admission::Refuse(error) => return Err(error),
    }
    let name = format!("create/{}", container.config().metadata.name);
    match container.pod.timeline.step(&name, steps(node, container)).await {
        Ok(resolved) => {
            container.resolve(resolved);
            container.set(node, State::Created)
        }
        Err(error) => {
            if let Err(undo) = remove::everything(node, container).await {
                tracing::error!(container = container.id(), error = %undo, "what the failed create left stays");
            }
            node.containers.remove(container.id());
            Err(error)
        }
    }
}

async fn steps(node: &Arc<Node>, container: &Arc<Container>) -> Result<Resolved> {
    let (pod, config) = (&container.pod, container.config());
    let ready = pod.ready().ok_or_else(|| not_ready(pod))?;
    let image = image(node, config)?;
    node.images.usable(&image)?;
    let user = resolve_user(node, config, &image).await?;
    let mounted = image_mounts::find(node, &pod.config, config).await?;
    let directory = node.container_directory(container.id());
    record::make_directory(&directory)?;
    let users = pod.config.security.namespaces.users.as_ref();
    node.images.prepare_snapshot(container.id(), &image, users, &mounted).await?;
    let resolved = Resolved {
        image_id: image.id.clone(),
        image_ref: image.repo_digests.first().unwrap_or(&image.id).clone(),
        user,
        stop_signal: spec::stop_signal(config, &image.config)?,
        volumes: spec::image_volumes(config, &image.config)?,
        mounted_images: mounted.iter().map(|image| image.id.clone()).collect(),
    };
    let claims = match node.handler(&pod.handler)? {
        Handler::External { name, binary } => Some((node.probes.external(&name, &binary).await, binary)),
        Handler::BuiltIn => None,
    };
    let (task_container, user) = (container.clone(), resolved.user.clone());
    // It looks at the mounts' sources, which may be on a file system that hangs.
    node.blocking(move |node| {
        let spec = build_spec(node, &task_container, &ready, &image, &user)?;
        if let Some((features, program)) = claims {
            features.check(&spec, &program)?;
        }
        write_spec(&spec_path(&directory), &spec)
    })
    .await?;
    Ok(resolved)
}

fn not_ready(pod: &Pod) -> Error {
    Error::Precondition(format!("pod sandbox {:?} is {}", pod.id, pod.state().name()))
}

fn image(node: &Node, config: &ContainerConfig) -> Result<Arc<Image>> {
    let name = &config.image.image;
    node.images.resolve(name)?.ok_or_else(|| Error::NotFound { kind: "image", id: name.clone() })
}

async fn resolve_user(node: &Node, config: &ContainerConfig, image: &Image) -> Result<ResolvedUser> {
    let passwd = node.images.read_file(image, "/etc/passwd", ACCOUNTS).await?;
    let group = node.images.read_file(image, "/etc/group", ACCOUNTS).await?;
    user::resolve(&config.security, &image.config, passwd.as_deref(), group.as_deref())
}

fn build_spec(node: &Node, container: &Container, ready: &Ready, image: &Image, user: &ResolvedUser) -> Result<Spec> {
    let (pod, config) = (&container.pod, container.config());
    let files = resolv::files(&node.pod_directory(&pod.id));
    let netns = pod.has_network().then(|| node.netns_path(&pod.id));
    let sources = spec::prepare_sources(config)?;
    let Built { mut spec, seccomp, withheld } = spec::build(&SpecInput {
        id: container.id(),
        pod_id: &pod.id,
        config,
        pod: &pod.config,
        image: &image.config,
        user,
        namespaces: Namespaces {
            monitor_pid: ready.monitor.pid,
            netns: netns.as_deref(),
            pod_init: ready.monitor.init_pid,
            target_pid: target_pid(node, pod, config)?,
        },
        files: PodFiles {
            hosts: Some(&files.hosts),
            hostname: Some(&files.hostname),
            resolv_conf: Some(&files.resolv_conf),
        },
        sources: &sources,
        cgroups_path: &container.cgroup(node),
        host: &node.host,
    })?;
    for what in withheld {
        tracing::info!(container = container.id(), what, "withheld: the daemon does not have it itself");
    }
    apparmor::check(spec.process().as_ref().and_then(|process| process.apparmor_profile().as_deref()))?;
    if let (Some(profile), Some(linux)) = (seccomp_profile(node, &seccomp, &spec)?, spec.linux_mut()) {
        linux.set_seccomp(Some(profile));
    }
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    spec::relabel_sources(config, &sources, label)?;
    Ok(spec)
}

/// The seccomp profile itself: it depends on the capabilities that the container has.
fn seccomp_profile(node: &Node, kind: &Seccomp, spec: &Spec) -> Result<Option<LinuxSeccomp>> {
    let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities.and_then(|capabilities| capabilities.bounding().as_ref());
    let bounding = bounding.into_iter().flatten().copied().collect();
    match kind {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => Ok(Some(seccomp::default_profile(&bounding, &node.platform))),
        Seccomp::Localhost(file) => {
            let root = node.config.seccomp.localhost_root.as_deref();
            let profile = seccomp::load_localhost(root, file, &bounding, &node.platform);
            let field = "config.linux.security_context.seccomp.localhost_ref";
            profile.map(Some).map_err(|error| Error::invalid(field, file.display(), error.to_string()))
        }
    }
}

/// The process whose PID namespace the container asks to share.
fn target_pid(node: &Node, pod: &Pod, config: &ContainerConfig) -> Result<Option<i32>> {
    let crate::security::PidNamespace::Target(id) = &config.security.namespaces.pid else { return Ok(None) };
    let target = node.containers.find(id)?;
    if target.facts.pod_id != pod.id {
        let field = "config.linux.security_context.namespace_options.target_id";
        return Err(Error::invalid(field, id, "is a container of another pod"));
    }
    match target.state().run() {
        Some(run) => Ok(Some(run.pid)),
        None => Err(Error::Precondition(format!("target container {id:?} is {}", target.state().name()))),
    }
}

/// Writes a spec over what was there: whoever reads it finds the one or the other.
pub fn write_spec(path: &Path, spec: &Spec) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::node(format!("write {}", path.display()), error);
    let json = serde_json::to_vec(spec).map_err(|error| failed(&error))?;
    whole_file::write(path, json).map_err(|error| failed(&error))
}
