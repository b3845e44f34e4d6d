//! `/dev`: the null device that masks are made of, and the terminal.

use std::fs;
use std::os::unix::fs::symlink;

use corten_cri::v1::ContainerConfig;
use corten_e2e::{
    image::Layer,
    pods::{self, with_security},
};

use crate::world::{attack, with_volume};

/// How many containers are started while an attacker is at work.
const STARTS: usize = 20;

/// A file of procfs that a container may read, but not write: what the attacks want to have elsewhere.
const WANTED: &str = "/proc/sys/kernel/ostype";

/// Masks a file and a directory, and has `/proc/sys` read-only.
fn confined(container: ContainerConfig) -> ContainerConfig {
    with_security(container, |security| {
        security.masked_paths = vec!["/proc/keys".into(), "/proc/timer_list".into(), "/www".into()];
        security.readonly_paths = vec!["/proc/sys".into()];
    })
}

/// Tells what is at the masked paths, whether it can be written to so that somebody reads it, and every mount of a part of
/// procfs that is not where it belongs.
const SHOW: &str = "for at in /proc/keys /proc/timer_list; do stat -c '%F %t:%T' $at; cat $at; done; ls -A /www; \
    awk '$4 ~ \"^/sys/\" || $5 == \"/dev/console\" && $4 !~ \"^/[0-9]+$\" {print \"wrong\", $4, $5}' /proc/self/mountinfo";

/// What [`SHOW`] tells of a container whose masks are masks.
const MASKED: &str = "character special file 1:3\ncharacter special file 1:3\n";

/// CVE-2025-31133: the container's `/dev/null`, which files are masked with, is replaced by a link to a file of procfs, by
/// whoever has the `/dev` in a volume, before or while a container starts. Instead of the null device the masked path
/// showed that file then, and at a place where it was not read-only: of `/proc/sys/kernel/core_pattern` that is the node.
/// If there was nothing in the place of `/dev/null`, there was no mask.
#[test]
fn cve_2025_31133_masks_are_the_null_device() {
    attack(async |world| {
        let image = world.lab.busybox().await;
        let volume = world.volume("dev");
        let victim = |name: &str| with_volume(confined(pods::script(name, &image, SHOW)), &volume, "/dev");
        let null = volume.join("null");
        assert_eq!(world.attempt(&victim("none")).await.unwrap(), MASKED, "without a null device");
        symlink(WANTED, &null).unwrap();
        assert_eq!(world.attempt(&victim("link")).await.unwrap(), MASKED, "with a link");
        fs::remove_file(&null).unwrap();
        fs::write(&null, "an ordinary file\n").unwrap();
        assert_eq!(world.attempt(&victim("file")).await.unwrap(), MASKED, "with a file");
        fs::remove_file(&null).unwrap();
        fs::create_dir(&null).unwrap();
        assert_eq!(world.attempt(&victim("directory")).await.unwrap(), MASKED, "with a directory");
        fs::remove_dir(&null).unwrap();

        world.attempt(&with_volume(pods::script("mknod", &image, "mknod /v/null c 1 3"), &volume, "/v")).await.unwrap();
        symlink(WANTED, volume.join("link")).unwrap();
        world.hostile(&["swap", "/dev-volume/null", "/dev-volume/link"], &[(&volume, "/dev-volume")]).await;
        for number in 0..STARTS {
            assert_eq!(world.attempt(&victim(&format!("race-{number}"))).await.unwrap(), MASKED, "start {number}");
        }
    });
}

/// CVE-2025-52565: the terminal, `/dev/pts/N`, is replaced by a link to a file of procfs before it is mounted on
/// `/dev/console`, or `/dev/console` is a link to one: the file comes to be where it can be written, because that was before
/// masks and read-only paths, or the terminal covers it.
#[test]
fn cve_2025_52565_the_console_is_the_terminal() {
    attack(async |world| {
        let layer = Layer::new().dir("dev", 0o755).symlink("dev/console", WANTED).symlink("dev/ptmx", WANTED);
        let image = world.image_of("console", layer).await;
        let terminal = |name: &str| {
            let script =
                "stat -c '%F %t' /dev/console; stat -L -c '%F %t' /proc/self/fd/0; cat /proc/sys/kernel/ostype";
            let mut container = confined(pods::script(name, &image, &format!("{script}; {SHOW}")));
            container.tty = true;
            container.stdin = true;
            container
        };
        let log = world.attempt(&terminal("image")).await.unwrap().replace('\r', "");
        let device = "character special file 88\n";
        assert_eq!(log, format!("{device}{device}Linux\n{MASKED}"));

        // `/dev/pts` of an attacker's: links in the places of the terminals, and of what makes them.
        let false_pts = world.volume("pts");
        for name in ["ptmx", "0", "1", "2"] {
            symlink(WANTED, false_pts.join(name)).unwrap();
        }
        let refused = world.attempt(&with_volume(terminal("pts"), &false_pts, "/dev/pts")).await.unwrap_err();
        assert!(refused.message().contains("/dev/pts is not a devpts"), "{refused}");

        // The node's terminals in a `/dev` of an attacker's, and a link in the place of the console.
        let dev = world.volume("dev");
        fs::create_dir(dev.join("pts")).unwrap();
        symlink(WANTED, dev.join("console")).unwrap();
        let container = with_volume(terminal("dev"), &dev, "/dev");
        let container = with_volume(container, std::path::Path::new("/dev/pts"), "/dev/pts");
        let outcome = world.attempt(&container).await;
        assert!(outcome.as_ref().is_err_and(|refused| refused.message().contains("/dev/console")), "{outcome:?}");

        let contested = world.volume("contested");
        fs::create_dir(contested.join("pts")).unwrap();
        fs::write(contested.join("console"), "").unwrap();
        symlink(WANTED, contested.join("link")).unwrap();
        world.hostile(&["swap", "/vol/console", "/vol/link"], &[(&contested, "/vol")]).await;
        for number in 0..STARTS {
            let container = with_volume(terminal(&format!("race-{number}")), &contested, "/dev");
            let container = with_volume(container, std::path::Path::new("/dev/pts"), "/dev/pts");
            let Ok(log) = world.attempt(&container).await else { continue };
            assert!(log.replace('\r', "").ends_with(&format!("Linux\n{MASKED}")), "start {number}: {log}");
        }
    });
}
