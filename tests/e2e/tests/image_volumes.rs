//! Images as volumes (KEP-4639): seen from inside the container that has them.

use std::{fs, os::unix::fs::symlink};

use corten_cri::v1::*;
use corten_e2e::{
    cri::{self, assert_refused, until},
    daemon::Setup,
    for_each_launcher,
    image::{self, Entry, Layer},
    lab::{self, Lab},
    pods::{self, with_security},
};
use tar::EntryType;
use tonic::Code;

for_each_launcher!(
    an_image_is_seen_whole_and_cannot_be_written,
    a_part_of_an_image_is_seen_and_nothing_outside_of_it,
    what_cannot_be_mounted_is_refused_and_leaves_nothing,
    an_image_stays_while_a_container_has_it,
    in_a_user_namespace_its_files_have_their_owners,
);

/// Where what is below is looked at.
const AT: &str = "/volume";

fn with_image(
    mut container: ContainerConfig,
    image: &str,
    at: &str,
    change: impl FnOnce(&mut Mount),
) -> ContainerConfig {
    let mut mount =
        Mount { container_path: at.to_owned(), readonly: true, image: Some(cri::spec(image)), ..Default::default() };
    change(&mut mount);
    container.mounts.push(mount);
    container
}

async fn image_of(lab: &Lab, name: &str, layers: Vec<Layer>) -> String {
    lab.image(name, &image::Image::of(layers.into_iter().map(Layer::finish).collect()).build()).await
}

/// Layers that overlayfs has to merge: files of each, one taken away, a directory that only the lowest describes.
fn merged() -> Vec<Layer> {
    let mut layers = vec![
        Layer::new().dir("shared", 0o1777).file("shared/low", 0o644, b"low\n").file("gone", 0o644, b"").file(
            "run",
            0o755,
            b"#!/bin/sh\necho ran\n",
        ),
        Layer::new().file("shared/high", 0o644, b"high\n").file(".wh.gone", 0o644, b""),
    ];
    let names: Vec<String> = (0..30).map(|number| format!("shared/{number}")).collect();
    layers.extend(names.iter().map(|name| Layer::new().file(name, 0o644, b"")));
    layers
}

fn an_image_is_seen_whole_and_cannot_be_written(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let many = image_of(lab, "many", merged()).await;
        let one = image_of(lab, "one", vec![Layer::new().file("only", 0o644, b"one\n")]).await;
        let id_of_many = lab.cri.pull(&many).await.unwrap();
        let mut config = lab.pod("whole");
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let pod = lab.run_pod(&config).await;
        let before = lab.snapshot();
        let container = with_image(pods::sleeper("c", &image), &many, AT, |mount| mount.recursive_read_only = true);
        let container = with_image(container, &one, "/one", |mount| {
            mount.propagation = MountPropagation::PropagationHostToContainer.into();
        });
        // Its own image too, and one twice.
        let container = with_image(container, &image, "/deep/in/new", |_| {});
        let container = with_image(container, &id_of_many, "/locked", |mount| {
            mount.mount_options = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
        });
        // Who may do anything may not do this either.
        let container = with_security(container, |security| security.privileged = true);
        let id = lab.start(&pod, &config, &container).await;

        assert_eq!(lab.snapshot().appeared_since(&before, "mount"), Vec::<String>::new());
        let shell = async |script: &str| lab.cri.shell(&id, script).await;
        assert_eq!(shell("cat /volume/shared/low /volume/shared/high /one/only").await, "low\nhigh\none\n");
        assert_eq!(shell("ls /volume; ls /volume/shared | wc -l; ls -A /one").await, "run\nshared\n32\nonly\n");
        assert_eq!(shell("stat -c %a /volume/shared; stat -c %a /volume").await, "1777\n755\n");
        assert_eq!(shell("/volume/run; /deep/in/new/bin/busybox echo own").await, "ran\nown\n");
        assert_eq!(lab.cri.exec(&id, &["sh", "-c", "/locked/run"]).await.code, 126);
        for write in
            ["touch /volume/new", "rm /volume/run", "chmod 700 /volume/run", "echo > /one/only", "touch /locked/x"]
        {
            let output = lab.cri.exec(&id, &["sh", "-c", write]).await;
            assert!(output.code != 0 && output.stderr.contains("Read-only file system"), "{write}: {output:?}");
        }
        let remount = "mount -o remount,rw,bind /volume /volume; mount -o remount,rw /volume; touch /volume/new";
        assert_ne!(lab.cri.exec(&id, &["sh", "-c", remount]).await.code, 0);
        let table = shell("grep -E ' /(volume|one|locked|deep/in/new) ' /proc/self/mountinfo").await;
        assert_eq!(table.lines().count(), 4, "{table}");
        for line in table.lines() {
            let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
            let locked = ["noexec", "nosuid", "nodev"].map(|option| options.contains(&option));
            assert_eq!(locked, [line.contains("/locked"); 3], "{line}");
            assert!(line.contains(" - overlay ") && !line.contains("shared:"), "{line}");
        }

        let status = lab.cri.status(&id).await.unwrap();
        let [first, .., last] = status.mounts.as_slice() else { panic!("{status:?}") };
        let told = first.image.as_ref().unwrap();
        assert_eq!((told.image.as_str(), told.image_ref.as_str()), (many.as_str(), id_of_many.as_str()));
        assert!(first.host_path.is_empty() && first.readonly && first.recursive_read_only, "{first:?}");
        assert_eq!(
            (last.image.as_ref().unwrap().image_ref.as_str(), last.mount_options.len()),
            (id_of_many.as_str(), 3)
        );
    });
}

