//! Blobs kept as they came: pulled, saved, loaded, found damaged, cleared up. Needs root and docker-registry.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use corten_images::{CheckEvent, CheckOptions, Digest, Form as ArchiveForm, Image, Progress, Saved, Store, Verdict};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use rustix::fs::IFlags;
use serde_json::Value;
use support::{
    Registry,
    build::{self, Built, BuiltLayer, Form, Packing, architecture, archive},
    liar::{Answer, Liar, Seen},
    store,
};
use tokio::sync::{mpsc, watch};

async fn keeping(root: &Path) -> Store {
    store(root).await.keeping_blobs(true).unwrap()
}

/// The blobs on disk, by the names of their files.
fn blobs(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(root.join("b")).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn by_name(contents: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    contents.into_iter().map(|content| (Digest::of(&content).hex(), content)).collect()
}

fn entries(path: PathBuf) -> usize {
    fs::read_dir(path).unwrap().count()
}

async fn save(store: &Store, images: &[&str], form: ArchiveForm) -> (Vec<u8>, Vec<Saved>) {
    let images: Vec<_> = images.iter().map(ToString::to_string).collect();
    let (sender, mut chunks) = mpsc::channel::<Bytes>(4);
    let collect = async {
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            archive.extend_from_slice(&chunk);
        }
        archive
    };
    let (saved, archive) = tokio::join!(store.save(&images, form, sender), collect);
    (archive, saved.unwrap())
}

/// Whether an image is in an archive under its own id.
async fn is_saved_as_it_came(store: &Store, image: &Image) -> bool {
    let (_, saved) = save(store, &[&image.id], ArchiveForm::Oci).await;
    saved[0].saved_id == image.id
}

/// What an archive of ours would never be: an entry's time is not what it is on disk.
fn layer(content: &[u8], packing: Packing) -> BuiltLayer {
    let archive = archive(&[("etc/name", content), ("etc/.wh.gone", b""), ("etc/name", content)]);
    BuiltLayer::new(&archive, packing)
}

