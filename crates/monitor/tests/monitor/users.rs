//! A pod with a user namespace of its own.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use corten_host::user_namespace::{self, IdMapping, Mappings};
use corten_monitor::protocol::{POD_SHM, PodPlan};
use serde_json::json;

use crate::harness::{Container, Pod, change, plan};

const OUTSIDE: u32 = 2_000_000;

fn pod() -> Pod {
    let range = vec![IdMapping { inside: 0, outside: OUTSIDE, length: 65536 }];
    let sysctls = vec![("kernel.shmmax".to_owned(), "123456".to_owned())];
    Pod::start_with(PodPlan {
        users: Some(Mappings { uids: range.clone(), gids: range }),
        hostname: Some("web-0".to_owned()),
        private_ipc: true,
        shared_pid: true,
        sysctls,
        ..plan()
    })
}

/// As the daemon writes its specification; without a network namespace `/sys` is the host's.
fn container(pod: &Pod, name: &str, script: &str) -> Container {
    let mut container = pod.container(name, script);
    let monitor = pod.pid;
    change(&mut container, |spec| {
        let shm = json!({"destination": "/dev/shm", "type": "bind", "source": POD_SHM, "options": ["rbind"]});
        spec["mounts"].as_array_mut().unwrap().push(shm);
        let ids = json!([{"containerID": 0, "hostID": OUTSIDE, "size": 65536}]);
        let linux = &mut spec["linux"];
        linux["uidMappings"] = ids.clone();
        linux["gidMappings"] = ids;
        linux["namespaces"] = json!([
            {"type": "mount"}, {"type": "user"}, {"type": "pid"},
            {"type": "uts", "path": format!("/proc/{monitor}/ns/uts")},
            {"type": "ipc", "path": format!("/proc/{monitor}/ns/ipc")},
        ]);
    });
    std::os::unix::fs::chown(&container.plan.root.upper, Some(OUTSIDE), Some(OUTSIDE)).unwrap();
    container
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

#[test]
fn its_namespaces_are_owned_by_it() {
    let mut pod = pod();
    let script = "hostname; cat /proc/sys/kernel/shmmax; stat -c %u:%g /dev/shm /proc/1; echo x > /dev/stdout; \
                  cat /proc/self/uid_map";
    let container = container(&pod, "c", script);
    let exit = pod.client.run(&container);
    assert_eq!(exit.code, 0, "{:?}", pod.lines("c"));
    let lines = pod.lines("c");
    assert_eq!(lines[..5], ["web-0", "123456", "0:0", "0:0", "x"]);
    assert!(lines[5].contains(&OUTSIDE.to_string()));
    let init = pod.init_pid.unwrap();
    assert_eq!(fs::metadata(format!("/proc/{init}")).unwrap().uid(), OUTSIDE);
    let users = inode(&File::open(format!("/proc/{init}/ns/user")).unwrap());
    assert_ne!(users, inode(&File::open("/proc/self/ns/user").unwrap()));
    for namespace in [format!("{init}/ns/pid"), format!("{}/ns/uts", pod.pid), format!("{}/ns/ipc", pod.pid)] {
        let owner = user_namespace::owner(File::open(format!("/proc/{namespace}")).unwrap().as_fd()).unwrap();
        assert_eq!(inode(&owner.into()), users, "{namespace}");
    }
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "web-0");
    pod.leave();
}
