//! Device nodes for a container in a user namespace, where none can be made: they are made outside, on a file system
//! that nobody sees, and mounted one by one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_host::mount::{self, Filesystem};
use corten_host::user_namespace::Mappings;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, mknodat};
use rustix::io::Errno;

use super::devices::Node;
use super::errors::Blame;
use crate::protocol::CallError;

/// Copies of mounts of device nodes, by the path that each shall have.
pub(super) type Nodes = BTreeMap<PathBuf, OwnedFd>;

/// Makes the nodes of a container, with owners outside for those inside. In the launcher process's own mount namespace,
/// where `place`, a directory that is needed no longer, is covered.
pub(super) fn prepare(
    wanted: Vec<(PathBuf, Node)>,
    place: &Path,
    users: &Mappings,
    label: Option<&str>,
) -> Result<Nodes, CallError> {
    let step = || "make a place for device nodes".to_owned();
    let filesystem = Filesystem::open("tmpfs").node(step)?;
    filesystem.set("mode", "755").node(step)?;
    filesystem.label(label).node(step)?;
    let directory = filesystem.mount(0).node(step)?;
    mount::attach_path(&directory, place).node(step)?;
    let made = wanted.into_iter().enumerate().map(|(index, (path, node))| {
        let copy = make(&directory, &index.to_string(), &path, &node, users);
        copy.node(|| format!("make {}", path.display())).map(|copy| (path, copy))
    });
    made.collect()
}

fn make(directory: &OwnedFd, name: &str, path: &Path, node: &Node, users: &Mappings) -> io::Result<OwnedFd> {
    match mknodat(directory, name, node.kind, Mode::from_raw_mode(node.mode & 0o7777), node.device) {
        Ok(()) => {}
        // Where this process may not either, the host's own has to do.
        Err(Errno::PERM) => return mount::clone_path(path, false),
        Err(errno) => return Err(errno.into()),
    }
    let (uid, gid) = (users.uid(node.owner.0).map(Uid::from_raw), users.gid(node.owner.1).map(Gid::from_raw));
    chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    let file = rustix::fs::openat(directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount::clone_fd(file.as_fd(), false)
}
