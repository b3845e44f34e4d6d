//! What containers may write, where `root` is on a file system with project quotas and where it is not.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use corten_cri::v1::FilesystemUsage;
use corten_e2e::{
    cri::until,
    daemon::{self, Setup},
    lab::{self, Lab},
    pods, programs,
    skip::skip,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const LIMITS: &str = "\n[images]\nwritable_layer_bytes = 8388608\nwritable_layer_inodes = 500\n";
const LIMIT: u64 = 8 << 20;

#[test]
fn what_a_container_writes_is_limited_or_the_limit_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let root = lab.paths.root();
        assert!(lab.daemon.stop().await.success());
        let without = fs::read_to_string(lab.paths.config()).unwrap();
        fs::write(lab.paths.config(), without.clone() + LIMITS).unwrap();

        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        cannot_be_started(lab);
        umount2(&root, MntFlags::empty()).unwrap();

        match mount_with_project_quotas(&lab.paths.dir.join("disk"), &root) {
            Ok(()) => {
                lab.restart().await;
                a_container_is_stopped_and_no_other(lab).await;
                assert!(lab.daemon.stop().await.success());
                umount2(&root, MntFlags::MNT_DETACH).unwrap();
            }
            Err(why) => skip("what_a_container_writes_is_limited_or_the_limit_is_refused", &why),
        }
        fs::write(lab.paths.config(), without).unwrap();
        lab.restart().await;
    });
}

fn cannot_be_started(lab: &Lab) {
    let text = daemon::refusal(&lab.paths.config());
    let directory = lab.paths.root().join("images").display().to_string();
    let said = ["images.writable_layer_bytes", &directory, "prjquota"].iter().all(|part| text.contains(part));
    assert!(said, "{text}");
}

/// Makes an ext4 in a file and mounts it; why this kernel cannot.
fn mount_with_project_quotas(file: &Path, at: &Path) -> Result<(), String> {
    fs::File::create(file).unwrap().set_len(512 << 20).unwrap();
    let make = programs::installed("mkfs.ext4", "e2fsprogs");
    assert!(Command::new(make).args(["-q", "-O", "quota,project"]).arg(file).status().unwrap().success());
    // Nobody else may have asked for it yet.
    let modprobe = Command::new("modprobe").arg("loop").stdout(Stdio::null()).stderr(Stdio::null()).status();
    drop(modprobe);
    let output = Command::new("mount").args(["-o", "loop,prjquota"]).args([file, at]).output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("the kernel cannot mount ext4 with prjquota: {}", text.lines().next().unwrap_or_default()))
}

async fn a_container_is_stopped_and_no_other(lab: &Lab) {
    let image = lab.busybox().await;
    let config = lab.pod("quota");
    let pod = lab.run_pod(&config).await;
    let (one, two) = (pods::sleeper("one", &image), pods::sleeper("two", &image));
    let (one, two) = (lab.start(&pod, &config, &one).await, lab.start(&pod, &config, &two).await);
    let layer = async |id: &str| lab.cri.stats(id).await.unwrap().writable_layer.unwrap();
    let used = |layer: &FilesystemUsage| (layer.used_bytes.unwrap().value, layer.inodes_used.unwrap().value);

    let text = lab.cri.shell(&one, "dd if=/dev/zero of=/big bs=64k count=1000 2>&1; echo ended $?").await;
    assert!(text.contains("Disk quota exceeded") && text.contains("ended 1"), "{text}");
    let full = until("the layer to be full", async || {
        let (bytes, _) = used(&layer(&one).await);
        (bytes > LIMIT - (256 << 10)).then_some(bytes)
    });
    assert!(full.await <= LIMIT);
    let text = lab.cri.shell(&two, "dd if=/dev/zero of=/big bs=64k count=100 2>&1; echo ended $?").await;
    assert!(text.contains("ended 0"), "{text}");
    let text = lab.cri.shell(&two, "i=0; while true > /f$i; do i=$((i + 1)); done 2>&1; echo $i").await;
    assert!(text.contains("Disk quota exceeded"), "{text}");
    until("all files to be counted", async || (used(&layer(&two).await).1 == 500).then_some(())).await;
    // What is deleted is free again.
    let text = lab.cri.shell(&one, "rm /big && dd if=/dev/zero of=/big bs=64k count=50 2>&1; echo ended $?").await;
    assert!(text.contains("ended 0"), "{text}");
    lab.cri.stop_pod(&pod).await.unwrap();
    lab.cri.remove_pod(&pod).await.unwrap();
}