#[tokio::test]
async fn an_image_is_kept_saved_and_loaded_as_it_came() {
    let (registry, root, other) = (Registry::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let built = Built::new(vec![layer(b"1", Packing::Gzip), layer(b"2", Packing::Zstd), layer(b"3", Packing::Plain)]);
    let elsewhere = Built::for_architecture("s390x", vec![layer(b"1", Packing::Gzip)]);
    let one = registry.push("kept", "one", &built, Form::Docker).await;
    registry.push("multi", "here", &built, Form::Docker).await;
    registry.push("multi", "elsewhere", &elsewhere, Form::Oci).await;
    let manifest = built.manifest(Form::Docker);
    let index = build::index(Form::Oci, &[("s390x", &elsewhere.manifest(Form::Oci)), (architecture(), &manifest)]);
    let all = registry.push_manifest("multi", "all", Form::Oci.index(), &index).await;
    let (by_manifest, by_index) = (registry.reference("kept:one"), registry.reference("multi:all"));

    let opened = keeping(root.path()).await;
    opened.pull(&by_manifest, None).await.unwrap();
    let image = opened.pull(&by_index, None).await.unwrap();
    assert_eq!(image.id, built.id());
    let layers = built.layers.iter().map(|layer| layer.blob.clone());
    let wanted = by_name(layers.chain([manifest.clone(), index.clone()]));
    assert!(blobs(root.path()) == wanted, "{:?}", blobs(root.path()).keys());
    assert_eq!(entries(root.path().join("t")), 0);
    let inspected = opened.inspect(&image.id).unwrap().unwrap();
    let of_layers: u64 = inspected.layers.iter().map(|(_, usage)| usage.inodes).sum();
    assert_eq!(opened.filesystem().1.inodes, of_layers + 5);

    // Each name has the digest it came by, also in a store that keeps nothing, and after a start.
    drop(opened);
    let opened = keeping(root.path()).await;
    let (oci, saved) = save(&opened, &[&by_manifest, &by_index], ArchiveForm::Oci).await;
    assert_eq!((saved.len(), &saved[0].saved_id, saved[0].names.len()), (1, &image.id, 2));
    let (docker, saved) = save(&opened, &[&by_manifest, &by_index], ArchiveForm::Docker).await;
    assert_eq!(saved[0].saved_id, image.id);
    let plain = store(other.path()).await;
    let loaded = plain.load(oci.as_slice()).await.unwrap();
    assert_eq!((loaded.len(), &loaded[0].id, loaded[0].size), (1, &image.id, image.size));
    assert_eq!((&loaded[0].repo_tags, &loaded[0].repo_digests), (&image.repo_tags, &image.repo_digests));
    let digests = [format!("{}@{one}", registry.reference("kept")), format!("{}@{all}", registry.reference("multi"))];
    assert_eq!(loaded[0].repo_digests, digests);
    assert_eq!(loaded[0].layers, image.layers);
    assert!(!other.path().join("b").exists());
    plain.remove(&image.id).await.unwrap();
    assert_eq!(plain.load(docker.as_slice()).await.unwrap()[0].id, image.id);
    plain.remove(&image.id).await.unwrap();
    // What is loaded is kept as well.
    let third = plain.keeping_blobs(true).unwrap();
    third.load(oci.as_slice()).await.unwrap();
    assert!(blobs(other.path()) == wanted);
    assert!(save(&third, &[&by_manifest, &by_index], ArchiveForm::Oci).await.0 == oci);

    // A pull that keeps nothing takes nothing away.
    let opened = opened.keeping_blobs(false).unwrap();
    opened.pull(&by_manifest, None).await.unwrap();
    assert!(is_saved_as_it_came(&opened, &image).await);
    let pruned = opened.prune(true, true).await.unwrap();
    assert_eq!(pruned.freed, opened.filesystem().1);
    opened.remove(&image.id).await.unwrap();
    assert_eq!((entries(root.path().join("b")), entries(root.path().join("l"))), (0, 0));
    assert_eq!(opened.filesystem().1.inodes, 0);
}

#[tokio::test]
async fn nothing_is_kept_unasked_or_in_vain() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let (base, own) = (layer(b"base", Packing::Gzip), layer(b"own", Packing::Gzip));
    let built = Built::new(vec![base.clone(), own.clone()]);
    registry.push("vain", "1", &built, Form::Oci).await;
    let reference = registry.reference("vain:1");
    let opened = store(root.path()).await;
    let image = opened.pull(&reference, None).await.unwrap();
    assert!(!is_saved_as_it_came(&opened, &image).await);
    drop(opened);
    assert!(!root.path().join("b").exists());
    let index = Database::open(root.path().join("index.redb")).unwrap();
    assert!(index.begin_read().unwrap().list_tables().unwrap().all(|table| table.name() != "blobs"));
    drop(index);
    // Another image stands on a layer that is here without its blob.
    let built = Built::new(vec![base.clone(), layer(b"more", Packing::Gzip)]);
    registry.push("vain", "2", &built, Form::Oci).await;
    let opened = keeping(root.path()).await;
    let second = opened.pull(&registry.reference("vain:2"), None).await.unwrap();
    assert_eq!(entries(root.path().join("b")), 0);
    assert!(!is_saved_as_it_came(&opened, &second).await);
    // So does the same one in another compression, while its first form stays.
    opened.remove(&image.id).await.unwrap();
    opened.remove(&second.id).await.unwrap();
    let image = opened.pull(&reference, None).await.unwrap();
    let wanted = blobs(root.path());
    assert_eq!(wanted.len(), 3);
    let again = |layer: &BuiltLayer| BuiltLayer { packing: Packing::Plain, ..layer.clone() };
    let mut other = Built::new(vec![again(&base), again(&own)]);
    for layer in &mut other.layers {
        layer.blob = zstd::encode_all(unpacked(&layer.blob).as_slice(), 1).unwrap();
        layer.packing = Packing::Zstd;
    }
    registry.push("other", "1", &other, Form::Oci).await;
    let same = opened.pull(&registry.reference("other:1"), None).await.unwrap();
    assert_eq!(same.id, image.id);
    assert!(blobs(root.path()) == wanted);
    assert!(is_saved_as_it_came(&opened, &same).await);
}

#[tokio::test]
async fn of_what_an_image_comes_as_the_latest_eight_are_kept() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let built = Built::new(vec![layer(b"base", Packing::Gzip)]);
    registry.push("many", "0", &built, Form::Oci).await;
    let manifest = built.manifest(Form::Oci);
    let mut index: Value = serde_json::from_slice(&build::index(Form::Oci, &[(architecture(), &manifest)])).unwrap();
    let opened = keeping(root.path()).await;
    let mut indexes = Vec::new();
    for number in 0..10 {
        index["annotations"] = serde_json::json!({"number": number.to_string()});
        indexes.push(index.to_string().into_bytes());
        registry.push_manifest("many", "index", Form::Oci.index(), &indexes[number]).await;
        opened.pull(&registry.reference("many:index"), None).await.unwrap();
    }
    // One that is there already is the latest again, and only once.
    registry.push_manifest("many", "index", Form::Oci.index(), &indexes[3]).await;
    opened.pull(&registry.reference("many:index"), None).await.unwrap();
    let latest = |first: usize| {
        let indexes = indexes[first..].iter().chain([&indexes[3]]).cloned();
        by_name(indexes.chain([manifest.clone(), built.layers[0].blob.clone()]))
    };
    assert!(blobs(root.path()) == latest(2));
    registry.push_manifest("many", "index", Form::Oci.index(), &indexes[0]).await;
    let image = opened.pull(&registry.reference("many:index"), None).await.unwrap();
    assert!(blobs(root.path()) == by_name(latest(4).into_values().chain([indexes[0].clone()])));
    assert!(is_saved_as_it_came(&opened, &image).await);
}

