//! Whether containers can have user namespaces here.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{IdMapping, Mappings, make};
use crate::mount::{self, Change, Filesystem, Propagation};
use crate::process;

/// A user that is nobody in particular, to see whether files get another owner.
const OUTSIDE: u32 = 1 << 20;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Makes, below `directory` and for a moment, what a container in a user namespace has: the namespace, and a root of an
/// idmapped layer below a writable one. Needs root.
///
/// # Errors
/// What this kernel, or the file system of `directory`, cannot do.
pub fn probe(directory: &Path) -> Result<(), String> {
    let name = format!(".user-namespaces-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let place = directory.join(name);
    let outcome = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("probe".into()).spawn_scoped(scope, || try_in(&place));
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the probe panicked".to_owned()),
            Err(error) => Err(format!("start a thread: {error}")),
        }
    });
    // Best effort: the outcome is known.
    let _ = fs::remove_dir_all(&place);
    outcome
}

/// On a thread of its own, which gets a mount namespace of its own.
fn try_in(place: &Path) -> Result<(), String> {
    let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let range = vec![IdMapping { inside: 0, outside: OUTSIDE, length: 65536 }];
    let users = make(&Mappings { uids: range.clone(), gids: range }).map_err(step("make a user namespace"))?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| place.join(name));
    for path in [&lower, &upper, &work] {
        fs::create_dir_all(path).map_err(step("make a directory"))?;
    }
    fs::write(lower.join("file"), "").map_err(step("make a file"))?;
    process::new_namespaces(libc::CLONE_FS | libc::CLONE_NEWNS).map_err(step("make a mount namespace"))?;
    let alone = Change { propagation: Some(Propagation::Slave), ..Change::default() };
    mount::change_path(Path::new("/"), true, alone).map_err(step("leave the machine's mounts alone"))?;
    let layer = mount::clone_path(&lower, false).map_err(step("clone a mount"))?;
    mount::map_ids(layer.as_fd(), false, users.as_fd()).map_err(step("map the ids of a mount"))?;
    mount::attach_path(&layer, &lower).map_err(step("attach an idmapped mount"))?;
    // By names that need no escaping, and are short enough for every kernel. This thread has a working directory of its own.
    rustix::process::chdir(place).map_err(|errno| format!("enter a directory: {errno}"))?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(Path::new);
    let owner = overlay(lower, upper, work).and_then(|root| owner_in(&root, "file"));
    match owner.map_err(|error| format!("an overlay over an idmapped layer: {error}"))? {
        (OUTSIDE, OUTSIDE) => Ok(()),
        (uid, gid) => Err(format!("an overlay over an idmapped layer shows the owner {uid}:{gid}")),
    }
}

fn overlay(lower: &Path, upper: &Path, work: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let filesystem = Filesystem::open("overlay").map_err(io::Error::other)?;
    for (key, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
        filesystem.set(key, path).map_err(io::Error::other)?;
    }
    filesystem.mount(0).map_err(io::Error::other)
}

fn owner_in(root: &impl AsFd, name: &str) -> io::Result<(u32, u32)> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::openat(root, name, flags, rustix::fs::Mode::empty())?);
    file.metadata().map(|metadata| (metadata.uid(), metadata.gid()))
}
