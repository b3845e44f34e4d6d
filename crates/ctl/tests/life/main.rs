//! The program against a runtime on a real socket: what it prints, what it exits with, and what it leaves behind.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;

use std::{fs, path::Path, process::Stdio, time::Duration};

use fake::Fake;
use tokio::{io::AsyncWriteExt, process::Command};

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn command(fake: &Fake, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    command
        .env_clear()
        .env("CONTAINER_RUNTIME_ENDPOINT", fake.path("cri.sock"))
        .env("CORTEN_LOG_DIR", fake.path("logs"))
        .env("CORTEN_DATA_DIR", fake.path("data"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs the program with something on its standard input.
async fn corten_with(fake: &Fake, words: &[&str], input: &str) -> Outcome {
    let mut child = command(fake, words).spawn().unwrap();
    // The program may end without having read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn corten(fake: &Fake, words: &[&str]) -> Outcome {
    corten_with(fake, words, "").await
}

/// A pod with an emptyDir volume, an init container and containers of the images given, named c0, c1, ...
fn manifest(init: &str, images: &[&str]) -> String {
    let containers: String = images
        .iter()
        .enumerate()
        .map(|(index, image)| format!("  - {{name: c{index}, image: {image}, imagePullPolicy: IfNotPresent, volumeMounts: [{{name: v, mountPath: /v}}]}}\n"))
        .collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, uid: u1}}\nspec:\n  terminationGracePeriodSeconds: 7\n  \
         volumes: [{{name: v, emptyDir: {{}}}}]\n  \
         initContainers: [{{name: first, image: {init}, imagePullPolicy: IfNotPresent}}]\n  containers:\n{containers}"
    )
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

/// Nothing of a pod is left, in the runtime or on the disk.
fn assert_clean(fake: &Fake) {
    let books = fake.books.lock().unwrap();
    assert!(books.pods.is_empty() && books.containers.is_empty());
    assert!(is_empty(&fake.path("data")), "volumes are left");
    assert!(is_empty(&fake.path("logs")), "logs are left");
}

#[tokio::test]
async fn a_pod_lives_and_leaves_nothing() {
    let fake = Fake::start();
    let run = corten_with(&fake, &["run", "-"], &manifest("exit-0", &["stay", "stay"])).await;
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let kinds: Vec<_> = run.stdout.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    assert_eq!(kinds, ["pod web", "container c0", "container c1"]);
    assert!(fake.path("data/u1/volumes/v").is_dir());

    let pods = corten(&fake, &["pods"]).await.stdout;
    assert!(pods.contains("default") && pods.contains("web") && pods.contains("10.1.2.3"), "{pods}");
    let running = corten(&fake, &["ps"]).await.stdout;
    assert_eq!(running.lines().count(), 3, "the init container has ended: {running}");
    assert!(corten(&fake, &["ps", "-a"]).await.stdout.contains("Exited (0)"));

    let logs = corten(&fake, &["logs", "web/c0"]).await;
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("hello\n", "oh\n"));
    let exec = corten(&fake, &["exec", "-s", "c1", "--", "echo", "-n", "42"]).await;
    assert_eq!((exec.code, exec.stdout.as_str(), exec.stderr.as_str()), (Some(42), "echo -n 42", "warned\n"));
    let streams = corten(&fake, &["exec", "c1", "ls"]).await;
    assert!(streams.stderr.starts_with("corten: run ls in container 0"), "{}", streams.stderr);
    assert!(streams.stderr.ends_with(": this runtime does not implement it (Exec)\n"), "{}", streams.stderr);
    let inspect = corten(&fake, &["inspect", "c0"]).await.stdout;
    assert!(inspect.contains("\"state\": \"CONTAINER_RUNNING\""), "{inspect}");

    let refused = corten(&fake, &["rm", "web"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("remove web: it is running; stop it first, or use -f"), "{}", refused.stderr);
    let stop = corten(&fake, &["stop", "web"]).await;
    assert_eq!((stop.code, stop.stdout.as_str()), (Some(0), "web\n"));
    assert!(fake.books.lock().unwrap().calls.contains(&"grace 7".to_owned()), "the pod's own grace period");
    assert_eq!(corten(&fake, &["rm", "web"]).await.code, Some(0));
    assert_clean(&fake);
}

#[tokio::test]
async fn what_fails_half_way_is_removed() {
    let fake = Fake::start();
    let run = corten_with(&fake, &["run", "-"], &manifest("exit-0", &["stay", "broken"])).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert_eq!(run.stderr, "corten: start container c1: exec /main: no such file (Internal)\n");
    assert_clean(&fake);
}

#[tokio::test]
async fn a_later_pod_that_fails_takes_the_earlier_ones_with_it() {
    let fake = Fake::start();
    let second = manifest("exit-0", &["broken"]).replace("name: web, uid: u1", "name: db, uid: u2");
    let run = corten_with(&fake, &["run", "-"], &format!("{}---\n{second}", manifest("exit-0", &["stay"]))).await;
    assert_eq!(run.code, Some(1));
    assert_clean(&fake);
}

#[tokio::test]
async fn a_failed_init_container_shows_its_log() {
    let fake = Fake::start();
    let run = corten_with(&fake, &["run", "-"], &manifest("exit-3", &["stay"])).await;
    assert_eq!(run.code, Some(1));
    let expected = "corten: pod web: init container first: it ended with code 3; its log ends with:\nhello\noh\n";
    assert_eq!(run.stderr, expected);
    assert_clean(&fake);
}

#[tokio::test]
async fn an_image_that_is_nowhere_fails_before_anything_is_made() {
    let fake = Fake::start();
    let run = corten_with(&fake, &["run", "-"], &manifest("exit-0", &["missing"])).await;
    assert_eq!(run.stderr, "corten: pull missing: missing: no such image (NotFound)\n");
    assert!(!fake.books.lock().unwrap().calls.contains(&"RunPodSandbox".to_owned()));
    assert_clean(&fake);
}

#[tokio::test]
async fn a_pod_that_is_there_is_left_alone() {
    let fake = Fake::start();
    let text = manifest("exit-0", &["stay"]);
    assert_eq!(corten_with(&fake, &["run", "-"], &text).await.code, Some(0));
    let again = corten_with(&fake, &["run", "-"], &text).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.starts_with("corten: run pod default/web: it is there already as "), "{}", again.stderr);
    assert_eq!(fake.books.lock().unwrap().pods.len(), 1);
    assert!(fake.path("data/u1/volumes/v").is_dir());
}

