//! The container's root: an overlay that no mount table but the container's ever shows.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_host::kernel::Kernel;
use corten_host::mount::{self, Change, Filesystem, Propagation, attribute};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::errors::{Blame, node, refused};
use crate::overlay::{self, escaped};
use crate::protocol::{CallError, OverlayRoot};

/// The first kernel that takes the layers of an overlay one by one.
const ONE_BY_ONE: Kernel = Kernel { major: 6, minor: 7 };

/// A container's root, before it is part of a mount namespace.
#[derive(Debug)]
pub(super) enum Root {
    /// A detached overlay.
    Detached(OwnedFd),
    /// Kernels before 6.7 take at most 256 bytes of layers by fsconfig(2): the child shall mount in its own namespace.
    ByMount(CString, PathBuf),
}

impl Root {
    /// Makes the overlay, whose files may have a SELinux label, or decides that the child has to. In the launcher process,
    /// which sees the host's files.
    pub(super) fn prepare(overlay: &OverlayRoot, label: Option<&str>) -> Result<Self, CallError> {
        if overlay.lower.is_empty() {
            return Err(refused("root.lower: an overlay needs at least one layer"));
        }
        match detached(overlay, label) {
            Ok(fd) => Ok(Root::Detached(fd)),
            Err(error) if missing_layer(overlay).is_none() && is_old_kernel(&error) => {
                overlay::options(overlay, label).map(|(options, base)| Root::ByMount(options, base))
            }
            Err(error) => Err(node("mount the root", missing_layer(overlay).unwrap_or_else(|| error.to_string()))),
        }
    }

    /// As [`Root::prepare`], in the launcher process's own mount namespace, in which the layers' files have the owners that
    /// a user namespace gives them. There it is mounted on kernels that cannot do without, for the child could not:
    /// who mounts an overlay is who reaches its layers.
    pub(super) fn prepare_mapped(overlay: &OverlayRoot, label: Option<&str>) -> Result<Self, CallError> {
        let (options, base) = match Root::prepare(overlay, label)? {
            detached @ Root::Detached(_) => return Ok(detached),
            Root::ByMount(options, base) => (options, base),
        };
        let step = || "mount the root".to_owned();
        let back = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).node(step)?;
        rustix::process::chdir(&base).node(step)?;
        let at = overlay.work.as_path();
        rustix::mount::mount("overlay", at, "overlay", MountFlags::empty(), options.as_c_str()).node(step)?;
        rustix::process::fchdir(&back).node(step)?;
        mount::clone_path(at, false).map(Root::Detached).node(step)
    }

    /// Attaches the root over `/` of the caller's own mount namespace, where it is below no path yet: what is at `/`
    /// for the caller stays the host's until [`enter`].
    pub(super) fn attach(self) -> Result<OwnedFd, CallError> {
        let step = || "attach the root".to_owned();
        // Or the host's `/`, if it is shared, would get the container's root too. The mounts below keep their peers.
        let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
        mount::change_path(Path::new("/"), false, private).node(step)?;
        match self {
            Root::Detached(fd) => {
                mount::attach_path(&fd, Path::new("/")).node(step)?;
                Ok(fd)
            }
            Root::ByMount(options, base) => {
                rustix::process::chdir(&base).node(step)?;
                rustix::mount::mount("overlay", "/", "overlay", MountFlags::empty(), options.as_c_str()).node(step)?;
                // `/` itself is below the new mount; a step up from it lands on what is on top.
                rustix::fs::open("/..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).node(step)
            }
        }
    }
}

/// Makes the root the caller's `/`, takes everything of the host's away, and gives the root its propagation: only now,
/// because pivot_root(2) refuses a shared one.
pub(super) fn enter(root: BorrowedFd<'_>, propagation: Option<Propagation>) -> Result<(), CallError> {
    let step = || "enter the root".to_owned();
    // Opened before: "/" will be the new root, and the old one, which comes to lie on top of it, would have no path.
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).node(step)?;
    rustix::process::fchdir(root).node(step)?;
    rustix::process::pivot_root(".", ".").node(step)?;
    // Detaching it must not unmount the peers of its mounts on the host.
    let slave = Change { propagation: Some(Propagation::Slave), ..Change::default() };
    mount::change(old.as_fd(), true, slave).node(step)?;
    rustix::process::fchdir(&old).node(step)?;
    drop(old);
    rustix::mount::unmount(".", UnmountFlags::DETACH).node(step)?;
    rustix::process::chdir("/").node(step)?;
    // Its own peers do not exist, so it is private and a slave of nobody already.
    match propagation.filter(|p| matches!(p, Propagation::Shared | Propagation::Unbindable)) {
        Some(propagation) => {
            let change = Change { propagation: Some(propagation), ..Change::default() };
            mount::change_path(Path::new("/"), false, change).node(|| "change the root's propagation".into())
        }
        None => Ok(()),
    }
}

/// Makes the root read-only.
pub(super) fn lock(root: BorrowedFd<'_>) -> Result<(), CallError> {
    let change = Change { set: attribute::RDONLY, ..Change::default() };
    mount::change(root, false, change).node(|| "make the root read-only".into())
}

