#![allow(clippy::unwrap_used, clippy::panic)]
//! v2 on a directory with files of our own: what would be written. (v1, and what the kernel makes of it: `cgroup/tests.rs`.)

use std::fs;

use super::{
    super::hierarchies::{Controllers, Hierarchies, Hierarchy},
    *,
};

/// A cgroup `c` below a "v2 mount" with empty files.
struct Fixture {
    mount: tempfile::TempDir,
    cgroup: Cgroup,
}

fn fixture(files: &[&str]) -> Fixture {
    let mount = tempfile::tempdir().unwrap();
    let dir = mount.path().join("c");
    fs::create_dir(&dir).unwrap();
    for file in files {
        fs::write(dir.join(file), "").unwrap();
    }
    let hierarchy = Hierarchy {
        version: Version::V2,
        controllers: Controllers::parse("cpu cpuset memory io pids hugetlb"),
        name: None,
        mount: mount.path().to_owned(),
        root: "/".to_owned(),
    };
    let cgroup = Hierarchies::of(vec![hierarchy]).unwrap().cgroup("c").unwrap();
    Fixture { mount, cgroup }
}

impl Fixture {
    fn apply(&self, json: &str) -> Result<(), Error> {
        self.cgroup.apply(&serde_json::from_str(json).unwrap())
    }
    fn content(&self, file: &str) -> String {
        fs::read_to_string(self.mount.path().join("c").join(file)).unwrap()
    }
}

#[test]
fn memory_and_swap_are_separated() {
    let f = fixture(&["memory.max", "memory.swap.max", "memory.low"]);
    f.apply(r#"{"memory": {"limit": 1000, "swap": 1500, "reservation": 200}}"#).unwrap();
    assert_eq!(
        [f.content("memory.max"), f.content("memory.swap.max"), f.content("memory.low")],
        ["1000", "500", "200"]
    );
    let without_swap = fixture(&["memory.max"]);
    without_swap.apply(r#"{"memory": {"limit": -1, "swap": -1}}"#).unwrap();
    assert_eq!(without_swap.content("memory.max"), "max");
}

#[test]
fn cpu_quota_and_period_share_a_file() {
    for (json, before, after) in [
        (r#"{"cpu": {"quota": 20000, "period": 50000}}"#, "", "20000 50000"),
        (r#"{"cpu": {"quota": -1, "period": 50000}}"#, "", "max 50000"),
        (r#"{"cpu": {"quota": 20000}}"#, "", "20000"),
        (r#"{"cpu": {"period": 20000}}"#, "77 100000", "77 20000"),
        (r#"{"cpu": {"quota": 0, "period": 0, "shares": 1024}}"#, "", ""),
    ] {
        let f = fixture(&["cpu.weight"]);
        fs::write(f.mount.path().join("c/cpu.max"), before).unwrap();
        f.apply(json).unwrap();
        assert!(f.content("cpu.max").starts_with(after), "{json}: {}", f.content("cpu.max"));
    }
    let f = fixture(&["cpu.weight", "cpu.idle", "cpuset.cpus", "cpuset.mems"]);
    f.apply(r#"{"cpu": {"shares": 1024, "cpus": "0-1", "mems": "0"}}"#).unwrap();
    assert_eq!([f.content("cpu.weight"), f.content("cpuset.cpus"), f.content("cpuset.mems")], ["100", "0-1", "0"]);
    f.apply(r#"{"cpu": {"idle": 1}}"#).unwrap();
    assert_eq!(f.content("cpu.idle"), "1");
}

#[test]
fn pids_io_and_hugepages() {
    let f = fixture(&["pids.max", "io.weight", "io.max", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]);
    f.apply(
        r#"{"pids": {"limit": -1}, "blockIO": {"weight": 10}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#,
    )
    .unwrap();
    f.apply(r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 4096}]}}"#).unwrap();
    assert_eq!([f.content("pids.max"), f.content("io.weight"), f.content("io.max")], ["max", "1", "8:0 rbps=4096"]);
    assert_eq!([f.content("hugetlb.2MB.max"), f.content("hugetlb.2MB.rsvd.max")], ["0", "0"]);
}

#[test]
fn unified_keys_are_files_of_the_cgroup_and_nothing_else() {
    let f = fixture(&["memory.high"]);
    f.apply(r#"{"unified": {"memory.high": "12345"}}"#).unwrap();
    assert_eq!(f.content("memory.high"), "12345");
    for key in ["../x.y", "a/b.c", ".hidden", "nodot", ""] {
        let json = serde_json::json!({ "unified": { key: "1" } }).to_string();
        assert!(matches!(f.apply(&json), Err(Error::BadValue { field: "unified", .. })), "{key}");
    }
    let missing = f.apply(r#"{"unified": {"memory.nothing": "1"}}"#).unwrap_err().to_string();
    assert!(missing.contains("memory.nothing"), "{missing}");
}

#[test]
fn what_v2_cannot_do_is_said() {
    let f = fixture(&["memory.max"]);
    for json in [
        r#"{"memory": {"swappiness": 10}}"#,
        r#"{"memory": {"disableOOMKiller": true}}"#,
        r#"{"blockIO": {"leafWeight": 100}}"#,
    ] {
        assert!(matches!(f.apply(json), Err(Error::Unsupported { .. })), "{json}");
    }
    f.apply(r#"{"memory": {"disableOOMKiller": false}, "blockIO": {}}"#).unwrap();
}

#[test]
fn page_sizes_are_checked_before_they_name_a_file() {
    let f = fixture(&[]);
    for size in ["", "MB", "2", "2MBMB", "../2MB", "2mB", "x2MB"] {
        let json = serde_json::json!({ "hugepageLimits": [{ "pageSize": size, "limit": 0 }] }).to_string();
        assert!(matches!(f.apply(&json), Err(Error::BadValue { field: "hugepageLimits", .. })), "{size}");
    }
}

#[test]
fn a_missing_controller_is_named() {
    let mount = tempfile::tempdir().unwrap();
    let hierarchy = Hierarchy {
        version: Version::V2,
        controllers: Controllers::default(),
        name: None,
        mount: mount.path().to_owned(),
        root: "/".to_owned(),
    };
    let cgroup = Hierarchies::of(vec![hierarchy]).unwrap().cgroup("c").unwrap();
    let apply = |json| cgroup.apply(&serde_json::from_str(json).unwrap());
    for json in [r#"{"memory": {"limit": 1}}"#, r#"{"pids": {"limit": 1}}"#, r#"{"cpu": {"cpus": "0"}}"#] {
        assert!(matches!(apply(json), Err(Error::NoController { .. })), "{json}");
    }
    apply(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "pids": {"limit": 0}}"#).unwrap();
    assert!(apply(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#).is_err());
}

#[test]
fn a_limit_below_what_is_used_is_refused_if_asked_to() {
    let f = fixture(&["memory.max"]);
    fs::write(f.mount.path().join("c/memory.current"), "5000\n").unwrap();
    assert!(f.apply(r#"{"memory": {"limit": 1000, "checkBeforeUpdate": true}}"#).is_err());
    f.apply(r#"{"memory": {"limit": 9000, "checkBeforeUpdate": true}}"#).unwrap();
    assert_eq!(f.content("memory.max"), "9000");
}
