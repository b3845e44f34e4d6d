//! Mount destinations that somebody changes while they are mounted on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use corten_e2e::{image::Layer, pods};

use crate::world::{World, attack, with_volume};

/// How many containers are started while the attacker is at work.
const STARTS: usize = 20;

/// A volume in which an attacker's container exchanges the directory `place` for a link, for ever; where it is on the node.
async fn contested(world: &World<'_>, link: &Path) -> std::path::PathBuf {
    let volume = world.volume("contested");
    fs::create_dir(volume.join("place")).unwrap();
    symlink(link, volume.join("link")).unwrap();
    world.hostile(&["swap", "/vol/place", "/vol/link"], &[(&volume, "/vol")]).await;
    volume
}

/// CVE-2021-30465: two containers share a volume, and one has another volume mounted in a directory of it, which the other
/// exchanges for a symbolic link at the moment between the look at the path and the mount. With a link to a path of the
/// node's the mount came to lie outside of the root, and the one after it could show the node's files inside.
#[test]
fn cve_2021_30465_mounts_stay_inside_whoever_exchanges_their_destination() {
    attack(async |world| {
        let host = world.host();
        let volume = contested(&world, &host).await;
        let inner = world.volume("inner");
        fs::write(inner.join("marker"), "the inner volume\n").unwrap();
        let second = world.volume("second");
        let image = world.image_of("raced", Layer::new().dir("vol", 0o755)).await;
        let script = format!(
            "awk '$4 ~ /volumes.inner$/ {{print $5}}' /proc/self/mountinfo; \
             tries=0; until for at in /vol/place/at /vol/link/at {}/at; do cat $at/marker 2>/dev/null && break; done; do \
             tries=$((tries + 1)); [ $tries -lt 2000 ] || break; done; \
             find / -xdev -name secret; find / -xdev -name cortend.lock; ls -d /etc/shadow /boot /usr/bin 2>/dev/null",
            host.display()
        );
        let mut places = std::collections::BTreeMap::<String, usize>::new();
        for number in 0..STARTS {
            let container = pods::script(&format!("victim-{number}"), &image, &script);
            let container = with_volume(container, &volume, "/vol");
            let container = with_volume(container, &inner, "/vol/place/at");
            let container = with_volume(container, &second, "/vol/place/at/below");
            // A destination that does not stand still may also be refused.
            let Ok(log) = world.attempt(&container).await else { continue };
            let lines: Vec<&str> = log.lines().collect();
            let [place, "the inner volume"] = lines[..] else { panic!("start {number}: {log}") };
            *places.entry(place.replace(host.to_str().unwrap(), "HOST")).or_default() += 1;
        }
        eprintln!("mounted at: {places:?}");
        assert!(!places.is_empty(), "no container was started");
    });
}

/// CVE-2024-45310: the same race for what is made where nothing is mounted yet. The launcher makes missing directories, and
/// files for files to be mounted on, below a directory that another container exchanges for a link: following it by its
/// path, it made empty files and directories anywhere on the node.
#[test]
fn cve_2024_45310_nothing_is_made_on_the_node() {
    attack(async |world| {
        let host = world.host();
        let volume = contested(&world, &host).await;
        let inner = world.volume("inner");
        fs::write(inner.join("file"), "").unwrap();
        let image = world.image_of("raced", Layer::new().dir("vol", 0o755)).await;
        let mut started = 0;
        for number in 0..STARTS {
            let container = pods::script(&format!("victim-{number}"), &image, "true");
            let container = with_volume(container, &volume, "/vol");
            let container = with_volume(container, &inner, &format!("/vol/place/directory-{number}/of/many"));
            let container = with_volume(container, &inner.join("file"), &format!("/vol/place/file-{number}"));
            started += usize::from(world.attempt(&container).await.is_ok());
            let made: Vec<_> = fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(made, ["secret"], "start {number}");
        }
        assert!(started > 0, "no container was started");
        let made = ["place", "link"].iter().filter_map(|name| fs::read_dir(volume.join(name)).ok()).flatten().count();
        assert!(made > 0, "nothing was made in the volume either: the attack was not at work");
    });
}
