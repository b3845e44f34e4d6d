//! A container's mounts and files.

use std::{
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::facts::{Facts, link, proc, text};

/// One mount (proc_pid_mountinfo(5)).
struct Mount {
    point: String,
    root: String,
    options: String,
    propagation: String,
    kind: String,
    source: String,
    parameters: String,
}

impl Mount {
    fn parse(line: &str) -> Self {
        let (left, right) = line.split_once(" - ").unwrap();
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let peers = left[6..].iter().map(|peer| peer.split(':').next().unwrap_or_default());
        // Those of cgroup v2 are the hierarchy's: runc's mount of a privileged container changes them for every other.
        let parameters = right.get(2).copied().filter(|_| right[0] != "cgroup2").unwrap_or_default();
        Mount {
            root: left[3].to_owned(),
            point: left[4].to_owned(),
            options: left[5].to_owned(),
            propagation: peers.collect::<Vec<_>>().join(" "),
            kind: right[0].to_owned(),
            source: right[1].to_owned(),
            parameters: parameters.to_owned(),
        }
    }
}

/// Reads the mounts of a process, what is at each, what is in `/`, and all of `/dev`.
pub fn read(facts: &mut Facts, pid: i32) {
    let all: Vec<Mount> = text(&proc(pid, "mountinfo")).lines().map(Mount::parse).collect();
    let points: Vec<&str> = all.iter().map(|mount| mount.point.as_str()).collect();
    facts.insert("mounts in order".into(), points.join(" "));
    for (index, mount) in all.iter().enumerate() {
        let below = points[..index].iter().filter(|point| **point == mount.point).count();
        let again = if below == 0 { String::new() } else { format!(" (over {below})") };
        let parts = [
            ("root", &mount.root),
            ("options", &mount.options),
            ("propagation", &mount.propagation),
            ("type", &mount.kind),
            ("source", &mount.source),
            ("parameters", &mount.parameters),
        ];
        for (part, value) in parts {
            facts.insert(format!("mount {}{again}: {part}", mount.point), value.clone());
        }
    }
    let root = proc(pid, "root");
    for point in points {
        add(facts, &root, point);
    }
    list(facts, &root, "/", 1);
    list(facts, &root, "/dev", 4);
}

/// What is in a directory, and below to a depth.
pub fn list(facts: &mut Facts, root: &Path, directory: &str, depth: usize) {
    let Ok(entries) = fs::read_dir(inside(root, directory)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if directory == "/" { format!("/{name}") } else { format!("{directory}/{name}") };
        add(facts, root, &path);
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(facts, root, &path, depth - 1);
        }
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn add(facts: &mut Facts, root: &Path, path: &str) {
    let at = inside(root, path);
    let value = match fs::symlink_metadata(&at) {
        Ok(metadata) if metadata.is_symlink() => format!("link to {}", link(&at)),
        Ok(metadata) => describe(&metadata),
        Err(error) => format!("({})", error.kind()),
    };
    facts.insert(format!("file {path}"), value);
}

fn describe(metadata: &Metadata) -> String {
    let device = rustix::fs::major(metadata.rdev()).to_string() + ":" + &rustix::fs::minor(metadata.rdev()).to_string();
    let kind = match metadata.file_type() {
        kind if kind.is_dir() => "directory".to_owned(),
        kind if kind.is_char_device() => format!("character device {device}"),
        kind if kind.is_block_device() => format!("block device {device}"),
        kind if kind.is_file() => "file".to_owned(),
        kind => format!("{kind:?}"),
    };
    format!("{kind} {:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}
