#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:12 master:3 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/systemd-cgroups-agent,name=systemd
";

const V2: &str = "30 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate";

fn of(mountinfo: &str) -> Hierarchies {
    Hierarchies::of(parse_mountinfo(mountinfo)).unwrap()
}

#[test]
fn the_mode_follows_from_what_is_mounted() {
    assert_eq!(of(V1).mode(), Mode::V1);
    assert_eq!(of(V2).mode(), Mode::V2);
    assert_eq!(of(&format!("{V1}{V2}")).mode(), Mode::Hybrid);
    let named = "40 31 0:37 / /run/systemd-cgroup rw - cgroup none rw,name=systemd\n";
    assert_eq!(of(&format!("{named}{V2}")).mode(), Mode::V2, "a named hierarchy has no controllers");
    assert!(Hierarchies::of(parse_mountinfo("22 1 0:20 / /proc rw - proc proc rw")).is_none());
}

#[test]
fn co_mounted_controllers_share_a_directory() {
    let cgroup = of(V1).cgroup("a").unwrap();
    let dir = |c| cgroup.v1(c).map(|p| p.dir.to_str().unwrap().to_owned());
    assert_eq!(dir(Controller::Cpu).unwrap(), "/sys/fs/cgroup/cpu,cpuacct/a");
    assert_eq!(dir(Controller::Cpuacct), dir(Controller::Cpu));
    assert_eq!(dir(Controller::Pids), None);
    assert_eq!(cgroup.places.len(), 3, "the tmpfs is none, the named one is");
}

#[test]
fn of_two_mounts_of_a_hierarchy_the_whole_one_is_taken() {
    let bind = "90 1 0:32 /pod /run/bind\\040mount rw - cgroup cgroup rw,memory\n";
    for text in [format!("{bind}{V1}"), format!("{V1}{bind}")] {
        let cgroup = of(&text).cgroup("a").unwrap();
        assert_eq!(cgroup.v1(Controller::Memory).unwrap().dir, Path::new("/sys/fs/cgroup/memory/a"));
    }
    let only = of(bind).cgroup("a").unwrap();
    assert_eq!(only.v1(Controller::Memory).unwrap().dir, Path::new("/run/bind mount/a"));
}

#[test]
fn good_paths_are_absolute_or_not() {
    let hierarchies = of(V2);
    for path in ["/kubepods/burstable/pod1", "kubepods/burstable/pod1", "/kubepods/burstable/pod1/"] {
        let cgroup = hierarchies.cgroup(path).unwrap();
        assert_eq!(cgroup.name(), "/kubepods/burstable/pod1");
        assert_eq!(cgroup.places.first().unwrap().dir, Path::new("/sys/fs/cgroup/kubepods/burstable/pod1"));
    }
    assert!(hierarchies.cgroup("/").unwrap().places.iter().all(Place::is_root));
}

#[test]
fn bad_paths_are_refused_by_name() {
    let long = "x".repeat(256);
    for path in ["", "../a", "/a/../b", "a/./b", "a//b", "a\0b", "a\nb", "kubepods.slice:cri:abc", &long] {
        let error = of(V2).cgroup(path).unwrap_err();
        assert!(matches!(&error, Error::BadPath { path: named, .. } if named == path), "{path:?}: {error}");
    }
}

#[test]
fn a_process_is_found_in_each_hierarchy() {
    let text = "4:memory:/a:b/c\n3:cpu,cpuacct:/\n1:name=systemd:/s\n0::/u\n";
    let hierarchies = of(&format!("{V1}{V2}"));
    let paths: Vec<_> = hierarchies.list.iter().map(|h| path_in(h, text).unwrap()).collect();
    assert_eq!(paths, ["/", "/a:b/c", "/s", "/u"]);
    let own = Hierarchies::detect().unwrap().of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert!(own.processes().unwrap().contains(&i32::try_from(std::process::id()).unwrap()));
}

#[test]
fn a_path_outside_of_the_mount_is_refused() {
    let bind = parse_mountinfo("90 1 0:32 /pod /mnt rw - cgroup2 cgroup2 rw");
    let hierarchy = bind.first().unwrap();
    assert_eq!(locate(hierarchy, "/pod").unwrap(), Path::new("/mnt"));
    assert_eq!(locate(hierarchy, "/pod/a").unwrap(), Path::new("/mnt/a"));
    for path in ["/", "/podlike", "/other", "/pod/../x", "/../x"] {
        assert!(locate(hierarchy, path).is_err(), "{path}");
    }
}

#[test]
fn controllers_are_a_set() {
    let set = Controllers::parse("cpuset cpu io memory hugetlb pids rdma misc dmem\n");
    assert!(set.has(Controller::Io) && !set.has(Controller::Freezer));
    assert!(set.covers(Controllers::parse("io,pids")) && !set.covers(Controllers::parse("devices")));
    assert_eq!(set.only(&[Controller::Pids, Controller::Freezer]), Controllers::parse("pids"));
    assert_eq!(set.v2_names().count(), 9);
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "(?s).{0,300}", path in "(?s).{0,80}") {
        parse_mountinfo(&text);
        parse_mountinfo(&format!("1 2 0:1 {path} {text} - cgroup cgroup {text}"));
        let _ = of(V2).cgroup(&path);
        for hierarchy in parse_mountinfo(V1) {
            path_in(&hierarchy, &text);
            let _ = locate(&hierarchy, &path);
        }
    }

    #[test]
    fn an_accepted_path_stays_below_the_root(path in "[./a:]{0,12}") {
        if let Ok(cgroup) = of(V2).cgroup(&path) {
            for place in &cgroup.places {
                prop_assert!(place.dir.starts_with("/sys/fs/cgroup"));
                prop_assert!(!place.dir.components().any(|c| matches!(c, std::path::Component::ParentDir)));
            }
        }
    }
}