#[tokio::test]
async fn nothing_is_kept_if_somebody_who_keeps_nothing_gets_the_layer_first() {
    let root = tempfile::tempdir().unwrap();
    let built = Built::new(vec![layer(b"base", Packing::Gzip)]);
    let (go_on, held) = watch::channel(false);
    let (blob, slow) = (built.layers[0].blob.clone(), format!("/blobs/{}", Digest::of(&built.layers[0].blob)));
    let slowly = move |seen: &Seen| Answer::of(&blob, seen).hang(10, held.clone());
    let liar = Liar::of(&built, move |seen| seen.path.contains(&slow).then(|| slowly(seen))).await;
    let reference = format!("{}/slow:1", liar.address);

    let opened = store(root.path()).await;
    let first = tokio::spawn(opened.pull(&reference, None));
    while liar.count("/blobs/") < 2 {
        assert!(!first.is_finished());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let opened = opened.keeping_blobs(true).unwrap();
    let progress = Progress::default();
    let second = tokio::spawn(opened.pull_watched(&reference, None, progress.clone()));
    // It has decided to keep the image, and waits for the layer.
    while progress.layers().is_empty() {
        assert!(!second.is_finished());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    go_on.send(true).unwrap();
    first.await.unwrap().unwrap();
    let image = second.await.unwrap().unwrap();
    assert_eq!(blobs(root.path()).len(), 0);
    opened.usable(&image).unwrap();
    assert!(!is_saved_as_it_came(&opened, &image).await);
}

fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzip), &mut archive).unwrap();
    archive
}

#[tokio::test]
async fn a_blob_is_there_whole_or_not_at_all() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let built = Built::new(vec![layer(b"base", Packing::Gzip), layer(b"own", Packing::Zstd)]);
    registry.push("whole", "1", &built, Form::Oci).await;
    let reference = registry.reference("whole:1");
    // All of the blob arrives before it is known that it unpacks to something else.
    let mut liar = built.clone();
    liar.config =
        String::from_utf8(liar.config).unwrap().replace(&liar.layers[1].diff_id.hex(), &"0".repeat(64)).into();
    registry.push("whole", "liar", &liar, Form::Oci).await;
    let opened = keeping(root.path()).await;
    opened.pull(&registry.reference("whole:liar"), None).await.unwrap_err();
    assert_eq!(["b", "l"].map(|directory| entries(root.path().join(directory))), [0, 0]);
    let image = opened.pull(&reference, None).await.unwrap();
    let wanted = blobs(root.path());
    assert_eq!(wanted.len(), 3);
    drop(opened);
    // What a crash may leave: half written, renamed and not recorded; and what nobody put there.
    fs::write(root.path().join("t/w7"), b"half").unwrap();
    fs::write(root.path().join("b").join("0".repeat(64)), b"unrecorded").unwrap();
    fs::write(root.path().join("b/other"), b"other").unwrap();
    fs::create_dir(root.path().join("b/directory")).unwrap();
    let opened = keeping(root.path()).await;
    assert!(blobs(root.path()) == wanted);
    assert_eq!(entries(root.path().join("t")), 0);
    assert!(is_saved_as_it_came(&opened, &image).await);
    drop(opened);
    // What a disk may lose: the image stays usable, and is packed again.
    let lost = root.path().join("b").join(Digest::of(&built.layers[0].blob).hex());
    fs::File::options().write(true).open(&lost).unwrap().set_len(5).unwrap();
    let opened = keeping(root.path()).await;
    opened.usable(&image).unwrap();
    assert!(!lost.exists());
    assert!(!is_saved_as_it_came(&opened, &image).await);
    // A pull does not bring it back, as the layer is there; a new image with it does.
    opened.pull(&reference, None).await.unwrap();
    assert!(!lost.exists());
    opened.remove(&image.id).await.unwrap();
    assert_eq!(entries(root.path().join("b")), 0);
    opened.pull(&reference, None).await.unwrap();
    assert!(blobs(root.path()) == wanted);
    assert!(is_saved_as_it_came(&opened, &image).await);
}

