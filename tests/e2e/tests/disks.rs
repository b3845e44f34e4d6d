//! Images on another disk than what containers write.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use corten_cri::v1::{FilesystemUsage, ImageFsInfoRequest, ImageSpec, Mount};
use corten_e2e::{
    cri::until,
    daemon::{self, Setup},
    image::{Image, Layer},
    lab::{self, Lab},
    pods,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const MIB: u64 = 1 << 20;

#[test]
fn images_have_a_disk_of_their_own() {
    with_images_elsewhere("corten");
}

#[test]
fn images_have_a_disk_of_their_own_under_runc() {
    with_images_elsewhere("runc");
}

fn with_images_elsewhere(handler: &'static str) {
    lab::test(Setup { handler, ..Setup::default() }, async |lab| {
        let (images, containers) = told(lab).await;
        assert_eq!((place(&images), usage(&images)), (place(&containers), usage(&containers)));

        assert!(lab.daemon.stop().await.success());
        let disk = lab.paths.dir.join("disk");
        fs::create_dir(&disk).unwrap();
        mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let without = fs::read_to_string(lab.paths.config()).unwrap();
        let root = disk.join("images");
        let elsewhere = |root: &Path| fs::write(lab.paths.config(), format!("{without}\n[images]\nroot = {root:?}\n"));
        elsewhere(&lab.paths.dir).unwrap();
        cannot_be_started(lab);
        elsewhere(&root).unwrap();
        lab.restart().await;

        let (images, containers) = told(lab).await;
        assert_eq!(place(&images), root.display().to_string());
        assert_ne!(device(place(&images)), device(place(&containers)));
        each_disk_is_counted(lab, &root).await;

        assert!(lab.daemon.stop().await.success());
        umount2(&disk, MntFlags::empty()).unwrap();
        fs::remove_dir(&disk).unwrap();
        fs::write(lab.paths.config(), without).unwrap();
        lab.restart().await;
    });
}

async fn each_disk_is_counted(lab: &mut Lab, root: &Path) {
    let image = lab.busybox().await;
    let data = Layer::new().file("data", 0o644, b"mounted").finish();
    let data = lab.image("data", &Image::of(vec![data]).build()).await;
    let (images, containers) = told(lab).await;
    assert!(usage(&images).0 > 0 && usage(&containers) == (0, 0), "{images:?} {containers:?}");

    let config = lab.pod("disks");
    let pod = lab.run_pod(&config).await;
    let mut container = pods::sleeper("c", &image);
    container.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        image: Some(ImageSpec { image: data.clone(), ..ImageSpec::default() }),
        readonly: true,
        ..Mount::default()
    }];
    let first = lab.start(&pod, &config, &container).await;
    let script = "cat /volume/data; head -c 3145728 /dev/urandom > /written";
    assert_eq!(lab.cri.shell(&first, script).await, "mounted");
    let written = until("what was written to be measured", async || {
        let (now, containers) = told(lab).await;
        assert_eq!(usage(&now), usage(&images));
        (usage(&containers).0 >= 3 * MIB).then_some(containers)
    });
    let written = written.await;
    let layer = lab.cri.stats(&first).await.unwrap().writable_layer.unwrap();
    assert_eq!((place(&layer), usage(&layer)), (place(&written), usage(&written)));

    lab.crash_and_restart().await;
    let second = lab.start(&pod, &config, &pods::sleeper("second", &image)).await;
    assert_eq!(lab.cri.shell(&first, "wc -c < /written").await, "3145728\n");
    assert_eq!(lab.cri.shell(&second, "ls /written 2>&1; echo $?").await.lines().last(), Some("1"));
    lab.cri.stop_pod(&pod).await.unwrap();
    lab.cri.remove_pod(&pod).await.unwrap();
    for image in [&image, &data] {
        lab.cri.remove_image(image).await.unwrap();
    }
    let (images, containers) = told(lab).await;
    assert_eq!((usage(&images), usage(&containers)), ((0, 0), (0, 0)));
    for directory in [root.join("l"), lab.paths.root().join("images/s")] {
        until("the directories to be deleted", async || {
            fs::read_dir(&directory).unwrap().next().is_none().then_some(())
        })
        .await;
    }
}

/// What is in a directory that is somebody else's is not touched.
fn cannot_be_started(lab: &Lab) {
    let before = fs::metadata(&lab.paths.dir).unwrap().mode();
    let text = daemon::refusal(&lab.paths.config());
    let said =
        ["images.root", &lab.paths.dir.display().to_string(), "not empty"].iter().all(|part| text.contains(part));
    assert!(said, "{text}");
    assert_eq!(fs::metadata(&lab.paths.dir).unwrap().mode(), before);
}

/// The file system of images, and that of containers.
async fn told(lab: &Lab) -> (FilesystemUsage, FilesystemUsage) {
    let info = lab.cri.images().image_fs_info(ImageFsInfoRequest::default()).await.unwrap().into_inner();
    let only = |mut told: Vec<FilesystemUsage>| {
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    };
    (only(info.image_filesystems), only(info.container_filesystems))
}

fn place(told: &FilesystemUsage) -> &str {
    &told.fs_id.as_ref().unwrap().mountpoint
}

fn usage(told: &FilesystemUsage) -> (u64, u64) {
    (told.used_bytes.unwrap().value, told.inodes_used.unwrap().value)
}

fn device(path: &str) -> u64 {
    fs::metadata(path).unwrap().dev()
}
