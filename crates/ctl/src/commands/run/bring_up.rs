//! The steps that bring a pod up, and the one that removes it again.

use std::path::{Path, PathBuf};

use corten_cri::v1;

use super::{image, wait};
use crate::{
    commands::{interrupt::Interrupt, logs, rm},
    error::Error,
    manifest::{FieldError, schema::Container},
    pod::{self, Directories, Image, NamedPod, volumes},
    runtime::Runtime,
};

/// How many lines of a failed init container's log are shown.
const EXCERPT: usize = 20;

/// What every pod of one `corten run` has in common.
pub(super) struct BringUp<'a> {
    pub runtime: &'a Runtime,
    pub interrupt: &'a Interrupt,
    pub directories: Directories,
    pub cgroup_parent: String,
    pub auth: Option<v1::AuthConfig>,
    /// The node's memory in bytes.
    pub memory_capacity: i64,
    pub host_resolv_conf: String,
}

/// What was made for one pod so far.
#[derive(Debug)]
pub(super) struct Made {
    pub named: NamedPod,
    /// The sandbox, once there is one.
    pub id: Option<String>,
    /// The containers that stay; init containers are not among them.
    pub containers: Vec<MadeContainer>,
}

/// A container that was created.
#[derive(Debug)]
pub(super) struct MadeContainer {
    pub name: String,
    pub id: String,
}

/// A pod with everything that can be known before its containers are made.
struct Prepared {
    config: v1::PodSandboxConfig,
    data: PathBuf,
    init_images: Vec<Image>,
    images: Vec<Image>,
}

