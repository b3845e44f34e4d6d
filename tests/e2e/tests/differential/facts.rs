//! Everything that is read of a container.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use corten_cri::v1::*;
use corten_e2e::{
    cri,
    lab::Lab,
    streaming::{TERMINAL, to_end},
};
use corten_streaming::client::Transport;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    cases::{EXEC, INIT, ON_A_TERMINAL},
    cgroups, inside, mounts, process,
};

/// What was read: names and values.
pub type Facts = BTreeMap<String, String>;

/// The container that is read.
pub struct Subject<'a> {
    pub lab: &'a Lab,
    pub config: &'a PodSandboxConfig,
    /// Its pod's id.
    pub pod: &'a str,
    /// The id of the container that was in the pod before.
    pub peer: &'a str,
    pub id: &'a str,
    /// Whether a process with a terminal is executed in it too, and sysctls are read.
    pub thoroughly: bool,
}

/// Reads everything.
pub async fn read(subject: &Subject<'_>) -> Facts {
    let init = pid_of(subject.lab, subject.id).await;
    executing(init, &cmdline(&INIT)).await;
    let running = {
        let (cri, id) = (subject.lab.cri.clone(), subject.id.to_owned());
        tokio::spawn(async move { cri.exec_sync(&id, &EXEC, 0).await })
    };
    let exec = cri::until("the exec'd process", async || find(init, &cmdline(&EXEC))).await;
    let mut facts = Facts::new();
    let peer = pid_of(subject.lab, subject.peer).await;
    process::read(&mut facts, "init", init, &[("the peer's", peer)]);
    process::read(&mut facts, "exec", exec, &[("init's", init)]);
    kill(Pid::from_raw(exec), Signal::SIGKILL).unwrap();
    let ended = running.await.unwrap().unwrap();
    facts.insert("exec ended".into(), ended.exit_code.to_string());
    if subject.thoroughly {
        on_a_terminal(&mut facts, subject, init).await;
    }
    mounts::read(&mut facts, init);
    cgroups::read(&mut facts, init);
    inside::read(&mut facts, subject).await;
    normalise(facts, subject).await
}

/// Reads a process that is executed with a terminal of its own.
async fn on_a_terminal(facts: &mut Facts, subject: &Subject<'_>, init: i32) {
    let session = subject.lab.cri.exec_session(subject.id, &ON_A_TERMINAL, TERMINAL, Transport::WebSocket).await;
    let exec = cri::until("the process with a terminal", async || find(init, &cmdline(&ON_A_TERMINAL))).await;
    process::read(facts, "terminal", exec, &[("init's", init)]);
    mounts::list(facts, &proc(exec, "root"), "/dev/pts", 1);
    kill(Pid::from_raw(exec), Signal::SIGKILL).unwrap();
    facts.insert("terminal ended".into(), format!("{:?}", to_end(session).await.outcome));
}

/// The process id of a container's first process.
async fn pid_of(lab: &Lab, id: &str) -> i32 {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = lab.cri.runtime().container_status(request).await.unwrap().into_inner().info.remove("info").unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    i32::try_from(info["pid"].as_i64().unwrap()).unwrap()
}

fn cmdline(command: &[&str]) -> Vec<u8> {
    command.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect()
}

/// Waits until a process runs its program, not what launches it.
async fn executing(pid: i32, cmdline: &[u8]) {
    let runs = async || fs::read(proc(pid, "cmdline")).is_ok_and(|own| own == cmdline).then_some(());
    cri::until("the first process", runs).await;
}

/// The process beside `init` in its cgroup that runs a command.
fn find(init: i32, cmdline: &[u8]) -> Option<i32> {
    let groups = cgroups::directories(init);
    let group = groups.iter().find(|(name, _)| name == "memory" || name == "unified")?;
    let pids = fs::read_to_string(group.1.join("cgroup.procs")).ok()?;
    let mut pids = pids.lines().filter_map(|pid| pid.parse().ok());
    pids.find(|pid| *pid != init && fs::read(proc(*pid, "cmdline")).is_ok_and(|own| own == cmdline))
}

/// A file of a process.
pub fn proc(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// A file's text, or why it cannot be read.
pub fn text(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).to_owned(),
        Err(error) => failure(&error),
    }
}

/// A link's target, or why it cannot be read.
pub fn link(path: &Path) -> String {
    fs::read_link(path).map_or_else(|error| failure(&error), |target| target.display().to_string())
}

fn failure(error: &io::Error) -> String {
    format!("({})", error.kind())
}

/// Takes out what is a container's own: ids and paths made of them, and addresses.
async fn normalise(facts: Facts, subject: &Subject<'_>) -> Facts {
    let lab = subject.lab;
    let status = lab.cri.pod_status(subject.pod).await.unwrap();
    let ip = status.network.map(|network| network.ip).unwrap_or_default();
    let parent = subject.config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
    let dir = lab.paths.dir.display().to_string();
    let replaced = [
        (subject.id, "<id>"),
        (subject.peer, "<peer>"),
        (subject.pod, "<pod>"),
        (&parent, "<parent>"),
        (&dir, "<lab>"),
        (&ip, "<ip>"),
    ];
    let one = |text: &str| {
        let known = replaced.iter().filter(|(from, _)| !from.is_empty());
        known.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    };
    facts.iter().map(|(key, value)| (one(key), one(value))).collect()
}
