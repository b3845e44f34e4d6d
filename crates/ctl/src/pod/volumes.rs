//! Volumes: directories that are made or checked on this machine, and the mounts that show them to a container.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Component, Path, PathBuf},
};

use corten_cri::v1;
use rustix::fs::{Gid, Mode, OFlags};

use crate::manifest::schema::{Container, HostPath, HostPathType, Propagation, Spec, Volume, VolumeMount};

/// What is wrong with a volume, or could not be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A hostPath volume is not what the manifest says.
    #[error("volume {volume}: {path} is not a {expected}", path = path.display())]
    Type {
        /// The volume.
        volume: String,
        /// Its path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A subPath goes through something that is no directory, or a link.
    #[error("volume {volume}: subPath {sub_path:?}: {source}")]
    SubPath {
        /// The volume.
        volume: String,
        /// The subPath.
        sub_path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something is mounted in a directory that was to be removed.
    #[error("remove {path}: {mount} is mounted in it", path = path.display(), mount = mount.display())]
    Mounted {
        /// The directory.
        path: PathBuf,
        /// The mount point.
        mount: PathBuf,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}

/// Makes or checks what every volume of the pod stands for. `data` is the pod's own directory.
///
/// # Errors
/// [`Error`], naming the volume and the path.
pub fn prepare(spec: &Spec, data: &Path) -> Result<(), Error> {
    if spec.volumes.iter().any(|volume| volume.host_path.is_none()) {
        // What is below is writable for everyone in the pod, and for nobody else on the node.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed("create", data))?;
    }
    for volume in &spec.volumes {
        match &volume.host_path {
            Some(host) => check_host_path(&volume.name, host)?,
            None => make_empty_dir(&empty_dir(data, &volume.name), spec.security_context.fs_group)?,
        }
    }
    Ok(())
}

/// The mounts of one container, with their sub-paths made as they are now.
///
/// # Errors
/// [`Error::SubPath`] when a sub-path leads through a link, which a container that ran before may have put there.
pub fn mounts(container: &Container, spec: &Spec, data: &Path) -> Result<Vec<v1::Mount>, Error> {
    container
        .volume_mounts
        .iter()
        .filter_map(|mount| spec.volumes.iter().find(|volume| volume.name == mount.name).map(|volume| (mount, volume)))
        .map(|(mount, volume)| one_mount(mount, volume, data))
        .collect()
}

/// Removes a pod's data directory with everything in it. One that does not exist is no error.
///
/// # Errors
/// [`Error::Mounted`] when something is mounted below: its content is somebody else's.
pub fn remove(directory: &Path) -> Result<(), Error> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").map_err(failed("read", Path::new("/proc/self/mountinfo")))?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    if let Some(mount) = points.into_iter().find(|point| point.starts_with(directory)) {
        return Err(Error::Mounted { path: directory.to_owned(), mount });
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", directory)(error)),
        _ => Ok(()),
    }
}

fn empty_dir(data: &Path, volume: &str) -> PathBuf {
    data.join("volumes").join(volume)
}

/// Writable for everyone, as the kubelet makes it; with an fsGroup it and what is made in it belong to that group.
fn make_empty_dir(path: &Path, fs_group: Option<u32>) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(failed("create", path))?;
    if let Some(group) = fs_group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))
            .map_err(io::Error::from)
            .map_err(failed("chown", path))?;
    }
    let mode = if fs_group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))
}

fn check_host_path(volume: &str, host: &HostPath) -> Result<(), Error> {
    let path = Path::new(&host.path);
    match host.kind {
        HostPathType::DirectoryOrCreate if !path.exists() => {
            return fs::create_dir_all(path).map_err(failed("create", path));
        }
        HostPathType::FileOrCreate if !path.exists() => {
            return fs::File::create_new(path).map(drop).map_err(failed("create", path));
        }
        _ => {}
    }
    let found = fs::metadata(path).map_err(failed("look at", path))?.file_type();
    let (fits, expected) = match host.kind {
        HostPathType::Unchecked => return Ok(()),
        HostPathType::Directory | HostPathType::DirectoryOrCreate => (found.is_dir(), "directory"),
        HostPathType::File | HostPathType::FileOrCreate => (found.is_file(), "file"),
        HostPathType::Socket => (found.is_socket(), "socket"),
        HostPathType::CharDevice => (found.is_char_device(), "character device"),
        HostPathType::BlockDevice => (found.is_block_device(), "block device"),
    };
    if fits { Ok(()) } else { Err(Error::Type { volume: volume.to_owned(), path: path.to_owned(), expected }) }
}

