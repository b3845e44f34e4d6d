//! Logs: format, rotation, files that cannot be written.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use corten_monitor::protocol::{Answer, Call, HeldState};

use crate::harness::{Pod, memfd, records, until, whole_records};

#[test]
fn long_lines_are_split_and_put_together_again() {
    let mut pod = Pod::start();
    let mut container = pod.container("c", "seq 1 20000 | while read n; do printf $n; done; echo; printf end");
    container.plan.max_log_line = 1000;
    pod.client.run(&container);
    let records = pod.records("c");
    let expected: String = (1..=20_000).map(|n| n.to_string()).collect();
    let (last, line) = records.split_last().unwrap();
    assert_eq!((last.1.as_str(), last.2.as_str()), ("P", "end"));
    let whole: String = line.iter().map(|record| record.2.as_str()).collect();
    assert_eq!(whole, expected);
    assert!(line.iter().all(|record| record.2.len() <= 1000));
    let tags: Vec<&str> = line.iter().map(|record| record.1.as_str()).collect();
    assert!(tags.iter().rev().skip(1).all(|tag| *tag == "P") && tags.last() == Some(&"F"), "{tags:?}");
    pod.leave();
}

#[test]
fn a_prompt_shows_before_its_line_ends() {
    let mut pod = Pod::start();
    let container = pod.container("c", "printf 'password: '; exec sleep 1000");
    pod.client.launch(&container).unwrap();
    until("the prompt is in the log", || pod.lines("c") == ["password: "]);
    pod.leave();
}

#[test]
fn everything_that_was_written_before_the_end_is_in_the_log() {
    let mut pod = Pod::start();
    for round in 0..10 {
        let name = format!("c{round}");
        let container = pod.container(&name, "seq 1 5000; seq 1 5000 >&2");
        pod.client.run(&container);
        // What the daemon reads when it hears of the exit.
        let of = |stream: &str| pod.records(&name).iter().filter(|record| record.0 == stream).count();
        assert_eq!((of("stdout"), of("stderr")), (5000, 5000), "round {round}");
    }
    pod.leave();
}

#[test]
fn rotation_loses_and_splits_nothing() {
    let mut pod = Pod::start();
    let container = pod.container("c", "seq 1 100000");
    let log = container.plan.log.clone().unwrap();
    pod.client.launch(&container).unwrap();
    let mut rotated = Vec::new();
    while !pod.client.state().is_empty() {
        let to = log.with_extension(rotated.len().to_string());
        // As the kubelet does: rename, then ask.
        fs::rename(&log, &to).unwrap();
        rotated.push(to);
        match pod.client.call(Call::ReopenLog { container: container.id.clone() }, &[]) {
            Ok(Answer::Done) => assert!(log.exists(), "reopened before the answer"),
            other => {
                assert!(other.is_err());
                break;
            }
        }
    }
    pod.client.exit(&container.id, None);
    rotated.push(log);
    let lines = rotated.iter().filter(|path| path.exists()).flat_map(|path| records(path));
    let numbers: Vec<u32> = lines.map(|record| record.2.parse().unwrap()).collect();
    assert_eq!(numbers, (1..=100_000).collect::<Vec<u32>>());
    assert!(rotated.len() > 1);
    pod.leave();
}

