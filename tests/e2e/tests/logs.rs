//! Containers' logs while they are rotated, as the kubelet does it: the file is renamed, then the log is reopened.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{assert_refused, until},
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab, read_log},
    pods,
};
use tonic::{Code, Status};

for_each_launcher!(
    rotation_under_load_loses_doubles_and_splits_nothing,
    rotation_of_a_terminals_log_under_load_loses_nothing,
    a_log_that_cannot_be_reopened_goes_on_in_the_old_file,
    the_log_of_what_does_not_run_is_not_reopened,
);

/// How often a log is rotated.
const ROTATIONS: usize = 20;

async fn reopen(lab: &Lab, id: &str) -> Result<(), Status> {
    let request = ReopenContainerLogRequest { container_id: id.to_owned() };
    lab.cri.runtime().reopen_container_log(request).await.map(drop)
}

/// Renames the log as the kubelet does, each time once there is something in it; the files, oldest first.
async fn rotate(lab: &Lab, id: &str) -> Vec<PathBuf> {
    let log = PathBuf::from(lab.cri.status(id).await.unwrap().log_path);
    let mut files = Vec::new();
    for number in 0..ROTATIONS {
        until("something in the log", async || fs::metadata(&log).is_ok_and(|file| file.len() > 0).then_some(())).await;
        let rotated = log.with_extension(format!("log.{number}"));
        fs::rename(&log, &rotated).unwrap();
        reopen(lab, id).await.unwrap_or_else(|e| panic!("ReopenContainerLog: {e}"));
        assert!(log.exists(), "the new file is there when the call returns");
        files.push(rotated);
    }
    files.push(log);
    files
}

/// The lines of each stream, put together from all files in order.
fn lines_of(files: &[PathBuf]) -> BTreeMap<String, Vec<String>> {
    let (mut begun, mut lines) = (BTreeMap::<String, String>::new(), BTreeMap::<String, Vec<String>>::new());
    for record in files.iter().flat_map(|file| read_log(file)) {
        let line = begun.entry(record.stream.clone()).or_default();
        line.push_str(&record.text);
        if record.full {
            lines.entry(record.stream).or_default().push(std::mem::take(line));
        }
    }
    assert!(begun.values().all(String::is_empty), "a line without an end");
    lines
}

/// Prints numbered lines until the file `/stop` is there, every tenth with 40000 more letters, then the count.
const PRINTER: &str = "long=$(head -c 40000 /dev/zero | tr '\\0' x); n=0
    while ! test -e /stop; do
        n=$((n + 1))
        case $n in *0) echo \"line $n $long\";; *) echo \"line $n\";; esac
    done
    echo \"end $n\"";

/// The lines are all numbers in their order, with what belongs to each, and the last tells how many there were.
fn assert_whole(stream: &str, lines: &[String]) {
    let (end, numbered) = lines.split_last().unwrap_or_else(|| panic!("nothing on {stream}"));
    for (at, line) in (1..).zip(numbered) {
        let long = if at % 10 == 0 { format!(" {}", "x".repeat(40_000)) } else { String::new() };
        let shown = &line[..line.len().min(60)];
        assert!(*line == format!("line {at}{long}"), "{stream}: line {at} is {shown:?} of {} bytes", line.len());
    }
    assert_eq!(*end, format!("end {}", numbered.len()), "{stream}");
    assert!(numbered.len() > ROTATIONS, "{stream}: no load: {} lines", numbered.len());
}

fn rotation_under_load_loses_doubles_and_splits_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("rotate");
        let pod = lab.run_pod(&config).await;
        let text = format!("({PRINTER}) >&2 & {PRINTER}; wait");
        let id = lab.start(&pod, &config, &pods::script("c", &image, &text)).await;
        let files = rotate(lab, &id).await;
        stop(lab, &id).await;
        lab.cri.wait_exited(&id).await;
        let lines = lines_of(&files);
        for stream in ["stdout", "stderr"] {
            assert_whole(stream, &lines[stream]);
        }
        for (number, file) in files.iter().enumerate() {
            assert!(fs::metadata(file).unwrap().len() > 0, "nothing was written to file {number}");
        }
    });
}

/// Has the printer end. The command may be killed with the container that it ends.
async fn stop(lab: &Lab, id: &str) {
    lab.cri.exec(id, &["touch", "/stop"]).await;
}

fn rotation_of_a_terminals_log_under_load_loses_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("rotate-tty");
        let pod = lab.run_pod(&config).await;
        let container = ContainerConfig { tty: true, ..pods::script("c", &image, PRINTER) };
        let id = lab.start(&pod, &config, &container).await;
        let files = rotate(lab, &id).await;
        stop(lab, &id).await;
        lab.cri.wait_exited(&id).await;
        let mut lines = lines_of(&files);
        assert_eq!(lines.len(), 1, "a terminal has one output");
        let lines: Vec<String> =
            lines.remove("stdout").unwrap().iter().map(|line| line.trim_end_matches('\r').to_owned()).collect();
        assert_whole("the terminal", &lines);
    });
}

fn a_log_that_cannot_be_reopened_goes_on_in_the_old_file(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("gone");
        let pod = lab.run_pod(&config).await;
        let id = lab
            .start(
                &pod,
                &config,
                &pods::script("c", &image, "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.01; done"),
            )
            .await;
        let log = PathBuf::from(lab.cri.status(&id).await.unwrap().log_path);
        let (directory, away) = (log.parent().unwrap(), log.parent().unwrap().with_extension("away"));
        fs::rename(directory, &away).unwrap();
        let shown = log.display().to_string();
        assert_refused(reopen(lab, &id).await, Code::Internal, &[&shown, "No such file or directory"]);
        assert!(!log.exists(), "a failed reopening has made a file");
        let old = away.join(log.file_name().unwrap());
        let lines = || read_log(&old).len();
        let before = lines();
        until("the old file to go on", async || (lines() > before).then_some(())).await;
        // Somebody's symbolic link is not followed either.
        fs::create_dir(directory).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert_refused(reopen(lab, &id).await, Code::Internal, &[&shown]);
        fs::remove_file(&log).unwrap();
        reopen(lab, &id).await.unwrap();
        until("the new file to be written", async || (!read_log(&log).is_empty()).then_some(())).await;
        lab.cri.stop(&id, 0).await.unwrap();
        let numbers: Vec<String> = lines_of(&[old, log]).remove("stdout").unwrap();
        assert!((1..).zip(&numbers).all(|(at, line)| *line == format!("{at}")), "{numbers:?}");
    });
}

fn the_log_of_what_does_not_run_is_not_reopened(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("ended");
        let pod = lab.run_pod(&config).await;
        assert_refused(reopen(lab, "nothing").await, Code::NotFound, &["nothing"]);
        let id = lab.cri.create(&pod, &config, &pods::script("c", &image, "echo only")).await.unwrap();
        assert_refused(reopen(lab, &id).await, Code::FailedPrecondition, &[&id, "not running"]);
        lab.cri.start(&id).await.unwrap();
        let status = lab.cri.wait_exited(&id).await;
        let log = Path::new(&status.log_path);
        fs::remove_file(log).unwrap();
        assert_refused(reopen(lab, &id).await, Code::FailedPrecondition, &[&id, "not running"]);
        assert!(!log.exists(), "a refused reopening has made a file");
        // One that writes no log has nothing to reopen.
        let silent = ContainerConfig { log_path: String::new(), ..pods::sleeper("silent", &image) };
        let id = lab.start(&pod, &config, &silent).await;
        reopen(lab, &id).await.unwrap();
    });
}
