//! What of the node a container's mounts and devices come from: the part of making a spec that reads the node.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corten_host::selinux;
use corten_monitor::protocol::image_source;

use super::HostDevice;
use super::devices;
use crate::check;
use crate::container::config::{ContainerConfig, Mount, Propagation, Source};
use crate::error::{Error, Result};

/// What a container's mounts and devices come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// For each mount of the config, in order, its source without symbolic links, or what stands for its image.
    pub mounts: Vec<PathBuf>,
    /// The devices; for a privileged container all of the node's.
    pub devices: Vec<HostDevice>,
}

/// Finds what a container's mounts and devices come from. A mount's source that does not exist is made, as a directory:
/// what clusters have come to rely on.
///
/// # Errors
/// [`Error::Invalid`] naming the mount or device that cannot be found, made or shared.
pub fn prepare_sources(config: &ContainerConfig) -> Result<Sources> {
    let table = match config.mounts.iter().any(|mount| mount.travels() != Propagation::Private) {
        true => fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| Error::node("read /proc/self/mountinfo", error))?,
        false => String::new(),
    };
    let mut mounts = Vec::with_capacity(config.mounts.len());
    let mut images = 0;
    for (index, mount) in config.mounts.iter().enumerate() {
        let field = format!("config.mounts[{index}].host_path");
        mounts.push(match &mount.source {
            Source::Host(path) => {
                let source = find_or_make(&field, path)?;
                check_propagation(&field, mount, &source, &table)?;
                source
            }
            Source::Image(_) => {
                images += 1;
                image_source(images - 1)
            }
        });
    }
    let devices = match config.security.privileged {
        true => devices::all_and(&config.devices)?,
        false => devices::requested(&config.devices)?,
    };
    Ok(Sources { mounts, devices })
}

/// Gives the sources of mounts that ask for it the SELinux label of the container's files; without one there is nothing
/// to do. Images are everybody's, and are left as they are.
///
/// # Errors
/// [`Error::Invalid`] naming the mount whose source must not be labelled, or cannot be.
pub fn relabel_sources(config: &ContainerConfig, sources: &Sources, label: Option<&str>) -> Result<()> {
    let Some(label) = label else { return Ok(()) };
    let mounts = config.mounts.iter().zip(&sources.mounts).enumerate();
    for (index, (_, source)) in mounts.filter(|(_, (mount, _))| mount.selinux_relabel && mount.image().is_none()) {
        selinux::relabel(source, label).map_err(|error| {
            let field = format!("config.mounts[{index}].selinux_relabel");
            check::invalid(&field, "true", error.to_string())
        })?;
    }
    Ok(())
}

fn find_or_make(field: &str, path: &Path) -> Result<PathBuf> {
    let shown = path.display().to_string();
    let refuse = |what: &str, error: std::io::Error| check::invalid(field, &shown, format!("{what}: {error}"));
    match fs::canonicalize(path) {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(|error| refuse("does not exist and cannot be made", error))?;
            fs::canonicalize(path).map_err(|error| refuse("cannot be resolved", error))
        }
        Err(error) => Err(refuse("cannot be resolved", error)),
    }
}

/// The kernel takes a shared or slave mount of a source that is not shared, and then propagates nothing: say so instead.
fn check_propagation(field: &str, mount: &Mount, source: &Path, table: &str) -> Result<()> {
    let peers = match mount.propagation {
        Propagation::Private => return Ok(()),
        Propagation::HostToContainer | Propagation::Bidirectional => Peers::of(source, table),
    };
    let enough = match mount.propagation {
        Propagation::Bidirectional => peers.shared,
        Propagation::Private | Propagation::HostToContainer => peers.shared || peers.slave,
    };
    let shown = source.display().to_string();
    match enough {
        true => Ok(()),
        false => Err(check::invalid(field, &shown, "is not on a shared mount, which this mount's propagation needs")),
    }
}

/// Whether mounts below a path come from, or go to, elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Peers {
    shared: bool,
    slave: bool,
}

impl Peers {
    /// Of the mount that holds `path`: the last one with the longest mount point above it
    /// (proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, "-", ...).
    fn of(path: &Path, table: &str) -> Self {
        let mut best = (0, Self::default());
        for line in table.lines() {
            let mut fields = line.split(' ').skip(4);
            let Some(point) = fields.next().map(unescape) else { continue };
            let depth = point.components().count();
            if !path.starts_with(&point) || depth < best.0 {
                continue;
            }
            let mut peers = Self::default();
            for field in fields.skip(1).take_while(|field| *field != "-") {
                peers.shared |= field.starts_with("shared:");
                peers.slave |= field.starts_with("master:");
            }
            best = (depth, peers);
        }
        best.1
    }
}

