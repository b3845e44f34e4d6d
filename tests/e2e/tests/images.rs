//! Pulling, listing, removing and unpacking images.

use std::fs;

use corten_cri::v1::*;
use corten_e2e::{
    cri::{self, assert_refused},
    daemon::Setup,
    image::{self, Built, Compression, Entry, Format, Image as Making, Layer},
    lab::{self, Lab},
    leaks, pods,
    static_server::StaticServer,
};
use serde_json::json;
use tar::EntryType;
use tonic::Code;

/// An image of busybox and these layers above it.
fn above_busybox(layers: Vec<Vec<u8>>) -> Making {
    let layers = std::iter::once(image::busybox_layer().to_vec()).chain(layers).collect();
    Making::of(layers).config(image::busybox_config())
}

/// The standard output of a script in a container of this image.
async fn run_in(lab: &Lab, image: &str, script: &str) -> String {
    let name = format!("p{}", lab.cri.list_pods(None).await.unwrap().len());
    let config = lab.pod(&name);
    let pod = lab.run_pod(&config).await;
    let (status, log) = lab.run_to_end(&pod, &config, &pods::script("c", image, script)).await;
    assert_eq!(status.exit_code, 0, "{script}: {log}");
    log
}

#[test]
fn every_format_and_compression_is_pulled_and_runs() {
    lab::test(Setup::default(), async |lab| {
        for (name, format, compression) in [
            ("oci-gzip", Format::Oci, Compression::Gzip),
            ("oci-zstd", Format::Oci, Compression::Zstd),
            ("oci-tar", Format::Oci, Compression::None),
            ("docker-gzip", Format::Docker, Compression::Gzip),
        ] {
            let layer = Layer::new().file("which", 0o644, name.as_bytes()).finish();
            let making = Making { format, compression, ..above_busybox(vec![layer]) };
            let image = lab.image(name, &making.build()).await;
            assert_eq!(run_in(lab, &image, "cat /which").await.trim(), name);
        }
    });
}

#[test]
fn of_an_index_this_platforms_image_is_pulled() {
    lab::test(Setup::default(), async |lab| {
        let member = |text: &str| {
            let layer = Layer::new().file("which", 0o644, text.as_bytes()).finish();
            Making { ..above_busybox(vec![layer]) }.build()
        };
        for (name, format) in [("index", Format::Oci), ("list", Format::Docker)] {
            let making = |text: &str| match format {
                Format::Oci => member(text),
                Format::Docker => {
                    let layer = Layer::new().file("which", 0o644, text.as_bytes()).finish();
                    Making { format, ..above_busybox(vec![layer]) }.build()
                }
            };
            let ours = making("ours");
            let index = Built::index(format, vec![("s390x", making("theirs")), (image::architecture(), ours.clone())]);
            let image = lab.image(name, &index).await;
            assert_eq!(lab.cri.image(&image).await.unwrap().unwrap().id, ours.id());
            assert_eq!(run_in(lab, &image, "cat /which").await.trim(), "ours");
        }
        let none = Built::index(Format::Oci, vec![("s390x", member("theirs"))]);
        let reference = lab.registry.push("none", "1", &none).await;
        let refused = lab.cri.pull(&reference).await;
        assert!(refused.as_ref().is_err_and(|s| s.message().contains(image::architecture())), "{refused:?}");
    });
}

