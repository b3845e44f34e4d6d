//! What is removed while it is saved or checked, and what nobody has yet.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use corten_images::{CheckOptions, Digest, Form};
use support::{
    build::{Built, BuiltLayer, Packing, archive, layout},
    liar::{Answer, Liar, Seen},
    store,
};
use tokio::sync::mpsc;

#[tokio::test]
async fn what_is_removed_while_it_is_saved_is_saved_whole_and_then_deleted() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await.keeping_blobs(true).unwrap();
    let content: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let built = Built::new(vec![BuiltLayer::new(&archive(&[("file", &content)]), Packing::Plain)]);
    let image = store.load(layout(&built, "held.test/image:1").as_slice()).await.unwrap().remove(0);
    let entries = |directory: &str| fs::read_dir(root.path().join(directory)).unwrap().count();

    let (sender, mut chunks) = mpsc::channel::<Bytes>(1);
    let images = [image.id.clone()];
    let receive = async {
        let mut length = chunks.recv().await.unwrap().len();
        store.remove(&image.id).await.unwrap();
        assert!(store.list().is_empty() && entries("l") > 0 && entries("b") > 0);
        while let Some(chunk) = chunks.recv().await {
            length += chunk.len();
        }
        length
    };
    let (saved, length) = tokio::join!(store.save(&images, Form::Oci, sender), receive);
    assert_eq!(saved.unwrap().len(), 1);
    assert!(length > content.len());
    let patience = Instant::now() + Duration::from_secs(60);
    while entries("l") + entries("b") > 0 {
        assert!(Instant::now() < patience, "layer and blobs are not deleted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_pull_has_left_outlives_a_check() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let layer = |content: &[u8]| BuiltLayer::new(&archive(&[("file", content)]), Packing::Gzip);
    let built = Built::new(vec![layer(b"first"), layer(b"second")]);
    let [first, second] = [0, 1].map(|number| Digest::of(&built.layers[number].blob).to_string());
    let place = root.path().join("l/0");
    let goes_away = move |seen: &Seen| {
        if !seen.path.contains(&second) {
            return None;
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while !place.exists() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Answer::status(503))
    };
    let server = Liar::of(&built, goes_away).await;
    store.pull(&format!("{}/left:1", server.address), None).await.unwrap_err();
    assert_eq!(server.count(&first), 1);

    let (sender, mut events) = mpsc::channel(16);
    let receive = async { while events.recv().await.is_some() {} };
    let (checked, ()) = tokio::join!(store.check(CheckOptions::default(), sender), receive);
    checked.unwrap();
    store.pull(&format!("{}/left:1", server.address), None).await.unwrap_err();
    assert_eq!(server.count(&first), 1, "it is fetched again");
}
