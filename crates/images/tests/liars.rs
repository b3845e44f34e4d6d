//! Registries that lie, break off, ask for tokens or redirect. Needs root.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{path::Path, sync::Arc};

use corten_images::{Auth, Config, Digest, Error, Fault, Limits, Store};
use support::{
    Registry,
    build::{Built, BuiltLayer, Form, Packing, archive},
    liar::{Answer, Liar, Seen},
    store,
};

/// Nothing but the empty directories of a store.
fn assert_nothing_left(root: &Path) {
    for directory in ["l", "s", "t", "b"] {
        let Ok(entries) = std::fs::read_dir(root.join(directory)) else { continue };
        let left: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Pulls what must not be accepted, also with blobs kept; returns why, after seeing that nothing is left behind.
async fn refused(image: &Built, lie: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> Error {
    let (liar, root) = (Liar::of(image, lie).await, tempfile::tempdir().unwrap());
    let mut errors = Vec::new();
    for keep in [true, false] {
        let store = store(root.path()).await.keeping_blobs(keep).unwrap();
        let error = store.pull(&format!("{}/lie:1", liar.address), None).await.unwrap_err();
        assert!(error.to_string().contains(&liar.address), "{error}");
        assert!(store.list().is_empty());
        drop(store);
        // What a background thread still deletes, the next start finds.
        let _ = support::store(root.path()).await;
        assert_nothing_left(root.path());
        errors.push(error);
    }
    errors.remove(0)
}

fn blob(bytes: &[u8]) -> String {
    format!("/blobs/{}", Digest::of(bytes))
}

#[tokio::test]
async fn content_that_is_not_its_digest_is_refused() {
    let image = Built::simple("f", b"true");
    let other = Built::simple("f", b"false");

    let wrong = Digest::of(b"wrong").to_string();
    let (manifest, promised) = (image.manifest(Form::Oci), wrong.clone());
    let error = refused(&image, move |seen| {
        let honest = Answer::ok(manifest.clone()).header("content-type", Form::Oci.manifest());
        seen.path.contains("/manifests/").then(|| honest.header("docker-content-digest", &promised))
    })
    .await;
    assert!(error.to_string().contains(&wrong), "{error}");
    assert_eq!(error.fault(), Fault::Outside);

    let (path, lie) = (blob(&image.config), other.config.clone());
    let error = refused(&image, move |seen| seen.path.contains(&path).then(|| Answer::ok(lie.clone()))).await;
    assert!(error.to_string().contains(&image.id()), "{error}");

    let layer = image.layers[0].clone();
    let mut lie = layer.blob.clone();
    *lie.last_mut().unwrap() ^= 1;
    let path = blob(&layer.blob);
    let error = refused(&image, move |seen| seen.path.contains(&path).then(|| Answer::ok(lie.clone()))).await;
    assert!(error.to_string().contains(&Digest::of(&layer.blob).to_string()), "{error}");
    assert_eq!(error.fault(), Fault::Outside);
}

#[tokio::test]
async fn a_manifest_asked_for_by_digest_is_that_manifest() {
    let image = Built::simple("f", b"true");
    let (liar, root) = (Liar::of(&image, |_| None).await, tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let wanted = Digest::of(b"another manifest");
    let error = store.pull(&format!("{}/lie@{wanted}", liar.address), None).await.unwrap_err();
    assert!(error.to_string().contains(&format!("want {wanted}")), "{error}");
    assert_eq!(error.fault(), Fault::Outside);
}

#[tokio::test]
async fn a_layer_that_is_not_its_diff_id_is_refused() {
    let honest = BuiltLayer::new(&archive(&[("f", b"1")]), Packing::Gzip);
    let other = BuiltLayer::new(&archive(&[("f", b"2")]), Packing::Gzip);
    let image = Built::new(vec![BuiltLayer { diff_id: other.diff_id, ..honest }]);
    let error = refused(&image, |_| None).await;
    assert!(error.to_string().contains("diff id") && error.to_string().contains(&other.diff_id.to_string()), "{error}");
}

#[tokio::test]
async fn sizes_are_those_of_the_descriptors() {
    let image = Built::simple("f", b"true");
    for change in [-1_i64, 1] {
        let mut manifest = image.manifest_value(Form::Oci);
        let size = manifest["layers"][0]["size"].as_i64().unwrap();
        manifest["layers"][0]["size"] = (size + change).into();
        let error = refused(&image, move |seen| {
            let answer = Answer::ok(manifest.to_string()).header("content-type", Form::Oci.manifest());
            seen.path.contains("/manifests/").then_some(answer)
        })
        .await;
        assert!(error.to_string().contains("size"), "{error}");
        assert_eq!(error.fault(), Fault::Outside);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let image = Built::simple("f", b"true");
    let error =
        refused(&image, |seen| seen.path.contains("/manifests/").then(|| Answer::ok(vec![b' '; 5 << 20]))).await;
    assert!(error.to_string().contains("manifest: more than 4194304 bytes"), "{error}");
    let mut manifest = image.manifest_value(Form::Oci);
    manifest["config"]["size"] = (9 << 20).into();
    let error =
        refused(&image, move |seen| seen.path.contains("/manifests/").then(|| Answer::ok(manifest.to_string()))).await;
    assert!(error.to_string().contains("limit of 8388608"), "{error}");
}

#[tokio::test]
async fn hostile_layers_are_named_and_leave_nothing() {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..9].copy_from_slice(b"../escape");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, std::io::empty()).unwrap();
    let good = BuiltLayer::new(&archive(&[("good", b"1")]), Packing::Gzip);
    let bad = BuiltLayer::new(&tar.into_inner().unwrap(), Packing::Gzip);
    let digest = Digest::of(&bad.blob).to_string();
    let error = refused(&Built::new(vec![good, bad]), |_| None).await;
    assert!(error.to_string().contains("\"../escape\"") && error.to_string().contains(&digest), "{error}");
    assert_eq!(error.fault(), Fault::Outside);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_unavailability() {
    let image = Built::new(vec![BuiltLayer::new(&archive(&[("f", &[7; 100_000])]), Packing::Plain)]);
    let layer = image.layers[0].blob.clone();
    let error = refused(&image, move |seen| {
        let cut = Answer { cut: Some(60_000), ..Answer::ok(layer.clone()) };
        seen.path.contains(&blob(&layer)).then_some(cut)
    })
    .await;
    assert!(error.to_string().starts_with("RegistryUnavailable: "), "{error}");
    let error = refused(&image, |seen| seen.path.contains("/manifests/").then(|| Answer::status(503))).await;
    assert_eq!(error.fault(), Fault::Unavailable);
}

#[tokio::test]
async fn what_a_mirror_spoils_the_next_host_serves() {
    let image = Built::simple("f", b"true");
    let path = blob(&image.layers[0].blob);
    let spoiled = Liar::of(&image, move |seen| seen.path.contains(&path).then(|| Answer::ok("spoiled"))).await;
    let (honest, root) = (Liar::of(&image, |_| None).await, tempfile::tempdir().unwrap());
    let directory = root.path().join("certs/origin.invalid");
    std::fs::create_dir_all(&directory).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\".header]\nx-key = \"secret\"\n",
        honest.address, spoiled.address, spoiled.address
    );
    std::fs::write(directory.join("hosts.toml"), text).unwrap();
    let config = Config { config_path: vec![root.path().join("certs")], ..Config::default() };
    let store = Store::open(&root.path().join("images"), config).await.unwrap();
    assert_eq!(store.pull("origin.invalid/a/b:1", None).await.unwrap().id, image.id());
    // The mirror was told whose mirror it is, and given its header.
    assert!(spoiled.seen().iter().all(|seen| seen.path.contains("ns=origin.invalid")));
    assert!(spoiled.seen().iter().all(|seen| seen.headers["x-key"] == "secret"));
    assert_eq!(honest.count("/manifests/"), 0);
    assert!(honest.seen().iter().all(|seen| !seen.headers.contains_key("x-key")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_share_the_work() {
    let shared = BuiltLayer::new(&archive(&[("f", &[1; 1 << 20])]), Packing::Gzip);
    let image = Built::new(vec![shared]);
    let (registry, root) = (Liar::of(&image, |_| None).await, tempfile::tempdir().unwrap());
    let store = Arc::new(store(root.path()).await);
    let pulls: Vec<_> =
        (0..8).map(|number| tokio::spawn(store.pull(&format!("{}/same:{number}", registry.address), None))).collect();
    for pull in pulls {
        assert_eq!(pull.await.unwrap().unwrap().id, image.id());
    }
    assert_eq!(registry.count(&blob(&image.layers[0].blob)), 1);
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.list()[0].repo_tags.len(), 8);
}

#[tokio::test]
async fn the_same_layer_twice_is_fetched_and_mounted_once() {
    let layer = |name| BuiltLayer::new(&archive(&[(name, b"x")]), Packing::Gzip);
    let image = Built::new(vec![layer("a"), layer("b"), layer("a")]);
    let (registry, root) = (Liar::of(&image, |_| None).await, tempfile::tempdir().unwrap());
    let store = store(root.path()).await;
    let pulled = store.pull(&format!("{}/twice:1", registry.address), None).await.unwrap();
    assert_eq!(registry.count(&blob(&image.layers[0].blob)), 1);
    let snapshot = store.prepare_snapshot("c", &pulled, None, &[]).await.unwrap();
    assert_eq!(snapshot.lower.len(), 2);
    assert!(snapshot.lower[0].join("a").exists());
}

#[tokio::test]
async fn a_token_is_fetched_with_the_credentials_and_not_shown_elsewhere() {
    let image = Built::simple("f", b"private");
    let layer = image.layers[0].blob.clone();
    let storage = Liar::start(move |_| Answer::ok(layer.clone())).await;
    let tokens = Liar::start(|seen| match seen.headers.get("authorization").map(String::as_str) {
        Some("Basic dXNlcjpzZWNyZXQ=") => Answer::ok(r#"{"token": "t0ken"}"#),
        _ => Answer::status(401),
    })
    .await;
    let (path, elsewhere) = (blob(&image.layers[0].blob), format!("http://{}/data", storage.address));
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", tokens.address);
    let registry = Liar::of(&image, move |seen| {
        if seen.headers.get("authorization").map(String::as_str) != Some("Bearer t0ken") {
            return Some(Answer::status(401).header("www-authenticate", &challenge));
        }
        seen.path.contains(&path).then(|| Answer::status(307).header("location", &elsewhere))
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path()).await;
    let reference = format!("{}/private/app:1", registry.address);
    let auth = Auth { username: "user".into(), password: "secret".into(), ..Auth::default() };
    assert_eq!(store.pull(&reference, Some(auth)).await.unwrap().id, image.id());
    assert_eq!(tokens.seen().len(), 1);
    assert!(tokens.seen()[0].path.contains("scope=repository%3Aprivate%2Fapp%3Apull"), "{:?}", tokens.seen());
    assert_eq!(storage.seen().len(), 1);
    assert!(!storage.seen()[0].headers.contains_key("authorization"));
    let wrong = Auth { username: "user".into(), password: "wrong".into(), ..Auth::default() };
    let error = store.pull(&reference, Some(wrong)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(error.to_string().contains(&reference) && !error.to_string().contains("wrong"), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let image = Built::simple("f", b"x");
    let error = refused(&image, |_| Some(Answer::status(302).header("location", "/again"))).await;
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[tokio::test]
async fn a_registry_with_passwords_is_pulled_from() {
    let (registry, root) = (Registry::with_password(), tempfile::tempdir().unwrap());
    let image = Built::simple("f", b"private");
    registry.push("private", "1", &image, Form::Oci).await;
    let store = store(root.path()).await;
    let reference = registry.reference("private:1");
    let error = store.pull(&reference, None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller, "{error}");
    let auth = Auth { username: "user".into(), password: "secret".into(), ..Auth::default() };
    assert_eq!(store.pull(&reference, Some(auth)).await.unwrap().id, image.id());
}

#[tokio::test]
async fn limits_are_those_of_the_configuration() {
    let image = Built::simple("f", &[1; 10_000]);
    let (registry, root) = (Liar::of(&image, |_| None).await, tempfile::tempdir().unwrap());
    let limits = Limits { layer_bytes: 5000, ..Limits::default() };
    let store = Store::open(root.path(), Config { limits, ..Config::default() }).await.unwrap();
    let error = store.pull(&format!("{}/big:1", registry.address), None).await.unwrap_err();
    assert!(error.to_string().contains("limit of 5000 unpacked bytes"), "{error}");
}
