//! `corten`, the command line, against the real daemon.

mod check;
mod images;
mod port_forward;
mod streams;
mod terminal;

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use corten_e2e::{
    cri::until,
    daemon::Setup,
    image,
    lab::{self, Lab},
    pods, programs,
};
use serde_json::Value;

/// `corten` for a lab: its endpoint, its directories.
fn corten(lab: &Lab) -> Command {
    let mut command = Command::new(programs::built("corten"));
    command
        .env("CONTAINER_RUNTIME_ENDPOINT", format!("unix://{}", lab.paths.socket().display()))
        .env("CORTEN_LOG_DIR", lab.paths.logs())
        .env("CORTEN_DATA_DIR", lab.paths.dir.join("data"))
        .stdin(Stdio::null());
    command
}

/// Runs `corten` on a thread of its own, so that the test's connection goes on being served.
async fn output(lab: &Lab, words: &[&str]) -> Output {
    let child = corten(lab).args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

/// The standard output of a command that must succeed.
async fn succeed(lab: &Lab, words: &[&str]) -> String {
    let output = output(lab, words).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{words:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The standard error of a command that must fail.
async fn fail(lab: &Lab, words: &[&str]) -> String {
    let output = output(lab, words).await;
    assert!(!output.status.success(), "{words:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A manifest with everything that `corten run` knows, of an image.
fn manifest(lab: &Lab, image: &str) -> PathBuf {
    let host = lab.paths.dir.join("volume");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let text = format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: demo, labels: {{app: demo}}}}
spec:
  volumes:
  - {{name: host, hostPath: {{path: "{host}", type: Directory}}}}
  - {{name: scratch, emptyDir: {{}}}}
  initContainers:
  - {{name: prepare, image: "{image}", command: [sh, -c, "echo prepared > /scratch/file"],
      volumeMounts: [{{name: scratch, mountPath: /scratch}}]}}
  containers:
  - name: web
    image: "{image}"
    command: [sh, -c]
    args: ["echo $GREETING; cat /scratch/file /host/file; id -u; exec httpd -f -p 8080 -h /www"]
    env: [{{name: GREETING, value: hello}}]
    ports: [{{containerPort: 8080, hostPort: 8085}}]
    resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
    volumeMounts:
    - {{name: host, mountPath: /host, readOnly: true}}
    - {{name: scratch, mountPath: /scratch}}
    securityContext: {{runAsUser: 1000, allowPrivilegeEscalation: false}}
  - name: idle
    image: "{image}"
    command: [sleep, "1000"]
"#,
        host = host.display()
    );
    let file = lab.paths.dir.join("pod.yaml");
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_pod_of_a_manifest_runs_and_is_used_and_removed_by_hand() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.registry.push("busybox", "1", image::busybox()).await;
        let file = manifest(lab, &image);
        succeed(lab, &["run", &file.display().to_string(), "--cgroup-parent", &lab.paths.cgroup()]).await;
        assert!(succeed(lab, &["pods"]).await.contains("demo"));
        let ps = succeed(lab, &["ps"]).await;
        assert!(ps.contains("web") && ps.contains("idle") && !ps.contains("prepare"), "{ps}");
        assert!(succeed(lab, &["ps", "-a"]).await.contains("prepare"));
        let log = until("the log", async || {
            let log = succeed(lab, &["logs", "demo/web"]).await;
            (log.lines().count() >= 4).then_some(log)
        });
        assert_eq!(log.await, "hello\nprepared\nof the host\n1000\n");
        let exec = output(lab, &["exec", "demo/web", "sh", "-c", "echo out; echo err >&2; exit 9"]).await;
        assert_eq!((exec.status.code(), &exec.stdout[..], &exec.stderr[..]), (Some(9), &b"out\n"[..], &b"err\n"[..]));
        let page = until("the web server", async || {
            let words = ["exec", "demo/idle", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"];
            let answer = output(lab, &words).await;
            answer.status.success().then_some(answer.stdout)
        });
        assert_eq!(page.await, b"served by Corten\n");
        let inspected: Value = serde_json::from_str(&succeed(lab, &["inspect", "demo"]).await).unwrap();
        assert!(inspected.to_string().contains("SANDBOX_READY"), "{inspected}");
        assert!(succeed(lab, &["stats"]).await.contains("web"));
        assert!(fail(lab, &["rm", "demo"]).await.contains("demo"), "a running pod was removed without -f");
        succeed(lab, &["stop", "-t", "1", "demo"]).await;
        assert!(!succeed(lab, &["ps"]).await.contains("web"));
        succeed(lab, &["rm", "demo"]).await;
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        let data = lab.paths.dir.join("data");
        assert_eq!(fs::read_dir(&data).map_or(0, Iterator::count), 0, "an emptyDir was left in {}", data.display());
    });
}

#[test]
fn logs_are_followed_until_the_container_ends() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("talks");
        let pod = lab.run_pod(&config).await;
        let script = "for n in 1 2 3 4 5; do echo line $n; sleep 0.2; done; printf last";
        let id = lab.start(&pod, &config, &pods::script("c", &image, script)).await;
        let mut follow = corten(lab).args(["logs", "-f", &id[..12]]).stdout(Stdio::piped()).spawn().unwrap();
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            follow.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            assert!(follow.wait().unwrap().success());
            text
        });
        let text = text.await.unwrap();
        assert_eq!(text.trim_end(), "line 1\nline 2\nline 3\nline 4\nline 5\nlast");
        assert_eq!(succeed(lab, &["logs", "--tail", "1", &id]).await.trim_end(), "last");
    });
}

