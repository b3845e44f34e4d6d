//! Images that are removed while they are saved.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use corten_images::Form;
use support::{
    build::{Built, BuiltLayer, Packing, archive, layout},
    store,
};
use tokio::sync::mpsc;

#[tokio::test]
async fn what_is_removed_while_it_is_saved_is_saved_whole_and_then_deleted() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let content: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1]).collect();
    let built = Built::new(vec![BuiltLayer::new(&archive(&[("file", &content)]), Packing::Plain)]);
    let image = store.load(layout(&built, "held.test/image:1").as_slice()).await.unwrap().remove(0);
    let layers = || fs::read_dir(root.path().join("l")).unwrap().count();

    let (sender, mut chunks) = mpsc::channel::<Bytes>(1);
    let images = [image.id.clone()];
    let receive = async {
        let mut length = chunks.recv().await.unwrap().len();
        store.remove(&image.id).await.unwrap();
        assert!(store.list().is_empty() && layers() > 0);
        while let Some(chunk) = chunks.recv().await {
            length += chunk.len();
        }
        length
    };
    let (saved, length) = tokio::join!(store.save(&images, Form::Oci, sender), receive);
    assert_eq!(saved.unwrap().len(), 1);
    assert!(length > content.len());
    let patience = Instant::now() + Duration::from_secs(60);
    while layers() > 0 {
        assert!(Instant::now() < patience, "the layer is not deleted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