/// What a check finds of blobs, by their names.
async fn check(store: &Store, repair: bool) -> Vec<(String, Verdict)> {
    let (sender, mut events) = mpsc::channel(16);
    let options = CheckOptions { images: Vec::new(), repair };
    let collect = async {
        let mut found = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                CheckEvent::Blob { blob, verdict, .. } => found.push((blob.hex(), verdict)),
                CheckEvent::Layer { verdict, .. } | CheckEvent::Image { verdict, .. } => {
                    assert_eq!(verdict, Verdict::Good)
                }
                CheckEvent::Progress { .. } => {}
            }
        }
        found
    };
    let (checked, found) = tokio::join!(store.check(options, sender), collect);
    checked.unwrap();
    found
}

fn bad(found: &[(String, Verdict)]) -> Vec<&str> {
    found.iter().filter(|(_, verdict)| *verdict != Verdict::Good).map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_damaged_blob_is_found_dropped_not_saved_and_pulled_anew() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let built = Built::new(vec![layer(b"base", Packing::Gzip), layer(b"own", Packing::Zstd)]);
    registry.push("damaged", "1", &built, Form::Oci).await;
    let opened = keeping(root.path()).await;
    let image = opened.pull(&registry.reference("damaged:1"), None).await.unwrap();
    let wanted = blobs(root.path());
    assert_eq!(check(&opened, false).await.len(), 3);
    for (name, whole) in &wanted {
        let path = root.path().join("b").join(name);
        let mut content = whole.clone();
        content[9] ^= 1;
        fs::write(&path, &content).unwrap();
        let (archive, saved) = save(&opened, &[&image.id], ArchiveForm::Oci).await;
        assert_ne!(saved[0].saved_id, image.id);
        assert!(!archive.windows(content.len()).any(|window| window == content));
        let (_, saved) = save(&opened, &[&image.id], ArchiveForm::Docker).await;
        assert_eq!(saved[0].saved_id == image.id, *whole == built.manifest(Form::Oci), "{saved:?}");
        let found = check(&opened, false).await;
        assert_eq!(bad(&found), [name.as_str()]);
        assert!(!path.exists());
        opened.usable(&image).unwrap();
        // It is dropped: no check finds it again, unless it is to be repaired.
        assert_eq!(bad(&check(&opened, false).await), [""; 0]);
        let found = check(&opened, true).await;
        assert_eq!(bad(&found), [name; 2]);
        assert_eq!(found.iter().filter(|(_, verdict)| *verdict == Verdict::Repaired).count(), 1);
        assert!(blobs(root.path()) == wanted);
        assert!(is_saved_as_it_came(&opened, &image).await);
    }
    // Several at once, and a registry that is gone.
    wanted.keys().for_each(|name| fs::write(root.path().join("b").join(name), b"damaged").unwrap());
    assert_eq!(bad(&check(&opened, true).await).len(), 6);
    assert!(blobs(root.path()) == wanted && is_saved_as_it_came(&opened, &image).await);
    drop(registry);
    let damaged = root.path().join("b").join(Digest::of(&built.layers[0].blob).hex());
    fs::write(&damaged, b"damaged").unwrap();
    let found = check(&opened, true).await;
    assert!(found.iter().any(|(_, verdict)| matches!(verdict, Verdict::NotRepaired { .. })), "{found:?}");
    opened.usable(&image).unwrap();
    assert_eq!(entries(root.path().join("l")), 4);
}

#[tokio::test]
async fn a_pull_holds_its_blobs_and_an_earlier_release_lets_go_of_them() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let other = Built::simple("f", b"other");
    registry.push("other", "1", &other, Form::Oci).await;
    let built = Built::new(vec![layer(b"base", Packing::Gzip), layer(b"own", Packing::Zstd)]);
    let (go_on, held) = watch::channel(false);
    let slow = format!("/blobs/{}", Digest::of(&built.layers[1].blob));
    let blob = built.layers[1].blob.clone();
    let slowly = move |seen: &Seen| Answer::of(&blob, seen).hang(10, held.clone());
    let liar = Liar::of(&built, move |seen| seen.path.contains(&slow).then(|| slowly(seen))).await;

    let opened = keeping(root.path()).await;
    opened.pull(&registry.reference("other:1"), None).await.unwrap();
    let pull = tokio::spawn(opened.pull(&format!("{}/slow:1", liar.address), None));
    let first = root.path().join("b").join(Digest::of(&built.layers[0].blob).hex());
    while !first.exists() {
        assert!(!pull.is_finished());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    opened.remove(&other.id()).await.unwrap();
    go_on.send(true).unwrap();
    let image = pull.await.unwrap().unwrap();
    assert_eq!(blobs(root.path()).len(), 3);
    assert!(is_saved_as_it_came(&opened, &image).await);
    drop(opened);

    // It knows of no blobs, and writes the image's record without them.
    let database = Database::open(root.path().join("index.redb")).unwrap();
    let table = TableDefinition::<&str, &[u8]>::new("images");
    let transaction = database.begin_write().unwrap();
    let mut images = transaction.open_table(table).unwrap();
    let mut record: Value = serde_json::from_slice(images.get(image.id.as_str()).unwrap().unwrap().value()).unwrap();
    assert!(record.as_object_mut().unwrap().remove("originals").is_some());
    images.insert(image.id.as_str(), record.to_string().as_bytes()).unwrap();
    drop(images);
    transaction.commit().unwrap();
    drop(database);
    let opened = keeping(root.path()).await;
    opened.usable(&image).unwrap();
    assert_eq!(entries(root.path().join("b")), 0);
    assert!(!is_saved_as_it_came(&opened, &image).await);
}