#[test]
fn status_and_list_tell_tags_digests_size_and_user() {
    lab::test(Setup::default(), async |lab| {
        let mut settings = image::busybox_config();
        settings["User"] = json!("1000:50");
        let built = above_busybox(vec![]).config(settings).build();
        let reference = lab.registry.push("told", "1", &built).await;
        let pulled = lab.cri.pull(&reference).await.unwrap();
        let image = lab.cri.image(&reference).await.unwrap().unwrap();
        let by_digest = lab.registry.reference(&format!("told@{}", built.digest()));
        assert_eq!(image.id, built.id());
        assert_eq!((image.repo_tags, image.repo_digests), (vec![reference.clone()], vec![by_digest.clone()]));
        assert!(image.size > 100_000, "{}", image.size);
        assert_eq!((image.uid.unwrap().value, image.username.as_str()), (1000, ""));
        for name in [&pulled, &by_digest, &built.id(), &built.id()[..20].to_owned(), &built.id()[7..].to_owned()] {
            assert_eq!(lab.cri.image(name).await.unwrap().map(|image| image.id), Some(built.id()), "{name}");
        }
        let request = ImageStatusRequest { image: Some(cri::spec(&reference)), verbose: true };
        let info = lab.cri.images().image_status(request).await.unwrap().into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
        assert_eq!(info["imageSpec"]["config"]["User"], "1000:50");
        let mut settings = image::busybox_config();
        settings["User"] = json!("alice");
        let mut annotated = above_busybox(vec![]).config(settings).build();
        let mut manifest: serde_json::Value = serde_json::from_slice(&annotated.manifest).unwrap();
        manifest["annotations"] = json!({"org.opencontainers.image.title": "named"});
        annotated.manifest = manifest.to_string().into_bytes();
        let named = lab.image("named", &annotated).await;
        let named = lab.cri.image(&named).await.unwrap().unwrap();
        let spec = named.spec.clone().unwrap();
        assert_eq!(
            (spec.image, spec.annotations["org.opencontainers.image.title"].as_str()),
            (named.id.clone(), "named")
        );
        assert_eq!((named.uid, named.username.as_str(), named.pinned), (None, "alice", false));
        lab.cri.remove_image(&named.id).await.unwrap();
        let second = lab.registry.push("told", "2", &built).await;
        lab.cri.pull(&second).await.unwrap();
        let listed = lab.cri.list_images().await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        let mut tags = listed[0].repo_tags.clone();
        tags.sort();
        assert_eq!(tags, [reference, second.clone()]);
        let filter = Some(ImageFilter { image: Some(cri::spec(&second)) });
        let filtered = lab.cri.images().list_images(ListImagesRequest { filter }).await.unwrap().into_inner().images;
        assert_eq!(filtered.len(), 1);
        let filter = Some(ImageFilter { image: Some(cri::spec("nothing.example/none:1")) });
        let filtered = lab.cri.images().list_images(ListImagesRequest { filter }).await.unwrap().into_inner().images;
        assert_eq!(filtered.len(), 0);
    });
}

#[test]
fn an_image_is_pulled_by_digest_and_without_a_tag() {
    lab::test(Setup::default(), async |lab| {
        let built = image::busybox();
        lab.registry.push("by", "latest", built).await;
        let by_digest = lab.registry.reference(&format!("by@{}", built.digest()));
        lab.cri.pull(&by_digest).await.unwrap();
        let image = lab.cri.image(&by_digest).await.unwrap().unwrap();
        assert_eq!((image.repo_tags.len(), image.repo_digests), (0, vec![by_digest.clone()]));
        lab.cri.pull(&lab.registry.reference("by")).await.unwrap();
        let image = lab.cri.image(&by_digest).await.unwrap().unwrap();
        assert_eq!(image.repo_tags, [lab.registry.reference("by:latest")]);
    });
}

#[test]
fn a_removed_image_is_gone_with_its_layers() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        let reference = lab.busybox().await;
        assert!(!lab.snapshot().appeared_since(&before, "file").is_empty());
        for _ in 0..2 {
            lab.cri.remove_image(&reference).await.unwrap();
            assert_eq!(lab.cri.image(&reference).await.unwrap(), None);
        }
        lab.cri.remove_image("nothing.example/none:1").await.unwrap();
        leaks::assert_same(&before, || lab.snapshot());
    });
}

#[test]
fn a_running_container_keeps_its_layers_when_the_image_is_removed() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("keeps");
        let pod = lab.run_pod(&config).await;
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        lab.cri.remove_image(&image).await.unwrap();
        assert_eq!(lab.cri.shell(&id, "cat /www/index.html").await, "served by Corten\n");
    });
}

#[test]
fn image_fs_info_grows_with_images() {
    lab::test(Setup::default(), async |lab| {
        let used = async || {
            let info = lab.cri.images().image_fs_info(ImageFsInfoRequest::default()).await.unwrap().into_inner();
            let image = info.image_filesystems.into_iter().next().unwrap();
            assert!(!info.container_filesystems.is_empty());
            assert!(image.timestamp > 0);
            let told = image.fs_id.unwrap().mountpoint;
            assert!(std::path::Path::new(&told).starts_with(lab.paths.root()), "{told}");
            (image.used_bytes.unwrap().value, image.inodes_used.unwrap().value)
        };
        let before = used().await;
        lab.busybox().await;
        cri::until("the usage to be measured", async || {
            let now = used().await;
            (now.0 > before.0 && now.1 > before.1).then_some(())
        })
        .await;
    });
}

