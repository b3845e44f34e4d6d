//! Pulling from Debian's docker-registry: forms, compressions, names, mirrors and credentials. Needs root (layers have
//! whiteouts and owners) and docker-registry.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use corten_images::{Config, Fault, Store};
use support::{
    Registry,
    build::{self, Built, BuiltLayer, Form, Packing, architecture, archive},
    store,
};

async fn read(store: &Store, reference: &str, path: &str) -> Option<Vec<u8>> {
    let image = store.resolve(reference).unwrap().unwrap();
    store.read_file(&image, path, 1 << 20).await.unwrap()
}

#[tokio::test]
async fn every_form_and_compression_is_pulled() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    for (tag, form, packing) in [
        ("oci-plain", Form::Oci, Packing::Plain),
        ("oci-gzip", Form::Oci, Packing::Gzip),
        ("oci-zstd", Form::Oci, Packing::Zstd),
        ("docker-gzip", Form::Docker, Packing::Gzip),
    ] {
        let lower = archive(&[("etc/name", tag.as_bytes()), ("etc/gone", b"x")]);
        let upper = archive(&[("etc/.wh.gone", b""), ("top", b"1")]);
        let image = Built::new(vec![BuiltLayer::new(&lower, packing), BuiltLayer::new(&upper, packing)]);
        let digest = registry.push("forms", tag, &image, form).await;
        let reference = registry.reference(&format!("forms:{tag}"));
        let pulled = store.pull(&reference, None).await.unwrap();
        assert_eq!(pulled.id, image.id());
        assert_eq!(pulled.repo_tags, std::slice::from_ref(&reference));
        assert_eq!(pulled.repo_digests, [format!("{}@{digest}", registry.reference("forms"))]);
        let blobs: usize = image.blobs().iter().map(Vec::len).sum();
        assert_eq!(pulled.size as usize, blobs + image.manifest(form).len());
        assert_eq!(read(&store, &reference, "/etc/name").await.unwrap(), tag.as_bytes());
        assert_eq!(read(&store, &reference, "/etc/gone").await, None);
        assert_eq!(read(&store, &reference, "/top").await.unwrap(), b"1");
    }
    assert_eq!(store.list().len(), 4);
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    for form in [Form::Oci, Form::Docker] {
        let layer = BuiltLayer::new(&archive(&[("here", b"yes")]), Packing::Gzip);
        let (here, other) = (Built::new(vec![layer.clone()]), Built::for_architecture("s390x", vec![layer]));
        let manifests = [("s390x", other.manifest(form)), (architecture(), here.manifest(form))];
        registry.push("multi", "other", &other, form).await;
        registry.push("multi", "here", &here, form).await;
        let index = build::index(form, &manifests.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
        let digest = registry.push_manifest("multi", "all", form.index(), &index).await;
        let pulled = store.pull(&registry.reference("multi:all"), None).await.unwrap();
        assert_eq!(pulled.id, here.id());
        // The digest that clients know is the index's.
        let by_digest = format!("{}@{digest}", registry.reference("multi"));
        assert!(pulled.repo_digests.contains(&by_digest), "{:?}", pulled.repo_digests);
        assert_eq!(store.pull(&by_digest, None).await.unwrap().id, here.id());
        let error = store.pull(&registry.reference("multi:other"), None).await.unwrap_err();
        assert!(error.to_string().contains("linux/s390x"), "{error}");
        assert_eq!(error.fault(), Fault::Outside);
    }
}

#[tokio::test]
async fn a_moved_tag_leaves_its_old_image() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let (old, new) = (Built::simple("f", b"old"), Built::simple("f", b"new"));
    let reference = registry.reference("moving:tag");
    registry.push("moving", "tag", &old, Form::Oci).await;
    store.pull(&reference, None).await.unwrap();
    registry.push("moving", "tag", &new, Form::Oci).await;
    store.pull(&reference, None).await.unwrap();
    assert_eq!(store.resolve(&reference).unwrap().unwrap().id, new.id());
    let old = store.resolve(&old.id()).unwrap().unwrap();
    assert!(old.repo_tags.is_empty());
    assert_eq!(old.repo_digests.len(), 1);
}