fn one_mount(mount: &VolumeMount, volume: &Volume, data: &Path) -> Result<v1::Mount, Error> {
    let source = match &volume.host_path {
        Some(host) => PathBuf::from(&host.path),
        None => empty_dir(data, &volume.name),
    };
    let source = if mount.sub_path.is_empty() {
        source
    } else {
        sub_path(&source, &mount.sub_path).map_err(|source| Error::SubPath {
            volume: volume.name.clone(),
            sub_path: mount.sub_path.clone(),
            source,
        })?
    };
    let propagation = match mount.mount_propagation {
        Propagation::None => v1::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    Ok(v1::Mount {
        container_path: mount.mount_path.clone(),
        host_path: source.display().to_string(),
        readonly: mount.read_only,
        propagation: propagation.into(),
        ..v1::Mount::default()
    })
}

/// The path of `sub` in `base`, following no link below `base`; directories that are missing are made, with the mode
/// and owner of the one they are in.
fn sub_path(base: &Path, sub: &str) -> io::Result<PathBuf> {
    let names: Vec<_> = Path::new(sub)
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None })
        .collect();
    let mut directory = rustix::fs::open(base, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for (index, name) in names.iter().enumerate() {
        let last = index + 1 == names.len();
        directory = step(&directory, name, last)?;
    }
    Ok(names.iter().fold(base.to_owned(), |path, name| path.join(name)))
}

fn step(directory: &OwnedFd, name: &std::ffi::OsStr, last: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(directory, name, flags, Mode::empty());
    let found = match open() {
        Err(rustix::io::Errno::NOENT) => {
            make_like_parent(directory, name)?;
            open()?
        }
        other => other?,
    };
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    match kind {
        rustix::fs::FileType::Directory => Ok(found),
        rustix::fs::FileType::Symlink => Err(io::Error::other("it goes through a symbolic link")),
        _ if last => Ok(found),
        _ => Err(io::ErrorKind::NotADirectory.into()),
    }
}

fn make_like_parent(directory: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
    // By its path in /proc: the descriptor is O_PATH, and metadata of the link's target is wanted.
    use std::os::fd::AsRawFd;
    let parent = fs::metadata(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
    rustix::fs::fchown(&made, None, Some(Gid::from_raw(parent.gid())))?;
    made.set_permissions(fs::Permissions::from_mode(parent.mode() & 0o7777))
}

/// proc(5): space, tab, newline and backslash are octal in mountinfo.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The node's memory in bytes, from /proc/meminfo.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read or says nothing.
pub fn memory_capacity() -> Result<i64, Error> {
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<i64>().ok())
        .map(|kib| kib.saturating_mul(1024))
        .ok_or_else(|| failed("read", path)(io::Error::other("no MemTotal")))
}

/// A random uid, as the kernel makes them.
///
/// # Errors
/// [`Error::Io`] when /proc is not there.
pub fn fresh_uid() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    Ok(fs::read_to_string(path).map_err(failed("read", path))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    fn host(path: &Path, kind: HostPathType) -> HostPath {
        HostPath { path: path.display().to_string(), kind }
    }

    #[test]
    fn host_paths_are_what_the_manifest_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        check_host_path("v", &host(&file, HostPathType::FileOrCreate)).unwrap();
        check_host_path("v", &host(&file, HostPathType::File)).unwrap();
        let error = check_host_path("v", &host(&file, HostPathType::Directory)).unwrap_err().to_string();
        assert_eq!(error, format!("volume v: {} is not a directory", file.display()));
        check_host_path("v", &host(&dir.path().join("a/b"), HostPathType::DirectoryOrCreate)).unwrap();
        assert!(dir.path().join("a/b").is_dir());
        check_host_path("v", &host(Path::new("/dev/null"), HostPathType::CharDevice)).unwrap();
        assert!(check_host_path("v", &host(Path::new("/dev/null"), HostPathType::BlockDevice)).is_err());
        assert!(check_host_path("v", &host(&dir.path().join("none"), HostPathType::Unchecked)).is_err());
    }

    #[test]
    fn a_sub_path_is_made_like_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        make_empty_dir(&dir.path().join("v"), None).unwrap();
        let path = sub_path(&dir.path().join("v"), "a/./b").unwrap();
        assert_eq!(path, dir.path().join("v/a/b"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    }

    #[test]
    fn a_sub_path_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc", dir.path().join("link")).unwrap();
        for sub in ["link", "link/passwd", "link/../link"] {
            assert!(sub_path(dir.path(), sub).is_err(), "{sub}");
        }
    }

    #[test]
    fn a_sub_path_may_end_in_a_file_but_not_go_through_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(sub_path(dir.path(), "file").is_ok());
        assert!(sub_path(dir.path(), "file/more").is_err());
    }

    #[test]
    fn removing_is_complete_and_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("uid");
        make_empty_dir(&empty_dir(&data, "scratch"), None).unwrap();
        fs::write(empty_dir(&data, "scratch").join("file"), "x").unwrap();
        remove(&data).unwrap();
        assert!(!data.exists());
        remove(&data).unwrap();
    }

    #[test]
    fn a_directory_with_a_mount_in_it_is_not_removed() {
        let error = remove(Path::new("/proc")).unwrap_err().to_string();
        assert!(error.starts_with("remove /proc: /proc"), "{error}");
    }
}
