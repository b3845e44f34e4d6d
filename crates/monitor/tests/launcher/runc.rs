//! The same specification under runc: what `/proc` shows of the container is the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use corten_host::mount;
use serde_json::json;

use crate::harness::Fixture;

/// What a container says of itself, in sections.
const SHOW: &str = "echo '# status'; grep -E '^(Name|Umask|Uid|Gid|Groups|NSpid|Sig|Shd|Cap|NoNewPrivs|Seccomp|Specul|Cpus_allowed_list)' /proc/self/status
    echo '# limits'; cat /proc/self/limits; echo '# oom'; cat /proc/self/oom_score_adj
    echo '# cgroup'; cat /proc/self/cgroup; echo '# mounts'; cat /proc/self/mountinfo
    echo '# fds'; ls /proc/self/fd; echo '# env'; env | sort; echo '# dev'; ls -ln /dev | cut -c1-31
    echo '# names'; hostname; pwd; echo '# session'; cut -d' ' -f1,5,6,7,8 /proc/self/stat";

fn sections(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(section) => name = section.to_owned(),
            None => {
                sections.entry(name.clone()).or_default().push(line.split_whitespace().collect::<Vec<_>>().join(" "))
            }
        }
    }
    sections
}

/// Mount point, options and filesystem of each mount, but for the root (an overlay here, a bind mount there).
fn mounts(lines: &[String]) -> Vec<String> {
    let one = |line: &String| {
        let fields: Vec<_> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").unwrap();
        format!("{} {} {}", fields[4], fields[5], fields[dash + 1])
    };
    let mut mounts: Vec<_> = lines.iter().map(one).filter(|mount| !mount.starts_with("/ ")).collect();
    mounts.sort();
    mounts
}

/// Runs the fixture's specification under runc.
fn under_runc(fixture: &mut Fixture) -> String {
    let bundle = fixture.dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let root = fixture.file("");
    fixture.spec["root"]["path"] = json!(root);
    fs::write(bundle.join("config.json"), fixture.spec.to_string()).unwrap();
    let id = fixture.cgroup.trim_start_matches('/').to_owned();
    let output = Command::new("runc")
        .args(["--root".as_ref(), fixture.dir.path().join("runc").as_os_str()])
        .args(["run".as_ref(), "--bundle".as_ref(), bundle.as_os_str(), id.as_ref()])
        .output()
        .expect("Debian's runc");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What is the same under both.
#[test]
fn both_show_the_same() {
    let mut fixture = Fixture::new(SHOW);
    for name in ["grep", "sort", "cut"] {
        std::os::unix::fs::symlink("busybox", fixture.file("bin").join(name)).unwrap();
    }
    // Its root must be a mount point for runc not to need one of the host's.
    let root = mount::clone_path(&fixture.file(""), false).unwrap();
    drop(root.as_fd());
    let ours = sections(&fixture.output());
    let theirs = sections(&under_runc(&mut fixture));
    for (section, lines) in &ours {
        let (ours, theirs) = match section.as_str() {
            "mounts" => (mounts(lines), mounts(&theirs[section])),
            _ => (lines.clone(), theirs[section].clone()),
        };
        assert_eq!(ours, theirs, "{section}");
    }
}