#[test]
fn an_archive_is_loaded_and_runs() {
    lab::test(Setup::default(), async |lab| {
        let archive = lab.paths.dir.join("image.tar");
        let name = "example.test/loaded:1";
        image::busybox().write_archive(name, fs::File::create(&archive).unwrap()).unwrap();
        let said = succeed(lab, &["image", "load", &archive.display().to_string()]).await;
        assert!(said.contains(name), "{said}");
        assert!(succeed(lab, &["images"]).await.contains("example.test/loaded"));
        let config = lab.pod("loaded");
        let pod = lab.run_pod(&config).await;
        let (_, log) = lab.run_to_end(&pod, &config, &pods::script("c", name, "cat /www/index.html")).await;
        assert_eq!(log, "served by Corten\n");
        let broken = lab.paths.dir.join("broken.tar");
        fs::write(&broken, b"not an archive").unwrap();
        assert!(!fail(lab, &["image", "load", &broken.display().to_string()]).await.is_empty());
        let absent = fail(lab, &["image", "load", "/no/such/archive.tar"]).await;
        assert!(absent.contains("/no/such/archive.tar"), "{absent}");
    });
}

#[test]
fn an_image_is_pulled_listed_and_removed() {
    lab::test(Setup::default(), async |lab| {
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        succeed(lab, &["pull", &reference]).await;
        assert!(succeed(lab, &["images"]).await.contains("busybox"));
        succeed(lab, &["rmi", &reference]).await;
        assert!(!succeed(lab, &["images"]).await.contains("busybox"));
        let absent = fail(lab, &["pull", &lab.registry.reference("absent:1")]).await;
        assert!(absent.contains("absent:1"), "{absent}");
    });
}

#[test]
fn a_pull_is_explained_by_the_daemon() {
    let login = "[registry.credentials.\"block.invalid\"]\nusername = \"u\"\npassword = \"hunter2\"\n";
    let block = "[registry.hosts.\"block.invalid\"]\nserver = \"http://127.0.0.1:1\"\n";
    let setup = Setup { extra: format!("{login}{block}"), ..Setup::default() };
    lab::test(setup, async |lab| {
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        let host = reference.split('/').next().unwrap();
        lab.paths.mirror("docker.io", host);
        let text = succeed(lab, &["explain-pull", "busybox:1"]).await;
        let file = lab.paths.certs().join("docker.io/hosts.toml");
        for want in [
            "image      docker.io/library/busybox:1".to_owned(),
            format!("configured {}", file.parent().unwrap().display()),
            format!("1. http://{host}/v2 (mirror)"),
            format!("said by      {}:2", file.display()),
            format!("manifest     GET http://{host}/v2/library/busybox/manifests/1?ns=docker.io"),
        ] {
            assert!(text.contains(&want), "{want} is not in:\n{text}");
        }
        let json = succeed(lab, &["explain-pull", &reference, "--try", "-o", "json"]).await;
        let answer: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(answer["hosts"][0]["answer"]["found"], true, "{json}");
        let text = succeed(lab, &["explain-pull", "block.invalid/a", "--try"]).await;
        assert!(text.contains("registry.hosts.\"block.invalid\"") && text.contains("Connection refused"), "{text}");
        assert!(fail(lab, &["explain-pull", "A B"]).await.contains("invalid image reference"));
        assert!(!lab.daemon.log().contains("hunter2"));
    });
}

#[test]
fn what_is_wrong_is_said_by_name() {
    lab::test(Setup::default(), async |lab| {
        assert!(fail(lab, &["logs", "nobody"]).await.contains("nobody"));
        assert!(fail(lab, &["exec", "nobody", "true"]).await.contains("nobody"));
        assert!(fail(lab, &["run", "/no/such/pod.yaml"]).await.contains("/no/such/pod.yaml"));
        let file = lab.paths.dir.join("wrong.yaml");
        for (text, word) in [
            ("kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {containers: []}", "containers"),
            ("kind: Deployment\napiVersion: apps/v1", "Deployment"),
            ("kind: Pod\napiVersion: v1\nmetadata: {name: x}\nspec: {container: []}", "container"),
            ("kind: [", "wrong.yaml"),
        ] {
            fs::write(&file, text).unwrap();
            let error = fail(lab, &["run", &file.display().to_string()]).await;
            assert!(error.contains(word), "{word} is not in: {error}");
        }
        let dead = corten(lab).env("CONTAINER_RUNTIME_ENDPOINT", "unix:///no/such.sock").arg("pods").output().unwrap();
        assert!(!dead.status.success());
        assert!(String::from_utf8_lossy(&dead.stderr).contains("/no/such.sock"));
    });
}

#[test]
fn a_pod_that_does_not_come_up_is_removed_again() {
    lab::test(Setup::default(), async |lab| {
        let file = lab.paths.dir.join("absent.yaml");
        let image = lab.registry.reference("absent:1");
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {{containers: [{{name: c, image: \"{image}\"}}]}}}}"
        );
        fs::write(&file, text).unwrap();
        let error = fail(lab, &["run", &file.display().to_string(), "--cgroup-parent", &lab.paths.cgroup()]).await;
        assert!(error.contains("absent:1"), "{error}");
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
    });
}