#[test]
fn the_logs_file_is_made_anew_when_asked_even_if_the_container_is_quiet() {
    let mut pod = Pod::start();
    let container = pod.container("c", "echo a; exec sleep 1000");
    let log = container.plan.log.clone().unwrap();
    pod.client.launch(&container).unwrap();
    until("it has logged", || pod.lines("c") == ["a"]);
    fs::remove_file(&log).unwrap();
    pod.client.call(Call::ReopenLog { container: container.id.clone() }, &[]).unwrap();
    assert_eq!(fs::read(&log).unwrap(), b"");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
    // A directory that is gone is an error, and the container goes on.
    fs::remove_dir_all(log.parent().unwrap().join("upper")).unwrap_or_default();
    pod.leave();
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let mut pod = Pod::start();
    let mut container = pod.container("c", "echo a; echo b; exit 3");
    // Every write to it fails with ENOSPC. It is no regular file, so the log is refused with its name.
    container.plan.log = Some("/dev/full".into());
    let error = pod.client.launch(&container).unwrap_err().to_string();
    assert!(error.contains("/dev/full"), "{error}");
    // A filesystem that is full.
    let small = pod.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let options = c"size=8k";
    rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), options).unwrap();
    let mut container = pod.container("d", "seq 1 10000; sleep 1; echo last; exit 3");
    container.plan.log = Some(small.join("0.log"));
    pod.client.launch(&container).unwrap();
    until("the disk is full", || fs::metadata(small.join("0.log")).unwrap().len() >= 8192);
    rustix::mount::mount_remount(&small, rustix::mount::MountFlags::empty(), c"size=1m").unwrap();
    let exit = pod.client.exit(&container.id, None);
    let lines = records(&small.join("0.log"));
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(exit.code, 3);
    assert_eq!(lines.last().unwrap().2, "last");
    let noted = lines.iter().filter(|record| record.2.contains("are lost: No space left on device")).count();
    assert_eq!(noted, 1, "{:?}", &lines[lines.len().saturating_sub(3)..]);
    pod.leave();
}

/// A disk that can be made to hang.
pub struct Disk {
    pub mounted: PathBuf,
}

impl Disk {
    pub fn new(dir: &Path) -> Self {
        let (image, mounted) = (dir.join("disk.img"), dir.join("disk"));
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        fs::create_dir(&mounted).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted));
        Self { mounted }
    }

    pub fn hang(&self) {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.mounted));
    }

    pub fn go_on(&self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mounted));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.mounted).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn a_log_disk_that_hangs_stops_nothing_else() {
    let mut pod = Pod::start();
    let disk = Disk::new(pod.dir.path());
    let mut hung = pod.container(
        "hung",
        "echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; seq 1 5000; echo > /tmp/said; seq 5001 100000",
    );
    let log = disk.mounted.join("0.log");
    hung.plan.log = Some(log.clone());
    pod.client.launch(&hung).unwrap();
    until("it has logged", || records(&log).len() == 1);
    disk.hang();
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd()];
    pod.client.exec(&hung, "go", "echo > /tmp/go; while [ ! -e /tmp/said ]; do sleep 0.05; done", &fds).0.unwrap();
    assert_eq!(pod.client.exit(&hung.id, Some("go")).code, 0);
    // A launch whose log cannot be opened for the time being.
    let mut late = pod.container("late", "exit 6");
    late.plan.log = Some(disk.mounted.join("late.log"));
    let plan = memfd(&serde_json::to_vec(&late.plan).unwrap());
    let seq = pod.client.ask(Call::Launch { container: late.id.clone() }, &[plan.as_fd()]);
    // Everything else goes on as usual.
    let other = pod.container("other", "echo x; exit 5");
    assert_eq!(pod.client.run(&other).code, 5);
    assert_eq!(pod.lines("other"), ["x"]);
    assert_eq!(pod.client.state_of(&late.id), Some(HeldState::Launching));
    pod.client.signal(&hung.id, None, libc::SIGKILL, true).unwrap();
    assert_eq!(pod.client.exit(&hung.id, None).code, 137);
    disk.go_on();
    assert!(matches!(pod.client.reply(seq).0, Ok(Answer::Launched { .. })));
    assert_eq!(pod.client.exit(&late.id, None).code, 6);
    // What it had said is written now, without a gap.
    until("the rest is in the log", || whole_records(&log).len() > 5000);
    let said = whole_records(&log).into_iter().skip(1).take(5000).map(|record| record.2);
    assert!(said.eq((1..=5000).map(|n: u32| n.to_string())));
    drop(disk);
    pod.leave();
}