/// An image that points outside in every way there is.
fn hostile(secret: &str) -> Vec<Layer> {
    vec![
        Layer::new()
            .dir("etc", 0o755)
            .file("etc/mine", 0o644, b"the image's\n")
            .dir("a/b", 0o755)
            .symlink("absolute", "/etc")
            .symlink("a/b/up", "../../../../../../etc")
            .symlink("chain", "a/b/up/../absolute"),
        Layer::new()
            .symlink("proc", "/proc/self/root/etc")
            .symlink("secret", secret)
            .symlink("above", "..")
            .symlink("loop", "loop"),
    ]
}

fn a_part_of_an_image_is_seen_and_nothing_outside_of_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let secret = lab.paths.dir.join("secret");
        fs::create_dir(&secret).unwrap();
        let data = image_of(lab, "hostile", hostile(secret.to_str().unwrap())).await;
        let config = lab.pod("part");
        let pod = lab.run_pod(&config).await;
        let parts = ["etc", "absolute", "a/b/up", "chain", "./etc/", "above/etc"];
        let mut container = pods::sleeper("c", &image);
        for (number, part) in parts.into_iter().enumerate() {
            container = with_image(container, &data, &format!("/part/{number}"), |mount| {
                mount.image_sub_path = part.to_owned();
            });
        }
        // Its root, by a link to what is above it.
        let container = with_image(container, &data, "/above", |mount| mount.image_sub_path = "above".to_owned());
        let container = with_image(container, &data, "/dot", |mount| mount.image_sub_path = ".".to_owned());
        let id = lab.start(&pod, &config, &container).await;
        for (number, part) in parts.into_iter().enumerate() {
            let script = format!("ls -A /part/{number}; cat /part/{number}/mine; ls -A /part/{number}/..");
            let shown = lab.cri.shell(&id, &script).await;
            assert!(shown.starts_with("mine\nthe image's\n0\n1\n"), "{part}: {shown}");
            let written = lab.cri.exec(&id, &["touch", &format!("/part/{number}/new")]).await;
            assert!(written.stderr.contains("Read-only file system"), "{part}: {written:?}");
        }
        for at in ["/above", "/dot"] {
            assert_eq!(lab.cri.shell(&id, &format!("cat {at}/etc/mine")).await, "the image's\n");
        }
        let status = lab.cri.status(&id).await.unwrap();
        assert_eq!(
            (status.mounts[0].image_sub_path.as_str(), status.mounts[2].image_sub_path.as_str()),
            ("etc", "a/b/up")
        );
    });
}

/// What is asked of a mount.
type Change<'a> = &'a dyn Fn(&mut Mount);

