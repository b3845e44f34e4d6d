//! A process, as the node's `/proc` shows it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nix::sys::signal::Signal;

use super::facts::{Facts, link, proc, text};

/// Files that are compared as they are.
const FILES: [&str; 19] = [
    "uid_map",
    "gid_map",
    "projid_map",
    "setgroups",
    "oom_score_adj",
    "loginuid",
    "sessionid",
    "personality",
    "timerslack_ns",
    "coredump_filter",
    "comm",
    "timens_offsets",
    "cpuset",
    "attr/current",
    "attr/exec",
    "attr/fscreate",
    "attr/keycreate",
    "attr/sockcreate",
    "autogroup",
];

/// Links that are compared as they are.
const LINKS: [&str; 3] = ["cwd", "root", "exe"];

/// Lines of `status` that count what happened, or that are the process's own ids (see [`relations`]).
const UNCOUNTED: [&str; 13] = [
    "Tgid",
    "Ngid",
    "Pid",
    "PPid",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "State",
    "FDSize",
    "HugetlbPages",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
];

/// Reads a process, and which namespaces it shares with others.
pub fn read(facts: &mut Facts, name: &str, pid: i32, others: &[(&str, i32)]) {
    let mut add = |key: String, value: String| drop(facts.insert(format!("{name} {key}"), value));
    for file in FILES {
        // Its number is the session's own.
        let hide = |text: String| if file == "autogroup" { text.split(' ').skip(1).collect() } else { text };
        add(file.to_owned(), hide(text(&proc(pid, file))));
    }
    for file in LINKS {
        add(file.to_owned(), link(&proc(pid, file)));
    }
    for file in ["environ", "cmdline"] {
        add(file.to_owned(), text(&proc(pid, file)).replace('\0', " | "));
    }
    for (key, value) in status(pid) {
        add(format!("status {key}"), value);
    }
    for line in text(&proc(pid, "limits")).lines().skip(1) {
        // The names have spaces; values begin at column 26.
        let (limit, values) = line.split_at_checked(26).unwrap_or((line, ""));
        add(format!("limits {}", limit.trim()), values.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    for line in text(&proc(pid, "cgroup")).lines() {
        let (_, rest) = line.split_once(':').unwrap();
        let (controllers, path) = rest.split_once(':').unwrap();
        add(format!("in cgroup {controllers:?}"), path.to_owned());
    }
    for (key, value) in scheduling(pid).into_iter().chain(relations(pid)) {
        add(key, value);
    }
    for (key, value) in namespaces(pid, others).into_iter().chain(descriptors(pid)) {
        add(key, value);
    }
}

fn status(pid: i32) -> Vec<(String, String)> {
    let lines = text(&proc(pid, "status"));
    let pairs = lines.lines().filter_map(|line| line.split_once(':'));
    let kept = pairs.filter(|(key, _)| !UNCOUNTED.contains(key) && !key.starts_with("Vm") && !key.starts_with("Rss"));
    kept.map(|(key, value)| {
        let value = match key {
            // Signals that wait, of how many may: those waiting are of all processes of the user.
            "SigQ" => value.split_once('/').unwrap().1.to_owned(),
            // runc's Go interrupts its own threads by SIGURG, and now and then one still waits when the program is executed.
            "SigPnd" => {
                let waiting = u64::from_str_radix(value.trim(), 16).unwrap();
                format!("{:016x}", waiting & !(1 << (Signal::SIGURG as i32 - 1)))
            }
            _ => value.trim().to_owned(),
        };
        (key.to_owned(), value)
    })
    .collect()
}

/// What the scheduler and the terminal's driver know (proc_pid_stat(5)).
fn scheduling(pid: i32) -> Vec<(String, String)> {
    let stat = text(&proc(pid, "stat"));
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // The first field after the name is the third.
    let field = |number: usize| fields[number - 3].to_owned();
    let terminal = if field(7) == "0" { "none".to_owned() } else { field(7) };
    let foreground = if field(8) == pid.to_string() { "own".to_owned() } else { field(8) };
    [
        ("terminal", terminal),
        ("terminal's foreground group", foreground),
        ("priority", field(18)),
        ("nice", field(19)),
        ("threads", field(20)),
        ("exit signal", field(38)),
        ("real-time priority", field(40)),
        ("policy", field(41)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// In how many PID namespaces the process is, and whether it leads its group and session.
fn relations(pid: i32) -> Vec<(String, String)> {
    let status = text(&proc(pid, "status"));
    let ids = |key: &str| -> Vec<String> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let own = ids("NSpid");
    let relation = |key: &str| {
        let others = ids(key);
        let pairs = own.iter().zip(&others);
        pairs.map(|(own, other)| if own == other { "own" } else { other }).collect::<Vec<_>>().join(" ")
    };
    vec![
        ("PID namespaces".to_owned(), own.len().to_string()),
        ("process group".to_owned(), relation("NSpgid")),
        ("session".to_owned(), relation("NSsid")),
    ]
}

/// Whose each namespace is.
fn namespaces(pid: i32, others: &[(&str, i32)]) -> Vec<(String, String)> {
    let node = std::process::id();
    let mut found = Vec::new();
    for kind in ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"] {
        let own = link(&proc(pid, &format!("ns/{kind}")));
        // The test's own thread has the daemon's mount and network namespaces.
        let nodes = link(Path::new(&format!("/proc/{node}/ns/{kind}")));
        let threads = link(Path::new(&format!("/proc/thread-self/ns/{kind}")));
        let other = others.iter().find(|(_, other)| link(&proc(*other, &format!("ns/{kind}"))) == own);
        let whose = match other {
            _ if own == nodes || own == threads => "the node's",
            Some((name, _)) => name,
            None => "its own",
        };
        found.push((format!("namespace {kind}"), whose.to_owned()));
    }
    found
}

/// How a descriptor may be used: access, `O_APPEND`, `O_NONBLOCK`. (The others say how it was opened.)
const MODES: i64 = 0o3 | 0o2000 | 0o4000;

fn identity(metadata: fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Every open descriptor: to what, whether that is a file of the container, and how.
fn descriptors(pid: i32) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(proc(pid, "fd")) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        let target = link(&entry.path());
        // `pipe:[123]`
        let target = target.split(":[").next().unwrap_or_default().to_owned();
        let info = text(&proc(pid, &format!("fdinfo/{number}")));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default().trim();
        let flags = i64::from_str_radix(flags, 8).unwrap_or(-1) & MODES;
        let own = fs::metadata(entry.path()).ok().map(identity)
            == fs::metadata(proc(pid, "root").join(target.trim_start_matches('/'))).ok().map(identity);
        let whose = if own { "its own " } else { "" };
        found.push((format!("descriptor {number}"), format!("{whose}{target} {flags:o}")));
    }
    found
}
