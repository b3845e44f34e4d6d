//! What is on the machine because of a daemon, before and after.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cri::PATIENCE,
    daemon::{MARK, Paths, prefix},
    namespace::run,
};

/// Everything a daemon or its pods might leave behind, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    found: BTreeSet<(&'static str, String)>,
}

/// What one snapshot has and another has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    appeared: Vec<(&'static str, String)>,
    vanished: Vec<(&'static str, String)>,
}

impl Snapshot {
    /// Looks at mounts, network namespace files, links, nftables, cgroups, processes, and files below `root` and `state`.
    /// Mounts, links and nftables are those of the calling thread's namespaces.
    pub fn take(paths: &Paths) -> Self {
        let kinds = [
            ("mount", mounts()),
            ("netns file", tree(&paths.netns())),
            ("link", links()),
            ("nftables", nftables()),
            ("cgroup", cgroups(paths)),
            ("process", processes(paths)),
            ("file", files(paths)),
        ];
        let found =
            kinds.into_iter().flat_map(|(kind, items)| items.into_iter().map(move |item| (kind, item))).collect();
        Self { found }
    }

    /// What of this kind (`mount`, `netns file`, `link`, `nftables`, `cgroup`, `process` or `file`) is here but not in
    /// `before`.
    pub fn appeared_since(&self, before: &Self, kind: &str) -> Vec<String> {
        let new = self.found.difference(&before.found).filter(|(its, _)| *its == kind);
        new.map(|(_, item)| item.clone()).collect()
    }

    /// Everything of this kind.
    pub fn all(&self, kind: &str) -> Vec<String> {
        self.found.iter().filter(|(its, _)| *its == kind).map(|(_, item)| item.clone()).collect()
    }

    /// Drops everything of a kind that `forgive` says yes to.
    pub fn without(mut self, kind: &str, forgive: impl Fn(&str) -> bool) -> Self {
        self.found.retain(|(its, item)| *its != kind || !forgive(item));
        self
    }

    fn difference(&self, after: &Self) -> Difference {
        Difference {
            appeared: after.found.difference(&self.found).cloned().collect(),
            // A mount of the machine's can end at any time, also in a copy of its table.
            vanished: self.found.difference(&after.found).filter(|(kind, _)| *kind != "mount").cloned().collect(),
        }
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.appeared.is_empty() && self.vanished.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, item) in &self.appeared {
            writeln!(f, "  left behind: {kind} {item}")?;
        }
        for (kind, item) in &self.vanished {
            writeln!(f, "  gone: {kind} {item}")?;
        }
        Ok(())
    }
}

/// Waits until what `take` finds is what it was `before`. Links of a removed namespace and unused layers go a moment later.
///
/// # Panics
/// If it does not become so, with the difference.
pub fn assert_same(before: &Snapshot, mut take: impl FnMut() -> Snapshot) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let difference = before.difference(&take());
        if difference.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not as before:\n{difference}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// `<mount point> <filesystem type>` of every mount of the thread's namespace.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("read the mount table");
    table.lines().map(mount).collect()
}

fn mount(line: &str) -> String {
    let point = line.split(' ').nth(4).unwrap_or_default();
    let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    format!("{point} {kind}")
}

fn links() -> Vec<String> {
    let text = run("ip", &["-o", "link", "show"]);
    text.lines().filter_map(|line| line.split(": ").nth(1)).map(str::to_owned).collect()
}

/// The rules without their counters.
fn nftables() -> Vec<String> {
    run("nft", &["-s", "list", "ruleset"]).lines().map(|line| line.trim().to_owned()).collect()
}

/// Every cgroup, in any hierarchy, that has a name of this daemon's.
fn cgroups(paths: &Paths) -> Vec<String> {
    let top = paths.cgroup();
    let names = [top.trim_start_matches('/').trim_end_matches(".slice").to_owned(), prefix(paths)];
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &mut |path, is_dir| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let below = found.iter().any(|known: &PathBuf| path.starts_with(known));
        if is_dir && (below || names.iter().any(|own| name.starts_with(own))) {
            found.push(path.to_owned());
        }
    });
    found.iter().map(|path| path.display().to_string()).collect()
}

/// The command lines of the processes that [`process_ids`] finds.
pub fn processes(paths: &Paths) -> Vec<String> {
    process_ids(paths).into_iter().map(command_line).collect()
}

/// The ids of the processes that carry this daemon's mark or are in its cgroups.
pub fn process_ids(paths: &Paths) -> Vec<i32> {
    pids().into_iter().filter(|pid| belongs(*pid, paths)).collect()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("read /proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

fn belongs(pid: i32, paths: &Paths) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let mark = format!("{MARK}={}", paths.id);
    let marked = read("environ").split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
    marked || String::from_utf8_lossy(&read("cgroup")).contains(&paths.cgroup())
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned();
    if line.is_empty() { format!("zombie {pid}") } else { line }
}

fn files(paths: &Paths) -> Vec<String> {
    [tree(&paths.root()), tree(&paths.state())].concat()
}

fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(dir, &mut |path, _| found.push(path.display().to_string()));
    found
}

/// Visits everything below `dir` that can be read; what vanishes meanwhile is passed over.
fn walk(dir: &Path, visit: &mut impl FnMut(&Path, bool)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&entry.path(), is_dir);
        if is_dir {
            walk(&entry.path(), visit);
        }
    }
}

/// Kills what is left of a failed test and removes its cgroups.
pub fn sweep(paths: &Paths) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = process_ids(paths);
        for pid in &left {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    for cgroup in cgroups(paths).iter().rev() {
        let _: io::Result<()> = fs::remove_dir(cgroup);
    }
}
