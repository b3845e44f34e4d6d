//! `corten pull` and `corten image ...`.

use std::fs;

use corten_e2e::{
    daemon::Setup,
    image::{self, Image, Layer},
    lab::{self, Lab},
    pods,
};
use serde_json::Value;

use super::{fail, output, succeed};

/// What a container of an image finds in `/tree`: every file's attributes and contents.
async fn tree(lab: &Lab, pod: &str, name: &str, image: &str) -> String {
    let script = "cd /tree && find . | sort | while read f; do stat -c '%n %F %a %u %g %s %Y %h' $f; \
                  [ ! -f $f ] || md5sum $f; [ ! -L $f ] || readlink $f; done";
    let config = lab.pod("p");
    let (status, log) = lab.run_to_end(pod, &config, &pods::script(name, image, script)).await;
    assert_eq!(status.exit_code, 0, "{log}");
    log
}

/// An image of busybox and a tree in two layers, of which the upper one hides a part of the lower.
fn made() -> image::Built {
    let lower = Layer::new()
        .dir("tree", 0o1777)
        .dir("tree/hidden", 0o700)
        .file("tree/hidden/file", 0o600, b"hidden")
        .file("tree/gone", 0o644, b"gone")
        .file("tree/suid", 0o4755, b"suid")
        .hardlink("tree/link", "tree/suid")
        .symlink("tree/symbolic", "suid")
        .finish();
    let upper = Layer::new()
        .file("tree/.wh.gone", 0o644, b"")
        .dir("tree/hidden", 0o755)
        .file("tree/hidden/.wh..wh..opq", 0o644, b"")
        .file("tree/hidden/new", 0o644, b"new")
        .finish();
    Image::of(vec![image::busybox_layer().to_vec(), lower, upper]).config(image::busybox_config()).build()
}

#[test]
fn a_pull_tells_of_each_layer_and_answers_with_the_reference_alone() {
    lab::test(Setup::default(), async |lab| {
        let built = made();
        let name = lab.registry.push("told", "1", &built).await;
        let told = async |words: &[&str]| {
            let output = output(lab, words).await;
            assert!(output.status.success(), "{output:?}");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(output.stdout), text(output.stderr))
        };
        let (id, lines) = told(&["pull", &name]).await;
        assert_eq!(id.trim(), built.id());
        assert_eq!(lines.lines().filter(|line| line.contains(": pulled, ")).count(), 3, "{lines}");
        let (id, lines) = told(&["pull", &name]).await;
        assert_eq!(id.trim(), built.id());
        assert_eq!(lines.lines().filter(|line| line.contains(": already there, ")).count(), 3, "{lines}");
        assert_eq!(told(&["pull", "-q", &name]).await.1, "");
        let missing = lab.registry.reference("nothing:1");
        assert!(fail(lab, &["pull", &missing]).await.contains(&missing));
    });
}