#[tokio::test]
async fn images_are_found_by_every_name_and_removed_whole() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let image = Built::simple("f", b"content");
    for tag in ["one", "two"] {
        registry.push("names", tag, &image, Form::Oci).await;
        store.pull(&registry.reference(&format!("names:{tag}")), None).await.unwrap();
    }
    let id = image.id();
    let hex = id.strip_prefix("sha256:").unwrap();
    let digest = store.list()[0].repo_digests[0].clone();
    for name in [id.as_str(), hex, &hex[..12], &digest, &registry.reference("names:two")] {
        assert_eq!(store.resolve(name).unwrap().unwrap().id, id, "{name}");
    }
    assert!(store.resolve("unknown/image:tag").unwrap().is_none());
    assert_eq!(store.resolve("NOT A REFERENCE").unwrap_err().fault(), Fault::Caller);
    store.remove(&registry.reference("names:one")).await.unwrap();
    store.remove(&registry.reference("names:one")).await.unwrap();
    assert!(store.list().is_empty());
    assert_eq!(store.filesystem().1.inodes, 0);
    assert_eq!(std::fs::read_dir(root.path().join("l")).unwrap().count(), 0);
}

#[tokio::test]
async fn layers_stay_while_a_snapshot_or_another_image_needs_them() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let shared = BuiltLayer::new(&archive(&[("base", b"b")]), Packing::Gzip);
    let own = |content: &[u8]| BuiltLayer::new(&archive(&[("own", content)]), Packing::Zstd);
    let (a, b) = (Built::new(vec![shared.clone(), own(b"a")]), Built::new(vec![shared, own(b"b")]));
    registry.push("a", "1", &a, Form::Oci).await;
    registry.push("b", "1", &b, Form::Oci).await;
    let image = store.pull(&registry.reference("a:1"), None).await.unwrap();
    store.pull(&registry.reference("b:1"), None).await.unwrap();
    // Each is a directory and the record of its files.
    let layers = || std::fs::read_dir(root.path().join("l")).unwrap().count() / 2;
    assert_eq!(layers(), 3);
    let snapshot = store.prepare_snapshot("container", &image, None, &[]).await.unwrap();
    assert_eq!(snapshot.lower.len(), 2);
    assert_eq!(std::fs::read(snapshot.lower[0].join("own")).unwrap(), b"a");
    store.remove(&a.id()).await.unwrap();
    assert_eq!(layers(), 3);
    drop(store);
    // Also after a restart.
    let store = support::store(root.path()).await;
    assert_eq!(store.snapshots(), ["container"]);
    assert_eq!(store.snapshot("container").unwrap(), snapshot);
    store.remove(&b.id()).await.unwrap();
    assert_eq!(layers(), 2);
    store.remove_snapshot("container").await.unwrap();
    store.remove_snapshot("container").await.unwrap();
    assert_eq!(layers(), 0);
    assert!(!snapshot.upper.exists());
    let error = store.prepare_snapshot("late", &image, None, &[]).await.unwrap_err();
    assert_eq!(error.fault(), Fault::NotFound);
    assert!(store.snapshots().is_empty());
}