#[test]
fn a_mirror_of_hosts_toml_stands_for_the_registry() {
    lab::test(Setup::default(), async |lab| {
        lab.registry.push("library/mirrored", "latest", image::busybox()).await;
        lab.paths.mirror("docker.io", &lab.registry.host());
        lab.cri.pull("mirrored").await.unwrap();
        let image = lab.cri.image("docker.io/library/mirrored:latest").await.unwrap().unwrap();
        assert_eq!(image.repo_tags, ["docker.io/library/mirrored:latest"]);
    });
}

#[test]
fn layers_are_put_together_as_the_specification_says() {
    lab::test(Setup::default(), async |lab| {
        let lower = Layer::new()
            .dir("d", 0o750)
            .file("d/kept", 0o644, b"kept")
            .file("d/deleted", 0o644, b"x")
            .dir("opaque", 0o755)
            .file("opaque/old", 0o644, b"x")
            .dir("replaced", 0o755)
            .file("replaced/inner", 0o644, b"x")
            .file("plain", 0o4755, b"data")
            .hardlink("linked", "plain")
            .symlink("dangling", "/no/where")
            .entry(&Entry { path: "owned", owner: (1000, 2000), mode: 0o640, data: b"x", ..Entry::default() })
            .entry(&Entry { path: "labelled", xattrs: &[("user.note", b"value")], data: b"x", ..Entry::default() })
            .finish();
        let upper = Layer::new()
            .file("d/.wh.deleted", 0o644, b"")
            .file("opaque/new", 0o644, b"new")
            .file("opaque/.wh..wh..opq", 0o644, b"")
            .file(".wh.replaced", 0o644, b"")
            .file("implied/parent/file", 0o644, b"x")
            .finish();
        let image = lab.image("layers", &above_busybox(vec![lower, upper]).build()).await;
        let script = "ls -A /d /opaque; test -e /replaced && echo replaced; stat -c '%a %u %g %n' /d; stat -c '%a %u %g %h %n' /plain /linked /owned; \
                      readlink /dangling; cat /linked; ls /implied/parent";
        let seen = run_in(lab, &image, script).await;
        let expected = "/d:\nkept\n\n/opaque:\nnew\n750 0 0 /d\n4755 0 0 2 /plain\n4755 0 0 2 /linked\n\
                        640 1000 2000 1 /owned\n/no/where\ndatafile\n";
        assert_eq!(seen, expected);
    });
}

/// Layers that try to reach out of their directory, and the word that the refusal must have.
fn hostile_layers() -> Vec<(&'static str, Layer)> {
    let device = |path| Entry { path, kind: EntryType::Block, device: (8, 0), ..Entry::default() };
    vec![
        ("dotdot", Layer::new().file("../../escaped", 0o644, b"x")),
        ("inner-dotdot", Layer::new().file("a/../../../escaped", 0o644, b"x")),
        ("through-symlink", Layer::new().symlink("out", "/tmp").file("out/ce-escaped", 0o644, b"x")),
        (
            "through-relative-symlink",
            Layer::new().symlink("out", "../../../../../../../../tmp").file("out/ce-escaped", 0o644, b"x"),
        ),
        ("hardlink-out", Layer::new().hardlink("stolen", "../../../../../../../../../../etc/passwd")),
        ("hardlink-absolute", Layer::new().hardlink("stolen", "/etc/hostname-of-the-host")),
        ("hardlink-through-symlink", Layer::new().symlink("etc2", "/etc").hardlink("stolen", "etc2/shadow")),
        ("whiteout-out", Layer::new().file("a/../../.wh.data", 0o644, b"")),
        ("whiteout-dotdot", Layer::new().file(".wh...", 0o644, b"")),
        ("truncated", Layer::new()),
        ("device", Layer::new().entry(&device("disk"))),
    ]
}