#[tokio::test]
async fn run_rm_waits_and_passes_the_exit_code_on() {
    let fake = Fake::start();
    let run = corten_with(&fake, &["run", "--rm", "-"], &manifest("exit-0", &["exit-0", "exit-5"])).await;
    assert_eq!(run.code, Some(5));
    assert_clean(&fake);
}

#[tokio::test]
async fn an_interrupt_removes_what_run_rm_made() {
    let fake = Fake::start();
    let mut child = command(&fake, &["run", "--rm", "-"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest("exit-0", &["stay"]).as_bytes()).await.unwrap();
    while !fake
        .books
        .lock()
        .unwrap()
        .containers
        .iter()
        .any(|(status, _, _)| status.state() == corten_cri::v1::ContainerState::ContainerRunning)
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().await.unwrap().status.code(), Some(130));
    assert_clean(&fake);
}

#[tokio::test]
async fn an_archive_is_streamed_whole() {
    let fake = Fake::start();
    let archive: Vec<u8> = (0..3_500_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    fs::write(fake.path("image.tar"), &archive).unwrap();
    let load = corten(&fake, &["image", "load", fake.path("image.tar").to_str().unwrap()]).await;
    assert_eq!((load.code, load.stdout.as_str()), (Some(0), "sha256:77 localhost/web:1\n"));
    assert!(fake.books.lock().unwrap().loaded == archive);
    let missing = corten(&fake, &["image", "load", "/none.tar"]).await;
    assert_eq!(missing.stderr, "corten: read /none.tar: No such file or directory (os error 2)\n");
}

#[tokio::test]
async fn follow_ends_with_the_container() {
    let fake = Fake::start();
    corten_with(&fake, &["run", "-"], &manifest("exit-0", &["stay"])).await;
    let child = command(&fake, &["logs", "-f", "--tail", "1", "c0"]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let log = fs::read_dir(fake.path("logs")).unwrap().next().unwrap().unwrap().path().join("c0/0.log");
    let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
    std::io::Write::write_all(&mut file, b"2026-01-31T12:00:01Z stdout F bye\n").unwrap();
    corten(&fake, &["stop", "c0"]).await;
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bye\n");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn errors_go_to_stderr_with_code_1_and_misuse_is_2() {
    let fake = Fake::start();
    let unknown = corten(&fake, &["inspect", "nobody"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert_eq!(unknown.stderr, "corten: nobody: there is no pod or container of that name or id\n");
    let missing = corten(&fake, &["info"]).await;
    assert_eq!(missing.stderr, "corten: ask for the status: this runtime does not implement it (Status)\n");
    assert_eq!(corten(&fake, &["exec", "c"]).await.code, Some(2));
    let timeout = corten(&fake, &["exec", "--timeout", "1", "c", "true"]).await;
    assert_eq!(timeout.code, Some(2));
    assert!(timeout.stderr.contains("--timeout") && timeout.stderr.contains("--sync"), "{}", timeout.stderr);
    assert_eq!(corten(&fake, &["frobnicate"]).await.code, Some(2));
    let several = corten(&fake, &["stop", "a", "b"]).await;
    assert_eq!(several.stderr.lines().count(), 3, "{}", several.stderr);
    let none = corten(&fake, &["--endpoint", "/none.sock", "ps"]).await;
    assert_eq!(none.stderr, "corten: connect to /none.sock: no such socket (is the runtime running?)\n");
    assert_eq!(none.code, Some(1));
}

#[tokio::test]
async fn a_manifest_is_checked_before_there_is_a_connection() {
    let fake = Fake::start();
    let bad = manifest("exit-0", &["stay"]).replace("emptyDir: {}", "emptyDir: {sizeLimit: 1Gi}");
    let run = corten_with(&fake, &["--endpoint", "/none.sock", "run", "-"], &bad).await;
    let expected =
        "corten: standard input: document 1: spec.volumes[0].emptyDir.sizeLimit: not supported by corten run\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), expected));
}
