//! The machine's own daemon, and what systemd says of it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use corten_cri::v1::*;
use corten_e2e::{cri::Cri, cri::until, daemon::Paths, image, pods};

/// The image that the tests' containers run.
const IMAGE: &str = "test.corten.dev/busybox:1";

/// Where tests keep files.
const DIRECTORY: &str = "/run/corten-test";

/// The daemon, with an image.
pub struct Node {
    pub cri: Cri,
    pub image: String,
}

impl Node {
    pub async fn connect() -> Self {
        let cri = Cri::connect(Path::new("/run/corten/corten.sock")).await;
        if cri.image(IMAGE).await.unwrap().is_none() {
            std::fs::create_dir_all(DIRECTORY).unwrap();
            let archive = format!("{DIRECTORY}/image.tar");
            image::busybox().write_archive(IMAGE, File::create(&archive).unwrap()).unwrap();
            run("corten", &["image", "load", &archive]);
        }
        Self { cri, image: IMAGE.to_owned() }
    }

    /// Waits until there is another daemon than the one with this process id.
    pub async fn connect_to_another(daemon: &str) -> Self {
        until("another daemon", async || {
            // One answer: between two the first one may end.
            let told = systemctl(&["show", "--property=ActiveState,MainPID", "corten.service"]);
            let has = |line: &str| told.lines().any(|told| told == line);
            (has("ActiveState=active") && !has(&format!("MainPID={daemon}"))).then_some(())
        })
        .await;
        Self::connect().await
    }

    /// A pod on the node's network, in a slice as the kubelet names them.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        let mut pod = pods::pod(&Paths::new(Path::new(DIRECTORY)), name);
        pod.hostname.clear();
        pod.linux.as_mut().unwrap().cgroup_parent = format!("/kubepods.slice/kubepods-burstable.slice/{}", slice(name));
        pods::with_namespaces(pod, |namespaces| namespaces.network = NamespaceMode::Node as i32)
    }

    pub async fn start(&self, pod: &str, pod_config: &PodSandboxConfig, config: &ContainerConfig) -> String {
        let mut config = config.clone();
        let linux = config.linux.get_or_insert_default();
        let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
        options.network = NamespaceMode::Node as i32;
        let id = self.cri.create(pod, pod_config, &config).await.unwrap_or_else(|e| panic!("CreateContainer: {e}"));
        self.cri.start(&id).await.unwrap_or_else(|e| panic!("StartContainer: {e}"));
        id
    }

    /// The process id of a container's init.
    pub async fn pid(&self, id: &str) -> String {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let info = self.cri.runtime().container_status(request).await.unwrap().into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        info["pid"].to_string()
    }

    /// No unit of a pod is left.
    pub async fn assert_nothing_left(&self) {
        assert_eq!(self.cri.list_pods(None).await.unwrap(), [""; 0]);
        let left = || units("corten*.scope") + &units("corten*.slice") + &units("kubepods*.slice");
        until("no unit is left", async || left().is_empty().then_some(())).await;
    }
}

/// The slice of a pod as the kubelet names it.
pub fn slice(name: &str) -> String {
    format!("kubepods-burstable-pod{name}_uid.slice")
}

/// While systemd executes itself anew, who asks it is told that nobody answers: asks again.
const AGAIN: [&str; 3] = ["disconnected", "Connection reset", "Transport endpoint"];

fn run(program: &str, arguments: &[&str]) -> String {
    loop {
        let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().trim().to_owned();
        }
        assert!(AGAIN.iter().any(|text| said.contains(text)), "{program} {arguments:?}: {said}");
    }
}

pub fn systemctl(arguments: &[&str]) -> String {
    run("systemctl", arguments)
}

/// A process in a scope that somebody else has made.
pub fn in_scope(scope: &str, slice: &str) -> Child {
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "--unit", scope, "--slice", slice, "sleep", "1000"]);
    command.spawn().unwrap()
}

/// A property of a unit's, or of systemd itself.
pub fn show(unit: &str, property: &str) -> String {
    let property = format!("--property={property}");
    let mut arguments = vec!["show", "--value", &property];
    arguments.extend(Some(unit).filter(|unit| !unit.is_empty()));
    systemctl(&arguments)
}

/// The units with such names that systemd has in memory and that were ever anything.
pub fn units(pattern: &str) -> String {
    systemctl(&["list-units", "--all", "--plain", "--no-legend", pattern])
}

/// The directory of a unit's cgroup.
pub fn directory(unit: &str) -> String {
    format!("/sys/fs/cgroup{}", show(unit, "ControlGroup"))
}