fn what_cannot_be_mounted_is_refused_and_leaves_nothing(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let secret = lab.paths.dir.join("secret");
        fs::create_dir(&secret).unwrap();
        symlink("/", lab.paths.dir.join("node")).unwrap();
        let data = image_of(lab, "hostile", hostile(secret.to_str().unwrap())).await;
        let config = lab.pod("refused");
        let pod = lab.run_pod(&config).await;
        let create = async |change: Change<'_>| {
            let container = with_image(pods::sleeper("bad", &image), &data, AT, |mount| change(mount));
            lab.cri.create(&pod, &config, &container).await
        };
        let before = lab.snapshot();
        for (part, why) in [
            ("missing", "does not exist"),
            ("etc/missing/x", "does not exist"),
            ("secret", "does not exist"),
            ("proc", "does not exist"),
            ("loop", "does not exist"),
            ("etc/mine", "only directories"),
            ("etc/mine/x", "does not exist"),
        ] {
            let refused = create(&|mount| mount.image_sub_path = part.to_owned()).await;
            let words = ["config.mounts[0].image_sub_path", part, why, &data];
            assert!(refused.as_ref().is_err_and(|error| error.message().starts_with("ImageVolumeMountFailed: ")));
            assert_refused(refused, Code::InvalidArgument, &words);
        }
        for part in ["../etc", "etc/../..", "/etc"] {
            let refused = create(&|mount| mount.image_sub_path = part.to_owned()).await;
            assert_refused(refused, Code::InvalidArgument, &["config.mounts[0].image_sub_path", part]);
        }
        let absent = create(&|mount| mount.image = Some(cri::spec("localhost/never/pulled:1"))).await;
        assert_refused(absent, Code::NotFound, &["ImageVolumeMountFailed: ", "localhost/never/pulled:1"]);
        let changes: [(&str, Change<'_>); 6] = [
            ("image.runtime_handler", &|mount| mount.image.as_mut().unwrap().runtime_handler = "kata".to_owned()),
            ("readonly", &|mount| mount.readonly = false),
            ("host_path", &|mount| mount.host_path = "/etc".to_owned()),
            ("propagation", &|mount| mount.propagation = MountPropagation::PropagationBidirectional.into()),
            ("uidMappings", &|mount| (mount.uid_mappings, mount.gid_mappings) = (ids(7), ids(7))),
            ("mount_options[0]", &|mount| mount.mount_options = vec!["rw".to_owned()]),
        ];
        for (field, change) in changes {
            assert_refused(create(change).await, Code::InvalidArgument, &[&format!("config.mounts[0].{field}")]);
        }
        assert_eq!(lab.snapshot().appeared_since(&before, "file"), Vec::<String>::new());

        // A directory over a file cannot be: seen when it is started.
        let unstartable = with_image(pods::sleeper("bad", &image), &data, "/etc/passwd", |_| {});
        let unstartable = with_image(unstartable, &data, AT, |_| {});
        let id = lab.cri.create(&pod, &config, &unstartable).await.unwrap();
        assert!(lab.cri.start(&id).await.is_err());
        assert_eq!(lab.cri.status(&id).await.unwrap().reason, "StartError");
        lab.cri.remove(&id).await.unwrap();
        let left = lab.snapshot().appeared_since(&before, "file");
        assert!(!left.iter().any(|file| file.contains(&id)), "{left:?}");
    });
}

