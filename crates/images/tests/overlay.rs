//! What the kernel's overlayfs shows of a snapshot, and that `read_file` sees the same. Needs root.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use corten_images::{Image, Kind, Snapshot, Store};
use rustix::{
    fs::{IFlags, Mode, OFlags},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags},
};
use support::{
    build::{Built, BuiltLayer, Packing, layout},
    store,
};
use tar::{Builder, EntryType, Header};

/// An archive of entries, each a kind, a path, a mode and content or a link's target.
fn archive(entries: &[(EntryType, &str, u32, &str)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (kind, path, mode, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        if *kind == EntryType::Symlink {
            tar.append_link(&mut header, path, content).unwrap();
        } else {
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

async fn load(store: &Store, layers: &[&[(EntryType, &str, u32, &str)]]) -> std::sync::Arc<Image> {
    let layers = layers.iter().map(|entries| BuiltLayer::new(&archive(entries), Packing::Gzip)).collect();
    let archive = layout(&Built::new(layers), "example.test/overlay:1");
    store.load(archive.as_slice()).await.unwrap().remove(0)
}

/// A detached mount: no mount table ever has it.
fn mount(snapshot: &Snapshot) -> OwnedFd {
    let (upper, work) = (snapshot.upper.to_str().unwrap(), snapshot.work.to_str().unwrap());
    mount_with(&[("lowerdir", &joined(&snapshot.lower)), ("upperdir", upper), ("workdir", work)])
}

fn joined(layers: &[PathBuf]) -> String {
    layers.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(":")
}

fn mount_with(options: &[(&str, &str)]) -> OwnedFd {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value).unwrap();
    }
    rustix::mount::fsconfig_create(&context).unwrap();
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

/// Like a process in the container: links stay inside.
fn read(root: &OwnedFd, path: &str) -> Option<Vec<u8>> {
    let resolve = rustix::fs::ResolveFlags::IN_ROOT;
    let file = rustix::fs::openat2(root, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn mode(root: &OwnedFd, path: &str) -> u32 {
    rustix::fs::statat(root, path, rustix::fs::AtFlags::EMPTY_PATH).unwrap().st_mode & 0o7777
}

const FILE: EntryType = EntryType::Regular;
const DIRECTORY: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;

#[tokio::test]
async fn the_kernel_and_read_file_see_the_same() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = load(
        &store,
        &[
            &[
                (DIRECTORY, "./", 0o755, ""),
                (DIRECTORY, "etc/", 0o755, ""),
                (FILE, "etc/passwd", 0o644, "lower"),
                (FILE, "etc/gone", 0o644, "x"),
                (FILE, "opaque/hidden", 0o644, "x"),
                (FILE, "dir/below", 0o644, "x"),
                (FILE, "file", 0o644, "x"),
                (FILE, "replaced/by/file", 0o644, "x"),
                (LINK, "rel", 0o777, "etc/passwd"),
                (LINK, "abs", 0o777, "/etc/passwd"),
                (LINK, "up", 0o777, "../../../etc/passwd"),
                (LINK, "merged", 0o777, "dir"),
                (LINK, "loop", 0o777, "loop"),
                (LINK, "out", 0o777, "/proc/self/root/etc/hostname"),
            ],
            &[
                (FILE, "etc/passwd", 0o644, "middle"),
                (FILE, "etc/.wh.gone", 0o644, ""),
                (FILE, "opaque/.wh..wh..opq", 0o644, ""),
                (FILE, "opaque/shown", 0o644, "y"),
                (FILE, "dir/above", 0o644, "y"),
                (FILE, ".wh.file", 0o644, ""),
                (FILE, "replaced", 0o644, "y"),
            ],
            &[(FILE, "file/now/a/directory", 0o644, "z"), (FILE, "etc/group", 0o644, "upper")],
        ],
    )
    .await;
    let snapshot = store.prepare_snapshot("c", &image, None, &[]).await.unwrap();
    let mounted = mount(&snapshot);
    for path in [
        "etc/passwd",
        "etc/group",
        "etc/gone",
        "opaque/hidden",
        "opaque/shown",
        "dir/below",
        "dir/above",
        "file",
        "file/now/a/directory",
        "replaced",
        "replaced/by/file",
        "rel",
        "abs",
        "up",
        "merged/below",
        "merged/../abs",
        "loop",
        "out",
        "etc",
        "missing/file",
        "etc/passwd/x",
        "../../etc/passwd",
    ] {
        let seen = store.read_file(&image, path, 1 << 20).await.unwrap_or(None);
        assert_eq!(seen, read(&mounted, path), "{path}");
    }
    assert_eq!(read(&mounted, "merged/below").unwrap(), b"x");
    assert!(store.read_file(&image, "etc/passwd", 3).await.unwrap_err().to_string().contains("more than 3 bytes"));
}

#[tokio::test]
async fn attributes_show_through_layers_that_do_not_describe_them() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = load(
        &store,
        &[
            &[(DIRECTORY, "./", 0o711, ""), (DIRECTORY, "tmp/", 0o1777, ""), (DIRECTORY, "tmp/deep/", 0o700, "")],
            &[(FILE, "tmp/deep/x", 0o644, "x"), (FILE, "new/x", 0o644, "x")],
            &[(DIRECTORY, "var/", 0o750, ""), (FILE, "tmp/y", 0o644, "y")],
        ],
    )
    .await;
    let snapshot = store.prepare_snapshot("c", &image, None, &[]).await.unwrap();
    let mounted = mount(&snapshot);
    let modes = ["", "tmp", "tmp/deep", "new", "var"].map(|path| mode(&mounted, path));
    assert_eq!(modes, [0o711, 0o1777, 0o700, 0o755, 0o750]);
    let times = rustix::fs::statat(&mounted, "tmp", rustix::fs::AtFlags::empty()).unwrap().st_mtime;
    assert_eq!(times, 1_000_000_000);
    assert_eq!(read(&mounted, "tmp/deep/x").unwrap(), b"x");
}

#[tokio::test]
async fn images_mounted_besides_are_shown_whole_and_held() {
    let root = tempfile::tempdir().unwrap();
    let held = store(root.path()).await;
    let image = load(&held, &[&[(FILE, "f", 0o644, "own")]]).await;
    let data = load(
        &held,
        &[
            &[(DIRECTORY, "./", 0o711, ""), (DIRECTORY, "tmp/", 0o1777, ""), (FILE, "gone", 0o644, "")],
            &[
                (FILE, "tmp/y", 0o644, "y"),
                (FILE, ".wh.gone", 0o644, ""),
                (LINK, "up", 0o777, "../../tmp"),
                (LINK, "loop", 0o777, "loop"),
            ],
        ],
    )
    .await;
    let kind = async |path: &str| held.kind(&data, Path::new(path)).await.unwrap();
    for path in ["", "/", "tmp", "up", "../../tmp", "up/.."] {
        assert_eq!(kind(path).await, Some(Kind::Directory), "{path:?}");
    }
    assert_eq!((kind("tmp/y").await, kind("up/y").await), (Some(Kind::File), Some(Kind::File)));
    assert_eq!((kind("gone").await, kind("tmp/y/z").await, kind("loop").await), (None, None, None));

    let single = load(&held, &[&[(FILE, "one", 0o644, "1")]]).await;
    let mounted = [data.clone(), single, data.clone()];
    let made = held.prepare_snapshot("c", &image, None, &mounted).await.unwrap();
    drop(held);
    let held = store(root.path()).await;
    for image in held.list() {
        held.remove(&image.id).await.unwrap();
    }
    let snapshot = held.snapshot("c").unwrap();
    assert_eq!(snapshot, made);
    let shown: Vec<_> = snapshot.mounted.iter().map(|layers| mount_with(&[("lowerdir", &joined(layers))])).collect();
    for shown in [&shown[0], &shown[2]] {
        assert_eq!((mode(shown, ""), mode(shown, "tmp")), (0o711, 0o1777));
        assert_eq!((read(shown, "tmp/y").unwrap(), read(shown, "gone")), (b"y".to_vec(), None));
    }
    assert_eq!(read(&shown[1], "one").unwrap(), b"1");
    drop(shown);
    held.remove_snapshot("c").await.unwrap();
    assert_eq!(std::fs::read_dir(root.path().join("l")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_container_writes_into_its_own_snapshot_only() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = load(&store, &[&[(FILE, "f", 0o644, "image")]]).await;
    let (one, two) = (
        store.prepare_snapshot("one", &image, None, &[]).await.unwrap(),
        store.prepare_snapshot("two", &image, None, &[]).await.unwrap(),
    );
    assert_eq!(store.prepare_snapshot("one", &image, None, &[]).await.unwrap(), one);
    let (first, second) = (mount(&one), mount(&two));
    let before = store.snapshot_usage("one").await.unwrap();
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&first, "f", flags, Mode::empty()).unwrap();
    std::io::Write::write_all(&mut File::from(file), &[7; 100_000]).unwrap();
    assert_eq!(read(&second, "f").unwrap(), b"image");
    let after = store.snapshot_usage("one").await.unwrap();
    assert!(after.bytes >= before.bytes + 100_000 && after.inodes == before.inodes + 1, "{before:?} {after:?}");
    assert_eq!(store.snapshots(), ["one", "two"]);
    drop(first);
    store.remove_snapshot("one").await.unwrap();
    assert_eq!(store.snapshots(), ["two"]);
    assert!(store.snapshot_usage("one").await.is_err());
}

#[tokio::test]
async fn an_image_without_layers_can_be_mounted() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = load(&store, &[]).await;
    let mounted = mount(&store.prepare_snapshot("c", &image, None, &[]).await.unwrap());
    let root = rustix::fs::openat(&mounted, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    assert_eq!(rustix::fs::fstat(&root).unwrap().st_mode & 0o7777, 0o755);
}

#[tokio::test]
async fn no_user_of_the_node_reaches_what_images_hold() {
    let root = tempfile::tempdir().unwrap();
    let _store = store(&root.path().join("images")).await;
    for name in ["", "l", "s", "t", "st"] {
        let mode = std::os::unix::fs::MetadataExt::mode(&root.path().join("images").join(name).metadata().unwrap());
        assert_eq!(mode & 0o7777, 0o700, "{name:?}");
    }
}

/// As far as the file system can do it, which another directory of it tells.
#[tokio::test]
async fn layers_and_nothing_else_are_spread_over_the_file_system() {
    let root = tempfile::tempdir().unwrap();
    let _store = store(&root.path().join("images")).await;
    let plain = File::open(root.path()).unwrap();
    let flags = rustix::fs::ioctl_getflags(&plain);
    let can = flags.is_ok_and(|flags| rustix::fs::ioctl_setflags(&plain, flags | IFlags::TOPDIR).is_ok());
    for (name, spread) in [("l", can), ("s", false), ("t", false), ("st", false)] {
        let directory = File::open(root.path().join("images").join(name)).unwrap();
        let flags = rustix::fs::ioctl_getflags(&directory);
        assert_eq!(flags.is_ok_and(|flags| flags.contains(IFlags::TOPDIR)), spread, "{name}");
    }
}

#[tokio::test]
async fn names_of_snapshots_do_not_become_paths() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = load(&store, &[&[(FILE, "f", 0o644, "x")]]).await;
    for name in ["", ".", "..", "../l", "a/b", "a\0b", &"x".repeat(200)] {
        assert!(store.prepare_snapshot(name, &image, None, &[]).await.is_err(), "{name:?}");
        assert!(store.remove_snapshot(name).await.is_err(), "{name:?}");
    }
    assert!(root.path().join("l").metadata().unwrap().is_dir());
}

#[tokio::test]
async fn what_docker_saves_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let layer = archive(&[(FILE, "f", 0o644, "docker")]);
    let image = Built::new(vec![BuiltLayer::new(&layer, Packing::Plain), BuiltLayer::new(&layer, Packing::Plain)]);
    let config = String::from_utf8(image.config.clone()).unwrap();
    let layer = String::from_utf8(layer).unwrap();
    let manifest =
        r#"[{"Config":"c.json","RepoTags":["saved:1","example.test/saved:2"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    let saved = archive(&[
        (FILE, "a/layer.tar", 0o644, &layer),
        (LINK, "b/layer.tar", 0o777, "../a/layer.tar"),
        (FILE, "c.json", 0o644, &config),
        (FILE, "manifest.json", 0o644, manifest),
    ]);
    let packed = zstd::encode_all(saved.as_slice(), 1).unwrap();
    let images = store.load(packed.as_slice()).await.unwrap();
    assert_eq!(images.last().unwrap().id, image.id());
    let loaded = store.resolve("saved:1").unwrap().unwrap();
    assert_eq!(loaded.repo_tags, ["docker.io/library/saved:1", "example.test/saved:2"]);
    assert_eq!(store.read_file(&loaded, "f", 100).await.unwrap().unwrap(), b"docker");
}