#[test]
fn a_hostile_layer_is_refused_or_stays_in_its_directory() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        fs::write(lab.paths.dir.join("canary"), "x").unwrap();
        for (name, layer) in hostile_layers() {
            let mut tar = layer.finish();
            if name == "truncated" {
                tar = Layer::new().file("f", 0o644, &[7; 4000]).finish();
                tar.truncate(2000);
            }
            let reference = lab.registry.push(name, "1", &Making::of(vec![tar]).build()).await;
            match lab.cri.pull(&reference).await {
                Ok(_) => {
                    assert!(
                        !["truncated", "hardlink-out", "hardlink-through-symlink"].contains(&name),
                        "{name} was accepted"
                    );
                    lab.cri.remove_image(&reference).await.unwrap();
                }
                Err(status) => {
                    assert!(status.message().contains("layer"), "{name}: {}", status.message());
                    assert_ne!(status.code(), Code::Internal, "{name}: {}", status.message());
                }
            }
            assert!(!std::path::Path::new("/tmp/ce-escaped").exists(), "{name} wrote to /tmp");
            assert!(!lab.paths.dir.join("escaped").exists() && !lab.paths.root().join("escaped").exists(), "{name}");
            assert!(lab.paths.dir.join("canary").exists());
        }
        leaks::assert_same(&before, || lab.snapshot());
    });
}

#[test]
fn content_of_another_digest_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        let layer = Layer::new().file("file", 0o644, b"honest").finish();
        let built = Making::of(vec![layer]).build();
        let reference = lab.registry.push("forged", "1", &built).await;
        for blob in &built.blobs {
            let file = lab.registry.blob_file(&image::digest(blob));
            let honest = fs::read(&file).unwrap();
            let mut forged = honest.clone();
            let middle = forged.len() / 2;
            forged[middle] ^= 1;
            fs::write(&file, forged).unwrap();
            let refused = lab.cri.pull(&reference).await;
            assert!(
                refused.as_ref().is_err_and(|status| status.message().contains(&image::digest(blob)[7..])),
                "the digest is not named: {refused:?}"
            );
            assert_eq!(lab.cri.list_images().await, vec![]);
            fs::write(&file, honest).unwrap();
        }
        leaks::assert_same(&before, || lab.snapshot());
        lab.cri.pull(&reference).await.unwrap();
    });
}

#[test]
fn a_layer_that_is_not_what_its_diff_id_says_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let mut built = Making::of(vec![Layer::new().file("a", 0o644, b"a").finish()]).build();
        let other = Making::of(vec![Layer::new().file("b", 0o644, b"b").finish()]).build();
        built.manifest = String::from_utf8(built.manifest)
            .unwrap()
            .replace(&image::digest(&built.blobs[1]), &image::digest(&other.blobs[1]))
            .replace(&format!("\"size\":{}", built.blobs[1].len()), &format!("\"size\":{}", other.blobs[1].len()))
            .into_bytes();
        built.blobs[1] = other.blobs[1].clone();
        let reference = lab.registry.push("swapped", "1", &built).await;
        let refused = lab.cri.pull(&reference).await;
        assert!(refused.as_ref().is_err_and(|status| status.message().contains("sha256:")), "{refused:?}");
        assert_eq!(lab.cri.list_images().await, vec![]);
    });
}

#[test]
fn a_manifest_that_cannot_be_is_refused_by_what_is_wrong() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        let server = StaticServer::start();
        lab.paths.plain_http(&server.host());
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let digest = image::digest(b"x");
        let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1});
        let with =
            |layer: serde_json::Value| json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let cases = [
            ("not-json", "{".to_owned(), manifest),
            ("empty", String::new(), manifest),
            ("no-config", json!({"schemaVersion": 2, "layers": []}).to_string(), manifest),
            (
                "schema-one",
                json!({"schemaVersion": 1, "fsLayers": []}).to_string(),
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
            ),
            ("a-web-page", "<html></html>".to_owned(), "text/html"),
            ("bad-digest", with(json!({"mediaType": layer, "digest": "sha256:../../../etc", "size": 1})), manifest),
            ("short-digest", with(json!({"mediaType": layer, "digest": "sha256:abc", "size": 1})), manifest),
            ("negative-size", with(json!({"mediaType": layer, "digest": digest, "size": -1})), manifest),
            (
                "unknown-layer",
                with(json!({"mediaType": "application/x-unknown", "digest": digest, "size": 1})),
                manifest,
            ),
            ("oversized", format!("{{\"schemaVersion\": 2, \"pad\": \"{}\"}}", "x".repeat(8 << 20)), manifest),
        ];
        for (name, body, media_type) in cases {
            server.set(&format!("/v2/{name}/manifests/1"), 200, media_type, body.as_bytes());
            let refused = lab.cri.pull(&server.reference(&format!("{name}:1"))).await;
            let status = refused.expect_err(name);
            assert!(status.message().contains(name), "{name} is not named: {}", status.message());
            assert_ne!(status.code(), Code::Internal, "{name}: {}", status.message());
        }
        assert_eq!(lab.cri.list_images().await, vec![]);
        leaks::assert_same(&before, || lab.snapshot());
    });
}

