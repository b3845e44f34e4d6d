//! The same specification under runc: what `/proc` shows of the container is the same.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use crate::harness::{self, Fixture};

/// What a container says of itself, in sections. Not of ignored signals: runc passes on what it inherited.
const SHOW: &str = "echo '# status'; grep -E '^(Name|Umask|Uid|Gid|Groups|SigBlk|SigCgt|Cap|NoNewPrivs|Seccomp|Specul|Cpus_allowed_list)' /proc/self/status
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

/// Mount point and filesystem of each mount, with its options; but for the root (an overlay here, a bind mount there)
/// and a hybrid machine's v2 hierarchy, which runc leaves out.
fn mounts(lines: &[String]) -> BTreeMap<(String, String), Vec<String>> {
    let one = |line: &String| {
        let fields: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let dash = fields.iter().position(|field| *field == "-").unwrap();
        let options = fields[5].split(',').map(str::to_owned).collect();
        ((fields[4].clone(), fields[dash + 1].clone()), options)
    };
    lines.iter().map(one).filter(|((point, _), _)| point != "/" && point != "/sys/fs/cgroup/unified").collect()
}

/// The same mounts, each with every restriction that the other has. Ours have more: masks are read-only.
fn assert_no_less_strict(ours: &[String], theirs: &[String]) {
    let (ours, theirs) = (mounts(ours), mounts(theirs));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (mount, options) in &theirs {
        let missing = options.iter().find(|option| *option != "rw" && !ours[mount].contains(option));
        assert_eq!(missing, None, "{mount:?}: {:?}", ours[mount]);
    }
}

/// Runs the fixture's specification under runc.
fn under_runc(fixture: &mut Fixture) -> String {
    let bundle = fixture.dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let root = fixture.file("");
    fixture.spec["root"]["path"] = json!(root);
    fs::write(bundle.join("config.json"), fixture.spec.to_string()).unwrap();
    let id = fixture.cgroup.trim_start_matches('/').to_owned();
    let mut runc = Command::new("runc");
    runc.args(["--root".as_ref(), fixture.dir.path().join("runc").as_os_str()]).args([
        "run".as_ref(),
        "--bundle".as_ref(),
        bundle.as_os_str(),
        id.as_ref(),
    ]);
    let output = harness::program(&mut runc).expect("Debian's runc");
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
    let ours = sections(&fixture.output());
    let theirs = sections(&under_runc(&mut fixture));
    for (section, lines) in &ours {
        match section.as_str() {
            "mounts" => assert_no_less_strict(lines, &theirs[section]),
            _ => assert_eq!(*lines, theirs[section], "{section}"),
        }
    }
}