/// The kernel writes space, tab, line end and backslash as `\` and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::container::config::{Device, MountAccess};

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime - ext4 /dev/root rw
22 21 0:30 / /var/lib rw shared:5 - ext4 /dev/a rw
23 22 0:31 / /var/lib/with\\040space rw shared:7 master:5 - ext4 /dev/a rw
24 22 0:31 / /var/lib/slave rw master:5 - ext4 /dev/a rw
";

    #[test]
    fn the_nearest_mount_says_whether_it_is_shared() {
        let of = |path: &str| Peers::of(Path::new(path), TABLE);
        assert_eq!(of("/etc"), Peers { shared: false, slave: false });
        assert_eq!(of("/var/lib/x/y"), Peers { shared: true, slave: false });
        assert_eq!(of("/var/lib/with space/y"), Peers { shared: true, slave: true });
        assert_eq!(of("/var/lib/slave"), Peers { shared: false, slave: true });
        assert_eq!(of("/var/library"), Peers { shared: false, slave: false });
    }

    #[test]
    fn propagation_that_could_not_happen_is_refused() {
        let check = |path: &str, propagation| {
            let mount = mount(Path::new(path), propagation);
            check_propagation("f", &mount, Path::new(path), TABLE).is_ok()
        };
        assert!(check("/etc", Propagation::Private));
        assert!(!check("/etc", Propagation::HostToContainer));
        assert!(!check("/etc", Propagation::Bidirectional));
        assert!(check("/var/lib/slave", Propagation::HostToContainer));
        assert!(!check("/var/lib/slave", Propagation::Bidirectional));
        assert!(check("/var/lib", Propagation::Bidirectional));
    }

    fn mount(host_path: &Path, propagation: Propagation) -> Mount {
        Mount {
            container_path: "/m".into(),
            source: Source::Host(host_path.to_path_buf()),
            access: MountAccess::ReadWrite,
            propagation,
            selinux_relabel: false,
            users: None,
            options: Vec::new(),
        }
    }

    #[test]
    fn missing_sources_are_made_and_links_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        let config = ContainerConfig {
            mounts: [base.join("link"), base.join("new/deep")]
                .iter()
                .map(|path| mount(path, Propagation::Private))
                .collect(),
            ..Default::default()
        };
        let sources = prepare_sources(&config).unwrap();
        assert_eq!(sources.mounts, [base.join("real"), base.join("new/deep")]);
        assert!(base.join("new/deep").is_dir());

        fs::write(base.join("file"), "").unwrap();
        let bad = ContainerConfig { mounts: vec![mount(&base.join("file/x"), Propagation::Private)], ..config };
        let error = prepare_sources(&bad).unwrap_err().to_string();
        assert!(error.starts_with("invalid config.mounts[0].host_path"), "{error}");
    }

    #[test]
    fn sources_that_ask_for_it_are_labelled() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| dir.path().join(name);
        let asking = |name: &str| Mount { selinux_relabel: true, ..mount(&of(name), Propagation::Private) };
        let config =
            ContainerConfig { mounts: vec![mount(&of("a"), Propagation::Private), asking("b")], ..Default::default() };
        let sources = prepare_sources(&config).unwrap();
        let label = |name: &str| rustix::fs::lgetxattr(of(name), "security.selinux", &mut [0; 64][..]).ok();
        relabel_sources(&config, &sources, None).unwrap();
        assert_eq!((label("a"), label("b")), (None, None));
        relabel_sources(&config, &sources, Some("u:o:t:s0")).unwrap();
        assert_eq!((label("a"), label("b")), (None, Some("u:o:t:s0".len())));
        let own = Sources { mounts: vec![of("a"), "/etc".into()], ..sources };
        let error = relabel_sources(&config, &own, Some("u:o:t:s0")).unwrap_err().to_string();
        assert!(error.starts_with("invalid config.mounts[1].selinux_relabel \"true\": /etc must not be"), "{error}");
    }

    #[test]
    fn devices_are_read_from_the_node() {
        let device = |path: &str| Device {
            container_path: "/dev/mine".into(),
            host_path: path.into(),
            permissions: "rw".into(),
        };
        let of = |path| prepare_sources(&ContainerConfig { devices: vec![device(path)], ..Default::default() });
        let found = of("/dev/null").unwrap().devices;
        assert_eq!(found.len(), 1);
        let null = found.first().unwrap();
        assert_eq!((null.major, null.minor, null.access.as_str()), (1, 3, "rw"));
        assert_eq!(null.path, Path::new("/dev/mine"));
        let inside = of("/dev").unwrap().devices;
        assert!(inside.iter().any(|device| device.path == Path::new("/dev/mine/null")));
        assert!(!inside.iter().any(|device| device.path.starts_with("/dev/mine/pts")));
        for bad in ["/dev/there-is-no-such-device", "/proc/self/status"] {
            let error = of(bad).unwrap_err().to_string();
            assert!(error.starts_with("invalid config.devices[0].host_path"), "{error}");
        }
    }
}
