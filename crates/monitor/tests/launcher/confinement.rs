//! Masks, read-only paths, descriptors, and what a container sees of its launcher.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::Fixture;

/// Masked files are empty devices, masked directories empty, read-only paths not writable, even for root.
#[test]
fn masked_and_readonly_paths() {
    let script = "stat -c '%t:%T' /proc/keys /proc/timer_list; ls -A /sys/firmware; \
        echo 1 > /proc/sys/kernel/panic; echo x > /proc/sys/kernel/hostname; chmod 777 /proc/keys; touch /sys/firmware/x";
    let mut fixture = Fixture::new(script);
    symlink("busybox", fixture.file("bin/chmod")).unwrap();
    fixture.process()["args"][2] = json!(script);
    let ended = fixture.run();
    assert_eq!(ended.stdout, "1:3\n1:3\n", "{ended:?}");
    assert_eq!(ended.stderr.matches("Read-only file system").count(), 4, "{ended:?}");
}

/// An image's own `/dev/null`, being something else, is not used for masks: CVE-2025-31133.
#[test]
fn a_false_null_device_masks_nothing() {
    let mut fixture = Fixture::new("stat -L -c '%t:%T' /proc/keys");
    fixture.spec["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    symlink("/proc/sysrq-trigger", fixture.file("dev/null")).unwrap();
    assert_eq!(fixture.output(), "1:3\n");
}

/// A working directory that a descriptor leads to, outside of the root, is refused: CVE-2024-21626.
#[test]
fn working_directories_outside_are_refused() {
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for number in 3..40 {
        let mut fixture = Fixture::new("cat /etc/hostname; ls");
        fixture.process()["cwd"] = json!(format!("/proc/self/fd/{number}"));
        if let Ok(running) = fixture.launch() {
            let ended = running.wait();
            fixture.remove_cgroup();
            assert!(!ended.stdout.contains("usr"), "{ended:?}");
        }
    }
}

/// An image whose program is the launcher's own is refused: CVE-2019-5736.
#[test]
fn the_launcher_is_not_executed() {
    let mut fixture = Fixture::new("");
    symlink("/proc/self/exe", fixture.file("bin/self")).unwrap();
    fixture.process()["args"] = json!(["/bin/self"]);
    let error = fixture.error().to_string();
    assert!(error.contains("launcher's own program"), "{error}");
}

/// No descriptor of the host's is open while the program is looked for in the container, so none leads out of it.
#[test]
fn no_descriptor_leads_out() {
    for number in 3..40 {
        let mut fixture = Fixture::new("");
        fixture.process()["args"] = json!([format!("/proc/self/fd/{number}/../../../../../../bin/busybox"), "true"]);
        let error = fixture.error().to_string();
        assert!(error.contains("no such file or directory") || error.contains("not a directory"), "{number}: {error}");
    }
    let fixture = Fixture::new("echo up; sleep 100");
    let mut running = fixture.launch().unwrap();
    assert_eq!(running.line(), "up");
    for number in 3..40 {
        let path = format!("/proc/self/fd/{number}/../../../../../../bin/busybox");
        let exec = fixture.exec(&running, |process| process["args"] = json!([path, "true"]));
        let error = exec.err().unwrap().to_string();
        assert!(error.contains("no such file or directory") || error.contains("not a directory"), "{number}: {error}");
    }
    running.kill();
    running.wait();
    fixture.remove_cgroup();
}
