//! Layers verified against what was recorded when they were unpacked, known broken, and pulled anew. Needs root and
//! docker-registry.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use corten_images::{CheckEvent, CheckOptions, Fault, Image, Store, Verdict};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use support::{
    Registry,
    build::{Built, BuiltLayer, Form, Packing, archive},
    store,
};
use tokio::sync::mpsc;

/// What a check finds, layer by layer.
async fn check(store: &Store, images: &[&str], repair: bool) -> Vec<(String, Verdict)> {
    let (sender, mut events) = mpsc::channel(16);
    let options = CheckOptions { images: images.iter().map(ToString::to_string).collect(), repair };
    let collect = async {
        let mut found = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                CheckEvent::Layer { layer, verdict, .. } => found.push((layer.to_string(), verdict)),
                CheckEvent::Image { image, verdict } => found.push((image, verdict)),
                CheckEvent::Blob { .. } | CheckEvent::Progress { .. } => {}
            }
        }
        found
    };
    let (checked, found) = tokio::join!(store.check(options, sender), collect);
    checked.unwrap();
    found
}

fn verdicts(found: &[(String, Verdict)]) -> Vec<&Verdict> {
    found.iter().map(|(_, verdict)| verdict).collect()
}

/// Where the layers are that an image's containers show, topmost first.
async fn lower(store: &Store, container: &str, image: &Image) -> Vec<PathBuf> {
    let lower = store.prepare_snapshot(container, image, None, &[]).await.unwrap().lower;
    store.remove_snapshot(container).await.unwrap();
    lower
}

fn image(content: &[u8]) -> Built {
    let layer =
        |content: &[u8]| BuiltLayer::new(&archive(&[("etc/name", content), ("etc/other", b"x")]), Packing::Gzip);
    Built::new(vec![layer(b"base"), layer(content)])
}

/// Changes a byte of a file and nothing else.
fn damage(layer: &Path) {
    let path = layer.join("etc/name");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    fs::write(&path, content).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

#[tokio::test]
async fn a_broken_layer_is_found_refused_remembered_and_pulled_anew() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let (one, two) = (image(b"one"), image(b"two"));
    registry.push("check", "1", &one, Form::Oci).await;
    registry.push("check", "2", &two, Form::Oci).await;
    let (first, second) = (registry.reference("check:1"), registry.reference("check:2"));
    let opened = store(root.path()).await;
    let one = opened.pull(&first, None).await.unwrap();
    let two = opened.pull(&second, None).await.unwrap();
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 3]);
    // A container of each, of which one was made before.
    let before = opened.prepare_snapshot("before", &one, None, &[]).await.unwrap();
    damage(&before.lower[0]);
    // Of the other image nothing is broken.
    assert_eq!(verdicts(&check(&opened, &[&second], false).await), [&Verdict::Good; 2]);
    let found = check(&opened, &[&first], false).await;
    let broken: Vec<_> = found.iter().filter(|(_, verdict)| *verdict != Verdict::Good).collect();
    let [(layer, Verdict::Broken(findings))] = broken.as_slice() else { panic!("{found:?}") };
    assert_eq!((findings.count, findings.first[0].path.as_str()), (1, "etc/name"));
    let refused = |store: &Store, image: &Image| {
        let error = store.usable(image).unwrap_err();
        assert_eq!(error.fault(), Fault::Precondition);
        assert!(error.to_string().contains(layer) && error.to_string().contains("corten check --repair"), "{error}");
    };
    refused(&opened, &one);
    assert_eq!(opened.prepare_snapshot("c", &one, None, &[]).await.unwrap_err().fault(), Fault::Precondition);
    assert_eq!(
        opened.prepare_snapshot("c", &two, None, std::slice::from_ref(&one)).await.unwrap_err().fault(),
        Fault::Precondition
    );
    assert_eq!(opened.snapshot_usable("before").unwrap_err().fault(), Fault::Precondition);
    opened.usable(&two).unwrap();
    drop(opened);
    let opened = store(root.path()).await;
    refused(&opened, &one);
    // The directory stays as long as a container may show it.
    let last = check(&opened, &[], true).await;
    assert_eq!(last.iter().filter(|(_, verdict)| *verdict == Verdict::Repaired).count(), 1, "{last:?}");
    opened.usable(&one).unwrap();
    opened.snapshot_usable("before").unwrap();
    let after = opened.snapshot("before").unwrap();
    assert!(after.lower[0] != before.lower[0] && after.lower[1] == before.lower[1]);
    assert_eq!(fs::read(after.lower[0].join("etc/name")).unwrap(), b"one");
    assert!(before.lower[0].exists());
    drop(opened);
    let opened = store(root.path()).await;
    assert!(before.lower[0].exists());
    opened.remove_snapshot("before").await.unwrap();
    assert!(!before.lower[0].exists());
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 3]);
    // A directory and a record for each of three layers.
    assert_eq!(fs::read_dir(root.path().join("l")).unwrap().count(), 6);
    opened.remove(&first).await.unwrap();
    opened.remove(&second).await.unwrap();
    assert_eq!(fs::read_dir(root.path().join("l")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_pull_mends_what_is_known_to_be_broken() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push("check", "1", &image(b"one"), Form::Oci).await;
    let reference = registry.reference("check:1");
    let opened = store(root.path()).await;
    let pulled = opened.pull(&reference, None).await.unwrap();
    let before = lower(&opened, "c", &pulled).await;
    damage(&before[1]);
    // Nobody knows yet.
    opened.pull(&reference, None).await.unwrap();
    assert_eq!(lower(&opened, "c", &pulled).await, before);
    let found = check(&opened, &[], false).await;
    assert!(verdicts(&found).iter().any(|verdict| matches!(verdict, Verdict::Broken(_))), "{found:?}");
    opened.pull(&reference, None).await.unwrap();
    let after = lower(&opened, "c", &pulled).await;
    assert!(after[0] == before[0] && after[1] != before[1] && !before[1].exists());
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 2]);
    // Without a registry nothing is mended, and what was there is kept.
    damage(&after[1]);
    drop(registry);
    let found = check(&opened, &[], true).await;
    let failed =
        |verdict: &&Verdict| matches!(verdict, Verdict::NotRepaired { why } if why.contains("RegistryUnavailable"));
    assert_eq!(verdicts(&found).into_iter().filter(failed).count(), 1, "{found:?}");
    assert!(opened.usable(&pulled).is_err() && after[1].exists());
    // Whoever put it right without us is believed.
    damage(&after[1]);
    check(&opened, &[], false).await;
    opened.usable(&pulled).unwrap();
}

