//! A pod's network namespace: one bind-mounted file, as `ip netns` and CNI plugins expect it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FsWord};
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::{link, netlink};
use crate::user_namespace::{self, Mappings};

const NSFS_MAGIC: FsWord = 0x6e73_6673;

/// Why a network namespace could not be made, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("network namespace {}: {operation}: {source}", path.display())]
    Io {
        /// The namespace's file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// Loopback could not be brought up.
    #[error("network namespace {}: {source}", path.display())]
    Loopback {
        /// The namespace's file.
        path: PathBuf,
        /// What the kernel answered.
        source: netlink::Error,
    },
    /// There is a namespace at that path already: somebody else's, or one that was not removed.
    #[error("network namespace {}: there is one already", path.display())]
    Exists {
        /// The namespace's file.
        path: PathBuf,
    },
    /// The thread that worked inside the namespace panicked.
    #[error("network namespace {}: the work inside it panicked", path.display())]
    Panicked {
        /// The namespace's file.
        path: PathBuf,
    },
}

impl Error {
    fn io<E: Into<io::Error>>(path: &Path, operation: &'static str) -> impl FnOnce(E) -> Self {
        move |e| Error::Io { path: path.to_owned(), operation, source: e.into() }
    }
}

/// Makes a network namespace, brings its loopback up, and keeps it alive by a bind mount on `path`.
///
/// An empty file that an interrupted create left there is used; a namespace that is there already is an error. The
/// directory is made if need be, without a mount of its own: what is created here is the only mount.
pub fn create(path: &Path) -> Result<(), Error> {
    create_by(path, || make(path))
}

/// As [`create`], with a network namespace that a new user namespace owns: who is root there may administer it. Nothing
/// but the network namespace keeps the user namespace alive.
pub fn create_owned(path: &Path, users: &Mappings) -> Result<(), Error> {
    create_by(path, || make_owned(path, users))
}

fn create_by(path: &Path, make: impl FnOnce() -> Result<(), Error> + Send) -> Result<(), Error> {
    if exists(path) {
        return Err(Error::Exists { path: path.to_owned() });
    }
    if let Some(directory) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(Error::io(path, "create its directory"))?;
    }
    let file = OpenOptions::new().write(true).create(true).mode(0o444).custom_flags(libc::O_NOFOLLOW).open(path);
    file.map_err(Error::io(path, "create the file"))?;
    let made = on_a_thread(path, make);
    if made.is_err() {
        // Best effort: the first error is the one to tell.
        let _ = remove(path);
    }
    made
}

fn make(path: &Path) -> Result<(), Error> {
    unshare_network().map_err(Error::io(path, "unshare"))?;
    keep(path)
}

fn make_owned(path: &Path, users: &Mappings) -> Result<(), Error> {
    let network = user_namespace::make_network(users).map_err(Error::io(path, "make a user namespace"))?;
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(network.as_fd(), kind).map_err(Error::io(path, "enter"))?;
    keep(path)
}

/// Readies the calling thread's network namespace and binds it to the file.
fn keep(path: &Path) -> Result<(), Error> {
    link::bring_up_loopback().map_err(|source| Error::Loopback { path: path.to_owned(), source })?;
    rustix::mount::mount_bind("/proc/thread-self/ns/net", path).map_err(Error::io(path, "bind mount"))
}

/// Removes a network namespace's mount and file. What is gone already is fine.
///
/// The namespace itself ends with the last process and descriptor in it.
pub fn remove(path: &Path) -> Result<(), Error> {
    // A file can be mounted on more than once when two creates raced; EINVAL says that there is no mount (left).
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
            Err(e) => return Err(Error::io(path, "unmount")(e)),
        }
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "remove the file")(e)),
        _ => Ok(()),
    }
}

/// True where `path` is a namespace and not merely a file that was to become one.
pub fn exists(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == NSFS_MAGIC)
}

/// Runs `work` inside the network namespace at `path`, on a thread of its own.
///
/// What `work` opens stays in that namespace. The calling thread does not change.
pub fn enter<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let namespace = open(path)?;
    on_a_thread(path, || {
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).map_err(Error::io(path, "enter"))?;
        Ok(work())
    })
}

