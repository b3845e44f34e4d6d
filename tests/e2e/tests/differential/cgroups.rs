//! A container's cgroup: every file of every controller that sets something.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::facts::{Facts, proc, text};

/// Files that can be written to, but do not say what was set: lists of processes, commands, and counters that a write resets.
const COUNTERS: [&str; 17] = [
    "cgroup.procs",
    "cgroup.threads",
    "tasks",
    "cgroup.event_control",
    "cgroup.kill",
    "cgroup.pressure",
    "memory.reclaim",
    "memory.force_empty",
    "memory.max_usage_in_bytes",
    "memory.memsw.max_usage_in_bytes",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.peak",
    "memory.swap.peak",
    "cpuacct.usage",
    "blkio.reset_stats",
    "blkio.throttle.io_service_bytes",
];

/// Files that cannot be written to but say what others set.
const SETTINGS: [&str; 4] = ["devices.list", "cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.effective_mems"];

/// The directories of a process's cgroups, by the names of their hierarchies' mounts.
pub fn directories(pid: i32) -> Vec<(String, PathBuf)> {
    let root = Path::new("/sys/fs/cgroup");
    let mut found = Vec::new();
    for line in text(&proc(pid, "cgroup")).lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let mount = match name {
            "" if root.join("cgroup.controllers").exists() => root.to_owned(),
            "" => root.join("unified"),
            name => root.join(name),
        };
        let name = if name.is_empty() { "unified" } else { name };
        found.push((name.to_owned(), mount.join(path.trim_start_matches('/'))));
    }
    found
}

/// Reads the cgroup of a process in every hierarchy. A process in the root of one is in none of it.
pub fn read(facts: &mut Facts, pid: i32) {
    for (hierarchy, directory) in directories(pid) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        if !directory.display().to_string().contains("/e2e") {
            continue;
        }
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let counts = COUNTERS.contains(&name.as_str())
                || ["failcnt", "usage_in_bytes", ".pressure"].iter().any(|counter| name.ends_with(counter));
            let sets =
                entry.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o222 != 0);
            if SETTINGS.contains(&name.as_str()) || sets && !counts {
                let text = text(&entry.path());
                let mut lines: Vec<&str> = text.lines().collect();
                // A set: the kernel lists it in the order of writing.
                if name == "devices.list" {
                    lines.sort_unstable();
                }
                facts.insert(format!("cgroup {hierarchy}/{name}"), lines.join(" | "));
            }
        }
    }
}