/// The overlay as a mount of no namespace.
fn detached(overlay: &OverlayRoot, label: Option<&str>) -> Result<OwnedFd, mount::Error> {
    let filesystem = Filesystem::open("overlay")?;
    filesystem.set("source", "overlay")?;
    filesystem.label(label)?;
    // Layers may be copied and restored elsewhere, and an index would tie the upper one to them.
    filesystem.set("index", "off")?;
    add_layers(&filesystem, &overlay.lower)?;
    // Unlike the layers these are no lists, but the kernel unescapes them all the same.
    filesystem.set("upperdir", escaped(&overlay.upper))?;
    filesystem.set("workdir", escaped(&overlay.work))?;
    filesystem.mount(0)
}

/// Since 6.7 one by one, as they are; before as one string of at most 256 bytes. Who asks an older kernel for the former gets
/// a line in its log each time.
fn add_layers(filesystem: &Filesystem, layers: &[PathBuf]) -> Result<(), mount::Error> {
    let mut layers = layers.iter();
    match layers.next() {
        Some(first) if Kernel::running() < ONE_BY_ONE => add_joined(filesystem, first, layers),
        first => first.into_iter().chain(layers).try_for_each(|layer| filesystem.set("lowerdir+", layer)),
    }
}

fn add_joined<'a>(
    filesystem: &Filesystem,
    first: &Path,
    others: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), mount::Error> {
    let mut joined = escaped(first);
    for layer in others {
        joined.push(":");
        joined.push(escaped(layer));
    }
    filesystem.set("lowerdir", joined)
}

/// Whether this is how an older kernel refuses a string that is too long for it, or has a comma in it.
fn is_old_kernel(error: &mount::Error) -> bool {
    matches!(error.source_error().raw_os_error(), Some(libc::EINVAL | libc::ENAMETOOLONG | libc::EOPNOTSUPP))
}

/// Which of the directories is not there, as a text.
fn missing_layer(overlay: &OverlayRoot) -> Option<String> {
    let all = overlay.lower.iter().chain([&overlay.upper, &overlay.work]);
    all.into_iter().find(|path| !path.is_dir()).map(|path| format!("{} is not a directory", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn layers(dir: &Path) -> OverlayRoot {
        for name in ["a", "b:,c", "upper,x", "work"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        std::fs::write(dir.join("a/file"), "a").unwrap();
        std::fs::write(dir.join("b:,c/file"), "b").unwrap();
        std::fs::write(dir.join("b:,c/other"), "other").unwrap();
        let lower = vec![dir.join("a"), dir.join("b:,c")];
        OverlayRoot { lower, upper: dir.join("upper,x"), work: dir.join("work"), directories: Vec::new() }
    }

    fn by_mount(overlay: &OverlayRoot) -> Root {
        let (options, base) = overlay::options(overlay, None).unwrap();
        Root::ByMount(options, base)
    }

    fn read(root: &OwnedFd, path: &str) -> String {
        let file = rustix::fs::openat(root, path, OFlags::RDONLY, Mode::empty()).unwrap();
        std::io::read_to_string(std::fs::File::from(file)).unwrap()
    }

    /// Where fsconfig(2) cannot take the layers, mount(2) in the child's own namespace makes the same root, and nothing
    /// of it reaches the host.
    #[test]
    fn the_way_of_older_kernels_works() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = layers(dir.path());
        // A namespace and a root of this thread's own, as the child has them.
        let thread = std::thread::spawn(move || {
            corten_host::process::new_namespaces(libc::CLONE_FS | libc::CLONE_NEWNS).unwrap();
            let root = by_mount(&overlay).attach().unwrap();
            assert_eq!((read(&root, "file"), read(&root, "other")), ("a".into(), "other".into()));
            enter(root.as_fd(), None).unwrap();
            std::fs::write("/new", "").unwrap();
            assert!(!Path::new("/proc").exists());
        });
        thread.join().unwrap();
        assert!(dir.path().join("upper,x/new").exists());
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("upper,x"));
    }

    /// Layers as one string, for kernels from 6.5 to 6.6, are the same layers. Older ones refuse commas in it.
    #[test]
    fn joined_layers_are_the_same() {
        let dir = tempfile::Builder::new().prefix("l").tempdir_in("/tmp").unwrap();
        let overlay = layers(dir.path());
        let filesystem = Filesystem::open("overlay").unwrap();
        match add_joined(&filesystem, &overlay.lower[0], overlay.lower[1..].iter()) {
            Err(error) if is_old_kernel(&error) && Kernel::running() < ONE_BY_ONE => return,
            joined => joined.unwrap(),
        }
        filesystem.set("upperdir", escaped(&overlay.upper)).unwrap();
        filesystem.set("workdir", escaped(&overlay.work)).unwrap();
        filesystem.mount(0).unwrap();
        let root = detached(&overlay, None).unwrap();
        assert_eq!((read(&root, "file"), read(&root, "other")), ("a".into(), "other".into()));
    }
}