/// Opens the namespace, which keeps it alive for as long as the descriptor is open.
pub fn open(path: &Path) -> Result<File, Error> {
    let file = rustix::fs::openat(CWD, path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, 0.into());
    file.map(File::from).map_err(Error::io(path, "open"))
}

fn on_a_thread<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work);
        let thread = thread.map_err(Error::io(path, "start a thread"))?;
        thread.join().unwrap_or_else(|_| Err(Error::Panicked { path: path.to_owned() }))
    })
}

fn unshare_network() -> io::Result<()> {
    // SAFETY: a network namespace is the thread's own; nothing else in the process is affected.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::testing::{TestHost, run};
    use super::*;

    #[test]
    fn a_namespace_is_one_mount_with_loopback_up_and_can_be_removed_twice() {
        TestHost::run(|| {
            let host = TestHost::new();
            let path = host.path("netns/a");
            let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
            let before = mounts();
            create(&path).unwrap();
            assert_eq!(mounts(), before + 1);
            assert!(exists(&path));
            assert!(enter(&path, || run("ip -o addr show dev lo")).unwrap().contains("127.0.0.1/8"));
            assert!(!run("ip -o link").contains("eth0"));
            for _ in 0..2 {
                remove(&path).unwrap();
                assert!(!exists(&path) && !path.exists());
            }
            assert_eq!(mounts(), before);
        });
    }

    #[test]
    fn an_interrupted_create_can_be_repeated_and_a_live_namespace_is_not_replaced() {
        TestHost::run(|| {
            let host = TestHost::new();
            let path = host.path("netns/a");
            fs::create_dir(host.path("netns")).unwrap();
            fs::write(&path, "").unwrap();
            create(&path).unwrap();
            let error = create(&path).unwrap_err().to_string();
            assert!(error.ends_with("netns/a: there is one already"), "{error}");
            assert!(exists(&path));
        });
    }

    #[test]
    fn work_inside_does_not_move_the_caller_and_errors_name_the_path() {
        TestHost::run(|| {
            let host = TestHost::new();
            let path = host.path("netns/a");
            create(&path).unwrap();
            let here = || fs::read_link("/proc/thread-self/ns/net").unwrap();
            assert_ne!(enter(&path, here).unwrap(), here());
            fs::write(host.path("file"), "").unwrap();
            for (name, operation) in [("none", "open"), ("file", "enter")] {
                let error = enter(&host.path(name), || ()).unwrap_err().to_string();
                assert!(error.contains(&format!("{name}: {operation}: ")), "{error}");
            }
            let error = enter(&path, || panic!("on purpose")).unwrap_err().to_string();
            assert!(error.contains("the work inside it panicked"), "{error}");
        });
    }

    #[test]
    fn one_with_a_user_namespace_is_owned_by_it_and_keeps_it() {
        TestHost::run(|| {
            let host = TestHost::new();
            let path = host.path("netns/a");
            let range = user_namespace::IdMapping { inside: 0, outside: 100_000, length: 65536 };
            create_owned(&path, &Mappings { uids: vec![range], gids: vec![range] }).unwrap();
            let users = user_namespace::owner(open(&path).unwrap().as_fd()).unwrap();
            let own = File::open("/proc/self/ns/user").unwrap();
            let inode = |fd: &dyn AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
            assert_ne!(inode(&users), inode(&own));
            assert!(enter(&path, || run("ip -o addr show dev lo")).unwrap().contains("127.0.0.1/8"));
            remove(&path).unwrap();
            assert!(!path.exists());
        });
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        TestHost::run(|| {
            let host = TestHost::new();
            fs::create_dir(host.path("netns")).unwrap();
            fs::write(host.path("victim"), "kept").unwrap();
            std::os::unix::fs::symlink(host.path("victim"), host.path("netns/a")).unwrap();
            assert!(create(&host.path("netns/a")).is_err());
            remove(&host.path("netns/a")).unwrap();
            assert_eq!(fs::read_to_string(host.path("victim")).unwrap(), "kept");
        });
    }
}