impl BringUp<'_> {
    /// Brings one pod up. What was made is in the last of `made` from the first step that makes something.
    pub(super) async fn pod(&self, named: NamedPod, made: &mut Vec<Made>) -> Result<(), Error> {
        self.refuse_existing(&named).await?;
        let prepared = self.prepare(&named).await?;
        made.push(Made { named, id: None, containers: Vec::new() });
        let Some(made) = made.last_mut() else { return Ok(()) };
        self.interrupt.check()?;
        let spec = &made.named.manifest.spec;
        volumes::prepare(spec, &prepared.data)?;
        let handler = spec.runtime_class_name.clone().unwrap_or_default();
        let id = self.runtime.run_pod(prepared.config.clone(), handler).await?;
        made.id = Some(id.clone());
        for (container, image) in made.named.manifest.spec.init_containers.iter().zip(&prepared.init_images) {
            self.init(&made.named, &id, container, image, &prepared).await?;
        }
        for (container, image) in made.named.manifest.spec.containers.iter().zip(&prepared.images) {
            let container_id = self.start(&made.named, &id, container, image, &prepared).await?;
            made.containers.push(MadeContainer { name: container.name.clone(), id: container_id });
        }
        Ok(())
    }

    /// Removes everything of a pod. Attempts all of it and returns what failed.
    pub(super) async fn remove(&self, made: &Made) -> Vec<Error> {
        let NamedPod { namespace, uid, .. } = &made.named;
        let sandbox = match &made.id {
            Some(id) => self.remove_sandbox(made, id).await,
            None => self.remove_late(made).await,
        };
        // What a container may still use stays.
        if let Err(error) = sandbox {
            return vec![error];
        }
        rm::remove_made_by_run(namespace, made.named.name(), uid, &self.directories).err().into_iter().collect()
    }

    async fn remove_sandbox(&self, made: &Made, id: &str) -> Result<(), Error> {
        let grace = made.named.manifest.spec.termination_grace_period_seconds.unwrap_or(pod::DEFAULT_GRACE);
        let mut stops = tokio::task::JoinSet::new();
        for container in &made.containers {
            let (runtime, id) = (self.runtime.clone(), container.id.clone());
            stops.spawn(async move { runtime.stop_container(&id, grace.into()).await });
        }
        // A container that cannot be stopped gently is killed with its sandbox.
        stops.join_all().await;
        self.runtime.stop_pod(id).await?;
        self.runtime.remove_pod(id).await
    }

    /// A request that we gave up on may have made a sandbox all the same.
    async fn remove_late(&self, made: &Made) -> Result<(), Error> {
        let ours = |pod: &&v1::PodSandbox| pod.metadata.as_ref().is_some_and(|metadata| metadata.uid == made.named.uid);
        match self.runtime.pods().await?.items.iter().find(ours) {
            Some(pod) => self.remove_sandbox(made, &pod.id).await,
            None => Ok(()),
        }
    }

    /// Two pods of one name would share directories, and undoing the second would remove the first.
    async fn refuse_existing(&self, named: &NamedPod) -> Result<(), Error> {
        let same = |pod: &v1::PodSandbox| {
            pod.metadata.as_ref().is_some_and(|metadata| {
                metadata.uid == named.uid || (metadata.name == named.name() && metadata.namespace == named.namespace)
            })
        };
        let what = || format!("run pod {}/{}", named.namespace, named.name());
        if let Some(pod) = self.runtime.pods().await?.items.into_iter().find(same) {
            return Err(Error::condition(what(), format!("it is there already as {}; remove it first", pod.id)));
        }
        let data = self.data_directory(named)?;
        if data.exists() {
            let why = format!("{} is there already, from a pod that is not; remove it first", data.display());
            return Err(Error::condition(what(), why));
        }
        Ok(())
    }

    /// Everything that can fail without anything having been made: the configuration and the images.
    async fn prepare(&self, named: &NamedPod) -> Result<Prepared, Error> {
        let config = pod::sandbox_config(named, &self.directories, &self.cgroup_parent, &self.host_resolv_conf)
            .map_err(|field| Error::Pod { pod: named.name().to_owned(), field })?;
        let spec = &named.manifest.spec;
        for container in spec.init_containers.iter().chain(&spec.containers) {
            // Only for its errors: the real one needs the mounts.
            let nothing = Image { reference: String::new() };
            pod::container_config(named, container, &nothing, Vec::new(), self.memory_capacity)
                .map_err(|field| refused(named, container, field))?;
        }
        Ok(Prepared {
            config,
            data: self.data_directory(named)?,
            init_images: self.images(named, &spec.init_containers).await?,
            images: self.images(named, &spec.containers).await?,
        })
    }

    async fn images(&self, named: &NamedPod, containers: &[Container]) -> Result<Vec<Image>, Error> {
        let mut images = Vec::with_capacity(containers.len());
        for container in containers {
            let (reference, image) = image::ensure(self, container).await?;
            pod::check_non_root(container, &named.manifest.spec, &image)
                .map_err(|field| refused(named, container, field))?;
            images.push(Image { reference });
        }
        Ok(images)
    }

    fn data_directory(&self, named: &NamedPod) -> Result<PathBuf, Error> {
        let field = || FieldError::new("metadata.uid", format!("{:?} does not make a directory", named.uid));
        let refused = || Error::Pod { pod: named.name().to_owned(), field: field() };
        self.directories.pod_data(&named.uid).ok_or_else(refused)
    }

    /// Creates and starts a container.
    async fn start(
        &self,
        named: &NamedPod,
        pod_id: &str,
        container: &Container,
        image: &Image,
        prepared: &Prepared,
    ) -> Result<String, Error> {
        self.interrupt.check()?;
        let mounts = volumes::mounts(container, &named.manifest.spec, &prepared.data)?;
        let config = pod::container_config(named, container, image, mounts, self.memory_capacity)
            .map_err(|field| refused(named, container, field))?;
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(prepared.config.clone()),
        };
        let id = self.runtime.create_container(request).await?;
        self.runtime.start_container(&id, &container.name).await?;
        Ok(id)
    }

    /// Runs an init container to its end.
    async fn init(
        &self,
        named: &NamedPod,
        pod_id: &str,
        container: &Container,
        image: &Image,
        prepared: &Prepared,
    ) -> Result<(), Error> {
        let id = self.start(named, pod_id, container, image, prepared).await?;
        let ended = self.interrupt.unless(wait::for_end(self.runtime, &id)).await?;
        if ended.exit_code == 0 {
            return Ok(());
        }
        let mut why = format!("it ended with code {}", ended.exit_code);
        if let Some(log) = logs::excerpt(Path::new(&ended.log_path), EXCERPT).ok().filter(|log| !log.is_empty()) {
            why = format!("{why}; its log ends with:\n{}", log.trim_end());
        }
        Err(Error::condition(format!("pod {}: init container {}", named.name(), container.name), why))
    }
}

fn refused(named: &NamedPod, container: &Container, field: FieldError) -> Error {
    Error::Container { pod: named.name().to_owned(), container: container.name.clone(), field }
}