#[tokio::test]
async fn what_a_crash_broke_is_known_when_the_store_opens() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push("check", "1", &image(b"one"), Form::Oci).await;
    let reference = registry.reference("check:1");
    let files = |layer: &Path| PathBuf::from(format!("{}.files", layer.display()));
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 3] = [
        ("record of its files is missing", &|layer| fs::remove_file(files(layer)).unwrap()),
        ("not what was written", &|layer| fs::write(files(layer), [0; 4096]).unwrap()),
        ("its directory is missing", &|layer| fs::remove_dir_all(layer).unwrap()),
    ];
    for (why, damage) in damages {
        let opened = store(root.path()).await;
        let pulled = opened.pull(&reference, None).await.unwrap();
        damage(&lower(&opened, "c", &pulled).await[0]);
        drop(opened);
        // What was never in the index, and is of no use.
        fs::write(root.path().join("l/99.files"), "").unwrap();
        let opened = store(root.path()).await;
        assert!(!root.path().join("l/99.files").exists());
        let refused = opened.usable(&opened.resolve(&reference).unwrap().unwrap()).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
        let found = check(&opened, &[&reference], true).await;
        assert!(verdicts(&found).contains(&&Verdict::Repaired), "{found:?}");
        assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 2]);
    }
}

/// Changes every record of a table of the index as an earlier release or a broken disk would have it.
fn rewrite(root: &Path, table: &str, change: impl Fn(&mut serde_json::Value)) {
    let table = TableDefinition::<&str, &[u8]>::new(table);
    let database = Database::create(root.join("index.redb")).unwrap();
    let rows: Vec<(String, Vec<u8>)> = {
        let transaction = database.begin_read().unwrap();
        let rows = transaction.open_table(table).unwrap();
        rows.iter()
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(key, value)| (key.value().into(), value.value().into()))
            .collect()
    };
    let transaction = database.begin_write().unwrap();
    for (key, value) in rows {
        let mut value = serde_json::from_slice(&value).unwrap();
        change(&mut value);
        let bytes = serde_json::to_vec(&value).unwrap();
        transaction.open_table(table).unwrap().insert(key.as_str(), bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn layers_of_an_earlier_release_work_and_are_recorded_by_a_repair() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.push("check", "1", &image(b"one"), Form::Oci).await;
    let reference = registry.reference("check:1");
    let opened = store(root.path()).await;
    opened.pull(&reference, None).await.unwrap();
    drop(opened);
    rewrite(root.path(), "layers", |layer| drop(layer.as_object_mut().unwrap().remove("files")));
    let opened = store(root.path()).await;
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::NotRecorded; 2]);
    let image = opened.resolve(&reference).unwrap().unwrap();
    let before = lower(&opened, "c", &image).await;
    let found = check(&opened, &[], true).await;
    assert_eq!(verdicts(&found).into_iter().filter(|verdict| **verdict == Verdict::Repaired).count(), 2, "{found:?}");
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 2]);
    assert!(before.iter().all(|layer| !layer.exists()));
    drop(opened);
    // A configuration that is another one.
    rewrite(root.path(), "images", |image| {
        let config = image["config"].as_str().unwrap().replace("rootfs", "rootfs ").replace("rootfs \"", "rootfs\" ");
        image["config"] = config.into();
    });
    let opened = store(root.path()).await;
    let found = check(&opened, &[], true).await;
    assert!(verdicts(&found).contains(&&Verdict::Repaired), "{found:?}");
    assert_eq!(verdicts(&check(&opened, &[], false).await), [&Verdict::Good; 2]);
}

#[tokio::test]
async fn an_image_that_is_not_there_cannot_be_checked() {
    let root = tempfile::tempdir().unwrap();
    let opened = store(root.path()).await;
    let (sender, _events) = mpsc::channel(1);
    let options = CheckOptions { images: vec!["nothing.example/none:1".to_owned()], repair: false };
    assert_eq!(opened.check(options, sender).await.unwrap_err().fault(), Fault::NotFound);
}