#[test]
fn images_are_tagged_inspected_saved_loaded_and_cleared_up() {
    let extra = "[images]\npinned = [\"*/kept:*\"]\n".to_owned();
    lab::test(Setup { extra, ..Setup::default() }, async |lab| {
        let built = made();
        let name = lab.image("made", &built).await;
        let file = |name: &str| lab.paths.dir.join(name).display().to_string();
        assert_eq!(succeed(lab, &["image", "tag", &name, "app"]).await, "docker.io/library/app:latest\n");
        let inspected: Value = serde_json::from_str(&succeed(lab, &["image", "inspect", "app"]).await).unwrap();
        let inspected = &inspected[0];
        assert_eq!((inspected["id"].as_str(), inspected["pinned"].as_bool()), (Some(&*built.id()), Some(false)));
        assert_eq!(inspected["repoTags"].as_array().map(Vec::len), Some(2), "{inspected}");
        let layers = inspected["layers"].as_array().unwrap();
        assert!(layers.len() == 3 && layers.iter().all(|layer| layer["diskBytes"].as_u64() > Some(0)), "{inspected}");
        assert_eq!(inspected["config"]["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(3), "{inspected}");

        let pod = lab.run_pod(&lab.pod("p")).await;
        let original = tree(lab, &pod, "original", &name).await;
        let saved = output(lab, &["image", "save", "-o", &file("a.tar"), "app"]).await;
        assert!(saved.status.success() && String::from_utf8_lossy(&saved.stderr).contains("packed again"), "{saved:?}");
        let again = output(lab, &["image", "save", "app"]).await.stdout;
        assert!(fs::read(file("a.tar")).unwrap() == again, "the same image gave two archives");
        succeed(lab, &["image", "save", "--format", "docker", "-o", &file("d.tar"), "app"]).await;
        assert!(fail(lab, &["image", "save", "-o", &file("n.tar"), "nothing"]).await.contains("nothing"));
        assert!(!fs::exists(file("n.tar")).unwrap());

        // The container has ended, and is still there.
        let would = succeed(lab, &["image", "prune", "--all", "--dry-run"]).await;
        assert!(would.starts_with("0 images would be removed"), "{would}");
        let container = lab.cri.list(None).await.unwrap().pop().unwrap();
        lab.cri.remove(&container).await.unwrap();
        let removed = succeed(lab, &["image", "prune", "--all"]).await;
        assert!(removed.contains(&built.id()) && removed.contains("1 image removed"), "{removed}");

        let loaded = succeed(lab, &["image", "load", &file("d.tar")]).await;
        assert_eq!(succeed(lab, &["image", "load", &file("a.tar")]).await, loaded, "the forms hold two images");
        assert!(loaded.contains("docker.io/library/app:latest") && !loaded.contains(&built.id()), "{loaded}");
        assert_eq!(tree(lab, &pod, "loaded", "app").await, original);
        let third = output(lab, &["image", "save", "app"]).await;
        assert!(third.stdout == again && third.stderr.is_empty(), "what was packed here packs differently");

        lab.image("kept", image::busybox()).await;
        succeed(lab, &["image", "tag", "app", "other:1"]).await;
        succeed(lab, &["image", "rm", "--untag", "app"]).await;
        assert!(lab.cri.image("app").await.unwrap().is_none() && lab.cri.image("other:1").await.unwrap().is_some());
        for container in lab.cri.list(None).await.unwrap() {
            lab.cri.remove(&container).await.unwrap();
        }
        let removed = succeed(lab, &["image", "prune"]).await;
        assert!(removed.starts_with("0 images"), "what has a tag was removed: {removed}");
        succeed(lab, &["image", "rm", "--untag", "other:1"]).await;
        assert!(succeed(lab, &["image", "prune", "-a"]).await.starts_with("0 images"));
        let left = lab.cri.list_images().await;
        assert!(left.len() == 1 && left[0].pinned, "{left:?}");
    });
}

#[test]
fn an_image_whose_blobs_are_kept_is_saved_as_it_came() {
    let extra = "[images]\nkeep_blobs = true\n".to_owned();
    lab::test(Setup { extra, ..Setup::default() }, async |lab| {
        let built = made();
        let name = lab.image("made", &built).await;
        let digests = async || lab.cri.image(&name).await.unwrap().unwrap().repo_digests;
        let pulled = digests().await;
        let (file, kept) = (lab.paths.dir.join("a.tar").display().to_string(), lab.paths.root().join("images/b"));
        let saved = output(lab, &["image", "save", "-o", &file, &name]).await;
        assert!(saved.status.success() && saved.stderr.is_empty(), "{saved:?}");
        succeed(lab, &["image", "rm", &name]).await;
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
        assert!(succeed(lab, &["image", "load", &file]).await.contains(&built.id()));
        assert_eq!(digests().await, pulled);

        let blob = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
        fs::write(&blob, "damaged").unwrap();
        let checked = output(lab, &["check"]).await;
        let text = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.code() == Some(1) && text.contains("kept blob") && text.contains("1 broken"), "{text}");
        assert_eq!(succeed(lab, &["check"]).await, "6 good, 0 repaired, 0 broken, 0 not recorded\n");
        let mended = succeed(lab, &["check", "--repair"]).await;
        assert!(mended.ends_with("6 good, 1 repaired, 0 broken, 0 not recorded\n") && blob.exists(), "{mended}");
    });
}