fn an_image_stays_while_a_container_has_it(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let data = image_of(lab, "data", merged()).await;
        let config = lab.pod("held");
        let pod = lab.run_pod(&config).await;
        let container = |name: &str| with_image(pods::sleeper(name, &image), &data, AT, |_| {});
        let first = lab.start(&pod, &config, &container("first")).await;
        let second = lab.start(&pod, &config, &container("second")).await;
        let waiting = lab.cri.create(&pod, &config, &container("waiting")).await.unwrap();
        let read = "cat /volume/shared/low /volume/shared/high";
        let layers = lab.paths.root().join("images/l");
        let count = || fs::read_dir(&layers).unwrap().count();
        let with_data = count();

        lab.cri.remove_image(&data).await.unwrap();
        assert!(lab.cri.image(&data).await.unwrap().is_none());
        let gone = lab.cri.create(&pod, &config, &container("late")).await;
        assert_refused(gone, Code::NotFound, &["ImageVolumeMountFailed: ", &data]);
        lab.crash_and_restart().await;
        lab.cri.start(&waiting).await.unwrap();
        for id in [&first, &second, &waiting] {
            assert_eq!(lab.cri.shell(id, read).await, "low\nhigh\n");
        }
        assert!(!lab.cri.status(&waiting).await.unwrap().mounts[0].image.as_ref().unwrap().image_ref.is_empty());
        assert_eq!(count(), with_data);
        for id in [first, waiting] {
            lab.cri.remove(&id).await.unwrap();
        }
        assert_eq!((lab.cri.shell(&second, read).await.as_str(), count()), ("low\nhigh\n", with_data));
        lab.cri.remove(&second).await.unwrap();
        // The other image's only one: a directory and the record of its files.
        until("the layers to go", async || (count() == 2).then_some(())).await;
    });
}

/// The first id outside.
const OUTSIDE: u32 = 0x0020_0000;

fn ids(outside: u32) -> Vec<IdMapping> {
    vec![IdMapping { host_id: outside, container_id: 0, length: 65536 }]
}

fn in_a_user_namespace_its_files_have_their_owners(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let private = |path, owner| Entry { path, owner, mode: 0o600, data: b"mine\n", ..Entry::default() };
        let directory =
            Entry { path: "users", kind: EntryType::Directory, mode: 0o700, owner: (7, 8), ..Entry::default() };
        let layers = vec![
            Layer::new().entry(&directory).entry(&private("users/file", (7, 8))),
            Layer::new().entry(&private("roots", (0, 0))).entry(&private("users/more", (9, 9))),
        ];
        let data = image_of(lab, "data", layers).await;
        let users = Some(UserNamespace { mode: NamespaceMode::Pod as i32, uids: ids(OUTSIDE), gids: ids(OUTSIDE) });
        let config = pods::with_namespaces(lab.pod("users"), |namespaces| namespaces.userns_options = users.clone());
        let pod = lab.run_pod(&config).await;
        let mapped = |mount: &mut Mount| (mount.uid_mappings, mount.gid_mappings) = (ids(OUTSIDE), ids(OUTSIDE));
        let container = with_security(pods::sleeper("c", &image), |security| {
            security.namespace_options.get_or_insert_default().userns_options = users.clone();
        });
        let wrong = with_image(container.clone(), &data, AT, |mount| {
            (mount.uid_mappings, mount.gid_mappings) = (ids(OUTSIDE + 1), ids(OUTSIDE + 1));
        });
        let refused = lab.cri.create(&pod, &config, &wrong).await;
        assert_refused(refused, Code::InvalidArgument, &["config.mounts[0].uidMappings"]);
        let container = with_image(container, &data, AT, mapped);
        // The container's own image, whose layers are mapped for its root already.
        let container = with_image(container, &image, "/own", mapped);
        let container = with_image(container, &data, "/part", |mount| {
            mapped(mount);
            mount.image_sub_path = "users".to_owned();
            mount.mount_options = vec!["noexec".to_owned()];
        });
        let id = lab.start(&pod, &config, &container).await;
        let owners =
            "stat -c %u:%g /volume /volume/roots /volume/users /volume/users/file /part /part/more /own/bin/busybox";
        let shown = lab.cri.shell(&id, owners).await;
        assert_eq!(shown, "0:0\n0:0\n7:8\n7:8\n7:8\n9:9\n0:0\n");
        assert_eq!(
            lab.cri.shell(&id, "cat /volume/roots /part/file; /own/bin/busybox echo own").await,
            "mine\nmine\nown\n"
        );
        let written = lab.cri.exec(&id, &["touch", "/volume/new", "/part/new"]).await;
        assert_eq!(written.stderr.matches("Read-only file system").count(), 2, "{written:?}");
        let table = lab.cri.shell(&id, "grep ' /part ' /proc/self/mountinfo").await;
        assert!(table.contains("noexec"), "{table}");
        lab.crash_and_restart().await;
        assert_eq!(lab.cri.shell(&id, "cat /volume/roots").await, "mine\n");
    });
}
