//! A container's user namespace, as its specification or a process of its has it: which ids are whose.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corten_host::user_namespace::{IdMapping, Mappings};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec, User};
use rustix::fs::{Gid, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::launcher::Stdio;
use crate::protocol::CallError;

/// The ids of the user namespace that a specification asks for; `None` if it asks for none.
pub fn of_spec(spec: &Spec) -> Option<Mappings> {
    let linux = spec.linux().as_ref()?;
    let named = linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    named.then(|| mappings(linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref()))
}

/// A specification's ranges.
pub fn mappings(uids: Option<&[LinuxIdMapping]>, gids: Option<&[LinuxIdMapping]>) -> Mappings {
    let ranges = |list: Option<&[LinuxIdMapping]>| list.unwrap_or_default().iter().map(range).collect();
    Mappings { uids: ranges(uids), gids: ranges(gids) }
}

fn range(mapping: &LinuxIdMapping) -> IdMapping {
    IdMapping { inside: mapping.container_id(), outside: mapping.host_id(), length: mapping.size() }
}

/// The ids of the user namespace that a process has for itself; `None` if it is in the caller's.
///
/// # Errors
/// [`CallError::NotRunning`] if there is no such process, else that they cannot be read from /proc.
pub fn of_process(pid: i32) -> Result<Option<Mappings>, CallError> {
    let read = || match is_in(&File::open(format!("/proc/{pid}/ns/user"))?.into())? {
        true => Ok(None),
        false => Mappings::of_process(pid).map(Some),
    };
    read().map_err(|error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => CallError::NotRunning { what: "the container".to_owned() },
        _ => CallError::Node { step: "find the container's user namespace".to_owned(), error: error.to_string() },
    })
}

/// Whether a user namespace is the caller's.
///
/// # Errors
/// If /proc cannot be read.
pub fn is_in(namespace: &OwnedFd) -> io::Result<bool> {
    let (own, other) = (fstat(File::open("/proc/self/ns/user")?.as_fd())?, fstat(namespace)?);
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// Makes a container's user the owner of its pipes: inside, where their maker has no id, nobody could.
///
/// # Errors
/// What fchown(2) says.
pub fn give(stdio: &Stdio, user: &User, mappings: &Mappings) -> io::Result<()> {
    let (uid, gid) = (mappings.uid(user.uid()).map(Uid::from_raw), mappings.gid(user.gid()).map(Gid::from_raw));
    for fd in [&stdio.stdin, &stdio.stdout, &stdio.stderr] {
        if crate::launcher::is_null(&fstat(fd)?) {
            continue;
        }
        match fchown(fd, uid, gid) {
            // Sockets, and files on read-only or squashing filesystems: as good as it gets.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Becomes root of the user namespace that the calling thread, its process's only one, has just entered: until then it
/// is a user that has no id there, and whose files could not be stored.
///
/// # Errors
/// The kernel's answer.
pub fn become_root() -> rustix::io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}