#[test]
fn what_is_not_there_is_not_found_and_an_unreachable_registry_is_called_so() {
    lab::test(Setup::default(), async |lab| {
        assert_refused(lab.cri.pull(&lab.registry.reference("absent:1")).await, Code::NotFound, &["absent:1"]);
        let nobody = corten_e2e::registry::free_address().to_string();
        lab.paths.plain_http(&nobody);
        let refused = lab.cri.pull(&format!("{nobody}/image:1")).await;
        // With another code the kubelet does not see what the message begins with.
        let refused = refused.expect_err("nobody answered");
        assert_eq!(refused.code(), Code::Unknown, "{refused:?}");
        let message = refused.message();
        assert!(message.starts_with("RegistryUnavailable: ") && message.contains(&nobody), "{message}");
    });
}

#[test]
fn a_reference_that_cannot_be_is_refused() {
    lab::test(Setup::default(), async |lab| {
        for reference in
            ["", "example.test/UPPER/case", "a b", "../../etc/passwd", "x:", "x@sha256:short", "http://x/y", ":tag"]
        {
            let refused = lab.cri.pull(reference).await;
            assert_refused(refused, Code::InvalidArgument, &[reference]);
        }
        let missing = lab.cri.images().pull_image(PullImageRequest::default()).await;
        assert_refused(missing, Code::InvalidArgument, &["image"]);
    });
}

#[test]
fn the_same_image_pulled_many_times_at_once_is_one() {
    lab::test(Setup::default(), async |lab| {
        let reference = lab.registry.push("busybox", "1", image::busybox()).await;
        let pulls: Vec<_> = (0..6)
            .map(|_| {
                let (cri, reference) = (lab.cri.clone(), reference.clone());
                tokio::spawn(async move { cri.pull(&reference).await.unwrap() })
            })
            .collect();
        for pull in pulls {
            pull.await.unwrap();
        }
        assert_eq!(lab.cri.list_images().await.len(), 1);
    });
}

#[test]
fn images_outlive_the_daemon() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        lab.crash_and_restart().await;
        assert_eq!(lab.cri.image(&image).await.unwrap().unwrap().id, image::busybox().id());
        assert_eq!(run_in(lab, &image, "cat /www/index.html").await, "served by Corten\n");
    });
}

#[test]
fn a_daemon_killed_in_a_pull_leaves_no_half_image() {
    lab::test(Setup::default(), async |lab| {
        let big: Vec<u8> = (0..8u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let layer = Layer::new().file("big", 0o644, &big).finish();
        let reference = lab.registry.push("big", "1", &above_busybox(vec![layer]).build()).await;
        let before = lab.snapshot();
        let cri = lab.cri.clone();
        let pulled = reference.clone();
        let pull = tokio::spawn(async move { cri.pull(&pulled).await });
        cri::until("the pull to begin", async || {
            (!lab.snapshot().appeared_since(&before, "file").is_empty()).then_some(())
        })
        .await;
        lab.crash_and_restart().await;
        let _ = pull.await.unwrap();
        lab.cri.pull(&reference).await.unwrap();
        assert_eq!(run_in(lab, &reference, "stat -c %s /big").await.trim(), (8 << 20).to_string());
    });
}

#[test]
fn an_unpulled_image_makes_no_container() {
    lab::test(Setup::default(), async |lab| {
        let config = lab.pod("none");
        let pod = lab.run_pod(&config).await;
        let refused = lab.cri.create(&pod, &config, &pods::sleeper("c", "nothing.example/none:1")).await;
        assert_refused(refused, Code::NotFound, &["nothing.example/none:1"]);
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}
