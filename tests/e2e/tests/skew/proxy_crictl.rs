//! Upstream's crictl through the proxy, as each release.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use corten_cri::history::{History, Release};
use corten_e2e::{daemon::Setup, lab};
use corten_skew::proxy::{self, Versions};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::proxied::Inside;

/// Where it is, if it is installed.
fn crictl() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join("crictl")).find(|path| path.is_file())
}

struct Crictl<'a> {
    program: &'a Path,
    socket: &'a Path,
    at: Release,
}

impl Crictl<'_> {
    /// What it prints when it works.
    async fn run(&self, arguments: &[&str]) -> String {
        let endpoint = format!("unix://{}", self.socket.display());
        let output = Command::new(self.program)
            .args(["--config", "/dev/null", "--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint])
            .args(arguments)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: crictl {arguments:?}: {error}", self.at);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    async fn a_pod(&self, pod: &str, container: &str) {
        assert!(self.run(&["version"]).await.contains("RuntimeApiVersion:  v1"));
        assert!(self.run(&["info"]).await.contains("RuntimeReady"));
        let id = self.run(&["runp", pod]).await;
        let made = self.run(&["create", &id, container, pod]).await;
        self.run(&["start", &made]).await;
        assert_eq!(self.run(&["exec", "-s", &made, "echo", "works"]).await, "works");
        let listed: Value = serde_json::from_str(&self.run(&["ps", "-o", "json"]).await).unwrap();
        assert_eq!(listed["containers"][0]["id"], made);
        self.run(&["inspect", &made]).await;
        self.run(&["stopp", &id]).await;
        self.run(&["rmp", &id]).await;
    }
}

#[test]
fn crictl_works_at_each_release() {
    let Some(program) = crictl() else {
        println!("crictl_works_at_each_release is skipped: there is no crictl in PATH");
        return;
    };
    lab::test(Setup::default(), async move |lab| {
        let image = lab.busybox().await;
        let (pod, container) = (lab.paths.dir.join("pod.json"), lab.paths.dir.join("container.json"));
        let config = json!({"metadata": {"name": "crictl", "namespace": "e2e", "uid": "crictl-uid"},
            "log_directory": lab.paths.logs().join("crictl"),
            "linux": {"cgroup_parent": lab.paths.cgroup_below("crictl")}});
        fs::write(&pod, config.to_string()).unwrap();
        let config = json!({"metadata": {"name": "sleeper"}, "image": {"image": image},
            "command": ["sleep", "1000"], "log_path": "sleeper.log", "linux": {}});
        fs::write(&container, config.to_string()).unwrap();
        for at in &History::embedded().unwrap().v1.releases {
            let versions = Versions::new(None, Some(at.to_string().parse().unwrap())).unwrap();
            let proxy = Inside::with(|listen| proxy::Setup {
                stages: vec![Box::new(versions)],
                translate: true,
                ..proxy::Setup::plain(listen, lab.paths.socket())
            })
            .await;
            let crictl = Crictl { program: &program, socket: &proxy.socket, at: *at };
            crictl.a_pod(pod.to_str().unwrap(), container.to_str().unwrap()).await;
        }
        fs::remove_file(pod).unwrap();
        fs::remove_file(container).unwrap();
    });
}