#[tokio::test]
async fn a_restart_keeps_images_and_removes_what_is_half_done() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let image = Built::simple("f", b"kept");
    registry.push("kept", "1", &image, Form::Oci).await;
    let reference = registry.reference("kept:1");
    {
        let store = store(root.path()).await;
        store.pull(&reference, None).await.unwrap();
    }
    // A layer that was renamed but not recorded, and one half unpacked, deeper than descriptors or stacks go.
    std::fs::create_dir_all(root.path().join("l/77/etc")).unwrap();
    let mut deep = root.path().join("l/w5");
    for _ in 0..1200 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("l/w5/link")).unwrap();
    std::fs::create_dir(root.path().join("t/w5")).unwrap();
    let store = store(root.path()).await;
    assert_eq!(store.resolve(&reference).unwrap().unwrap().id, image.id());
    assert_eq!(read(&store, &reference, "f").await.unwrap(), b"kept");
    assert!(!root.path().join("l/77").exists() && !root.path().join("l/w5").exists());
    assert_eq!(std::fs::read_dir(root.path().join("t")).unwrap().count(), 0);
    assert!(std::path::Path::new("/etc/passwd").exists());
    drop(store);
    // An image whose layer lost its directory is known not to be whole, until it is pulled again.
    for layer in std::fs::read_dir(root.path().join("l")).unwrap().map(|entry| entry.unwrap().path()) {
        if layer.is_dir() {
            std::fs::remove_dir_all(layer).unwrap();
        }
    }
    let store = support::store(root.path()).await;
    let broken = store.resolve(&reference).unwrap().unwrap();
    let refused = store.usable(&broken).unwrap_err();
    assert!(refused.to_string().contains("its directory is missing"), "{refused}");
    store.usable(&store.pull(&reference, None).await.unwrap()).unwrap();
    assert_eq!(read(&store, &reference, "f").await.unwrap(), b"kept");
}

#[tokio::test]
async fn a_mirror_serves_by_hosts_toml() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let image = Built::simple("f", b"mirrored");
    registry.push("library/app", "1", &image, Form::Oci).await;
    let certs = root.path().join("certs.d");
    let write = |host: &str, text: &str| {
        std::fs::create_dir_all(certs.join(host)).unwrap();
        std::fs::write(certs.join(host).join("hosts.toml"), text).unwrap();
    };
    // The first host refuses connections, the second has the image; the registry itself does not exist.
    let mirror = &registry.address;
    write(
        "registry.invalid",
        &format!(
            "server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:9\"]\n[host.\"http://{mirror}\"]\n\
             capabilities = [\"pull\", \"resolve\"]\n"
        ),
    );
    write("plain.invalid", &format!("server = \"http://{mirror}\"\n"));
    let config = Config { config_path: vec![root.path().join("none"), certs.clone()], ..Config::default() };
    let store = Store::open(&root.path().join("images"), config).await.unwrap();
    let pulled = store.pull("registry.invalid/library/app:1", None).await.unwrap();
    assert_eq!(pulled.repo_tags, ["registry.invalid/library/app:1"]);
    assert_eq!(store.pull("plain.invalid/library/app:1", None).await.unwrap().repo_tags.len(), 2);
    write("broken.invalid", "server = 5\n");
    let error = store.pull("broken.invalid/a:1", None).await.unwrap_err();
    assert!(error.to_string().contains("broken.invalid/hosts.toml: line 1: server must be a string"), "{error}");
    assert_eq!(error.fault(), Fault::Node);
}

#[tokio::test]
async fn what_is_not_there_and_who_is_not_there_are_told_apart() {
    let (registry, root) = (Registry::start(), tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let missing = registry.reference("nothing:here");
    let error = store.pull(&missing, None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::NotFound);
    assert!(error.to_string().contains(&missing), "{error}");
    let error = store.pull("127.0.0.1:1/a:b", None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Unavailable);
    assert!(error.to_string().starts_with("RegistryUnavailable: 127.0.0.1:1/a:b: "), "{error}");
    assert_eq!(store.pull("Upper/Case", None).await.unwrap_err().fault(), Fault::Caller);
    assert_eq!(std::fs::read_dir(root.path().join("t")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_archive_is_loaded() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let image = Built::simple("f", b"loaded");
    let archive = build::layout(&image, "example.test/loaded:1");
    let images = store.load(archive.as_slice()).await.unwrap();
    assert_eq!(images[0].repo_tags, ["example.test/loaded:1"]);
    assert_eq!(read(&store, "example.test/loaded:1", "/f").await.unwrap(), b"loaded");
    let error = store.load(b"no archive at all".as_slice()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
}