#[tokio::test]
async fn a_blob_that_cannot_be_read_now_is_told_of_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let built = Built::new(vec![layer(b"base", Packing::Gzip)]);
    let opened = keeping(root.path()).await;
    let image = opened.load(build::layout(&built, "example.test/now:1").as_slice()).await.unwrap().remove(0);
    let (before, damaged) = (blobs(root.path()), Digest::of(&built.manifest(Form::Oci)).hex());
    let (path, aside) =
        (root.path().join("b").join(Digest::of(&built.layers[0].blob).hex()), root.path().join("aside"));
    // The kernel's answer to opening it is neither that it is not there nor that it cannot be read.
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    fs::write(root.path().join("b").join(&damaged), b"damaged").unwrap();
    let (sender, mut events) = mpsc::channel(16);
    let error = opened.check(CheckOptions::default(), sender).await.unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        if let CheckEvent::Blob { blob, verdict, .. } = event {
            told.push((blob.hex(), verdict));
        }
    }
    assert_eq!((told.len(), bad(&told)), (1, vec![damaged.as_str()]));
    fs::rename(&aside, &path).unwrap();
    assert_eq!(bad(&check(&opened, false).await), [""; 0]);
    assert_eq!(blobs(root.path()).len(), before.len() - 1);
    opened.usable(&image).unwrap();
}

/// A file that nobody can change, rename or delete.
struct Frozen(PathBuf);

impl Frozen {
    fn new(path: PathBuf) -> rustix::io::Result<Self> {
        fs::write(&path, b"short").unwrap();
        let file = fs::File::open(&path).unwrap();
        rustix::fs::ioctl_setflags(&file, rustix::fs::ioctl_getflags(&file)? | IFlags::IMMUTABLE)?;
        Ok(Self(path))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let file = fs::File::open(&self.0).unwrap();
        rustix::fs::ioctl_setflags(&file, rustix::fs::ioctl_getflags(&file).unwrap() - IFlags::IMMUTABLE).unwrap();
    }
}

#[tokio::test]
async fn a_file_that_the_disk_does_not_give_away_is_in_nobodys_way() {
    let root = tempfile::tempdir().unwrap();
    let built = Built::new(vec![layer(b"base", Packing::Gzip)]);
    let archive = build::layout(&built, "example.test/frozen:1");
    let opened = keeping(root.path()).await;
    let image = opened.load(archive.as_slice()).await.unwrap().remove(0);
    let whole = blobs(root.path()).len();
    drop(opened);
    let (short, other) = (Digest::of(&built.layers[0].blob).hex(), "other".to_owned());
    let frozen = [short, other].map(|name| Frozen::new(root.path().join("b").join(name)));
    if frozen.iter().any(Result::is_err) {
        // Not `eprintln!`, which the test harness keeps to itself.
        let _ =
            writeln!(std::io::stderr(), "corten: SKIPPED a_file_that_the_disk_does_not_give_away_is_in_nobodys_way");
        return;
    }
    let opened = keeping(root.path()).await;
    opened.usable(&image).unwrap();
    assert!(!is_saved_as_it_came(&opened, &image).await);
    assert_eq!(blobs(root.path()).len(), whole + 1);
    drop(opened);
    drop(frozen);
    let opened = keeping(root.path()).await;
    assert_eq!(blobs(root.path()).len(), whole - 1);
    opened.remove(&image.id).await.unwrap();
    opened.load(archive.as_slice()).await.unwrap();
    assert_eq!(blobs(root.path()).len(), whole);
}
