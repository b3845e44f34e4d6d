//! What is mounted in a container.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corten_monitor::protocol::POD_SHM;
use oci_spec::runtime::Mount;

use super::SpecInput;
use super::users::ranges;
use crate::container::config::{ContainerConfig, MountAccess, Propagation};
use crate::security::{NamespaceOptions, PodNamespace};

/// All mounts, in the order they are to be made: the runtime's own, then the pod's and the request's, parents before
/// children. What the request mounts takes the place of what the runtime would mount there.
pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let asked: BTreeSet<&Path> = input.config.mounts.iter().map(|mount| mount.container_path.as_path()).collect();
    let own_dev = asked.contains(Path::new("/dev"));
    let default = defaults(input).into_iter().filter(|mount| {
        let at = mount.destination().as_path();
        let shadowed = own_dev && at.starts_with("/dev");
        !shadowed && !asked.contains(at)
    });
    let of_pod = pod_mounts(input).into_iter().filter(|mount| !asked.contains(mount.destination().as_path()));
    let mut added: Vec<Mount> = of_pod.collect();
    added.extend(requested(input));
    added.sort_by_key(|mount| mount.destination().components().count());
    default.chain(added).collect()
}

/// The file systems that every container has.
fn defaults(input: &SpecInput<'_>) -> Vec<Mount> {
    let access = if input.config.security.privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys(&input.pod.security.namespaces, access),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}

/// A user namespace can show the devices of a network namespace that it owns, and those of the node's only as the
/// node shows them, where nothing is its to write.
fn sys(pod: &NamespaceOptions, access: &str) -> Mount {
    match (&pod.users, pod.network) {
        (Some(_), PodNamespace::Node) => {
            mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", "rro"])
        }
        _ => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
    }
}

/// The pod's shared memory and files.
fn pod_mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let shm = match input.pod.security.namespaces.ipc {
        PodNamespace::Pod => POD_SHM,
        PodNamespace::Node => "/dev/shm",
    };
    let access = if input.config.security.readonly_rootfs { "ro" } else { "rw" };
    let files = [
        ("/etc/hosts", input.files.hosts),
        ("/etc/hostname", input.files.hostname),
        ("/etc/resolv.conf", input.files.resolv_conf),
    ];
    let files = files.into_iter().filter_map(|(at, file)| Some((at, file?)));
    let files = files.map(|(at, file)| mount(at, "bind", file, &["rbind", "rprivate", access]));
    let shm = mount("/dev/shm", "bind", shm, &["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"]);
    std::iter::once(shm).chain(files).collect()
}

fn requested<'a>(input: &SpecInput<'a>) -> impl Iterator<Item = Mount> + use<'a> {
    input.config.mounts.iter().zip(&input.sources.mounts).map(|(wanted, source)| {
        let propagation = match wanted.travels() {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        let access = match (wanted.access, wanted.image()) {
            (MountAccess::ReadWrite, _) => "rw",
            (MountAccess::RecursiveReadOnly, None) => "rro",
            (MountAccess::ReadOnly, _) | (MountAccess::RecursiveReadOnly, Some(_)) => "ro",
        };
        let own = ["rbind", propagation, access].into_iter();
        let options: Vec<&str> = own.chain(wanted.options.iter().map(|option| option.name())).collect();
        let mut mount = mount(&wanted.container_path, "bind", source, &options);
        // Those of an image are mapped as the container's root is.
        if let (Some(mappings), None) = (&wanted.users, wanted.image()) {
            mount.set_uid_mappings(Some(ranges(&mappings.uids))).set_gid_mappings(Some(ranges(&mappings.gids)));
        }
        mount
    })
}

/// The propagation of the container's root: what the most open of its mounts needs.
pub(super) fn root_propagation(config: &ContainerConfig) -> Option<String> {
    let any = |propagation: Propagation| config.mounts.iter().any(|mount| mount.travels() == propagation);
    match (any(Propagation::Bidirectional), any(Propagation::HostToContainer)) {
        (true, _) => Some("rshared".to_owned()),
        (false, true) => Some("rslave".to_owned()),
        (false, false) => None,
    }
}

fn mount(at: impl AsRef<Path>, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(at.as_ref().to_path_buf())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source.as_ref())))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
