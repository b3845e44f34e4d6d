//! What the attacks have in common: an image, a pod, volumes, the hostile program, and containers tried.

use std::fs;
use std::path::{Path, PathBuf};

use corten_cri::v1::*;
use corten_e2e::{
    cri::until,
    daemon::Setup,
    image::{Compression, Image, Layer, busybox_config, busybox_layer},
    lab::{self, Lab},
    pods::{self, with_mount, with_security},
    programs,
};
use serde_json::{Value, json};
use tonic::Status;

/// One attack: a pod by the built-in launcher, and a directory on the node whose content must not change.
pub struct World<'a> {
    pub lab: &'a Lab,
    pub pod: String,
    pub config: PodSandboxConfig,
}

/// Runs one attack.
pub fn attack(body: impl AsyncFnOnce(World<'_>) + Send + 'static) {
    attack_on(|_| (), body);
}

/// The same with the pod's configuration changed.
pub fn attack_on(
    change: impl FnOnce(&mut PodSandboxConfig) + Send + 'static,
    body: impl AsyncFnOnce(World<'_>) + Send + 'static,
) {
    lab::test(Setup { handler: handler(), ..Setup::default() }, async |lab| {
        let mut config = lab.pod("attacked");
        change(&mut config);
        let pod = lab.run_pod(&config).await;
        let host = lab.paths.dir.join("host");
        fs::create_dir(&host).unwrap();
        fs::write(host.join("secret"), "the node's\n").unwrap();
        body(World { lab, pod, config }).await;
        let left: Vec<_> = fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["secret"], "something was made on the node");
        assert_eq!(fs::read_to_string(host.join("secret")).unwrap(), "the node's\n");
        fs::remove_dir_all(&host).unwrap();
    });
}

/// To see what an attack does to another runtime, by hand: `ADVISORIES_HANDLER=runc`.
fn handler() -> &'static str {
    match std::env::var("ADVISORIES_HANDLER").as_deref() {
        Ok("runc") => "runc",
        _ => "corten",
    }
}

impl World<'_> {
    /// A directory of the node's, which no container has; a `secret` is in it.
    pub fn host(&self) -> PathBuf {
        self.lab.paths.dir.join("host")
    }

    /// A new volume; where it is on the node.
    pub fn volume(&self, name: &str) -> PathBuf {
        let path = self.lab.paths.dir.join("volumes").join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The busybox image with a layer over it and settings of its configuration; its reference.
    pub async fn image(&self, name: &str, layer: Layer, settings: Value) -> String {
        let mut config = busybox_config();
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let layers = vec![busybox_layer().to_vec(), layer.finish()];
        let image = Image { compression: Compression::None, ..Image::of(layers).config(config) };
        self.lab.image(name, &image.build()).await
    }

    /// The same without settings.
    pub async fn image_of(&self, name: &str, layer: Layer) -> String {
        self.image(name, layer, json!({})).await
    }

    /// The container in the PID namespace that the pod's configuration says.
    fn placed(&self, container: &ContainerConfig) -> ContainerConfig {
        let of_pod = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let pid = of_pod.and_then(|security| security.namespace_options.as_ref()).map(|namespaces| namespaces.pid);
        with_security(container.clone(), |security| {
            security.namespace_options.get_or_insert_default().pid = pid.unwrap_or_default();
        })
    }

    /// Runs a container to its end: what it logged, or why it was refused. What was refused has not run.
    pub async fn attempt(&self, container: &ContainerConfig) -> Result<String, Status> {
        let id = self.lab.cri.create(&self.pod, &self.config, &self.placed(container)).await?;
        let started = self.lab.cri.start(&id).await;
        let outcome = match started {
            Ok(()) => {
                let status = self.lab.cri.wait_exited(&id).await;
                Ok(self.lab.log(&status))
            }
            Err(refused) => {
                let status = self.lab.cri.status(&id).await.unwrap();
                let log = Path::new(&status.log_path);
                assert!(!log.exists() || self.lab.log(&status).is_empty(), "it was refused and has run");
                Err(refused)
            }
        };
        self.lab.cri.remove(&id).await.unwrap();
        outcome
    }

    /// Starts a container.
    pub async fn start(&self, container: &ContainerConfig) -> String {
        self.lab.start(&self.pod, &self.config, &self.placed(container)).await
    }

    /// Starts the hostile program in a container and waits until it is at work; the container's id.
    pub async fn hostile(&self, arguments: &[&str], volumes: &[(&Path, &str)]) -> String {
        let image = self.lab.busybox().await;
        let container = with_hostile(pods::container("hostile", &image, &[&["/hostile"], arguments].concat()));
        let container =
            volumes.iter().fold(container, |container, (host, inside)| with_volume(container, host, inside));
        let id = self.start(&container).await;
        until("the attack to begin", async || self.said(&id).await.contains("ing\n").then_some(())).await;
        id
    }

    /// Asserts that the hostile program, watching in the pod's PID namespace, sees processes that the launcher brings into
    /// `victim`, and could reach nothing of those.
    pub async fn assert_nothing_reached(&self, watcher: &str, victim: &str) {
        until("the attacker to see a process that enters", async || {
            self.lab.cri.exec(victim, &["true"]).await;
            self.said(watcher).await.contains("saw ").then_some(())
        })
        .await;
        let said = self.said(watcher).await;
        assert!(!said.contains("found "), "{said}");
    }

    /// What a container has logged so far.
    pub async fn said(&self, id: &str) -> String {
        let status = self.lab.cri.status(id).await.unwrap();
        let running = status.state() == ContainerState::ContainerRunning;
        let text = self.lab.log(&status);
        assert!(running, "the container has ended: {text}");
        text
    }
}

/// Has the pod's containers share a PID namespace.
pub fn sharing_pids(config: &mut PodSandboxConfig) {
    *config = pods::with_namespaces(config.clone(), |namespaces| namespaces.pid = NamespaceMode::Pod as i32);
}

/// A container with the hostile program.
fn with_hostile(container: ContainerConfig) -> ContainerConfig {
    with_mount(with_libraries(container), programs::built("hostile").to_str().unwrap(), "/hostile", true)
}

/// A container with the libraries that the workspace's programs need.
pub fn with_libraries(container: ContainerConfig) -> ContainerConfig {
    let libraries = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|directory| Path::new(directory).is_dir());
    libraries.fold(container, |container, directory| with_mount(container, directory, directory, true))
}

/// A container with a volume.
pub fn with_volume(container: ContainerConfig, host: &Path, inside: &str) -> ContainerConfig {
    with_mount(container, host.to_str().unwrap(), inside, false)
}
