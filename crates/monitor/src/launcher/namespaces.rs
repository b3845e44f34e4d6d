//! The namespaces of the specification: joined by the launcher process, or made with the container's process.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_host::{mount, process};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::errors::{Blame, node, refused};
use crate::protocol::CallError;

/// Which namespaces are made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Namespaces {
    new: i32,
    named: i32,
}

impl Namespaces {
    /// Joins those that are given by path, and returns which are to be made.
    ///
    /// A PID namespace joined is that of the caller's children, which is what is wanted.
    /// With a pod-wide one (of which `pod_init` is the init), a PID namespace without a path is that one.
    /// The user namespace is the pod's, and entered last: it takes away what the others need.
    pub(super) fn join(
        list: &[LinuxNamespace],
        pod_init: Option<i32>,
        users: Option<BorrowedFd<'_>>,
    ) -> Result<Self, CallError> {
        let mut namespaces = Namespaces::default();
        for namespace in list.iter().filter(|namespace| namespace.typ() != LinuxNamespaceType::User) {
            let kind = kind(namespace.typ())?;
            if namespaces.named & kind != 0 {
                return Err(refused(format!("linux.namespaces: {} is named twice", namespace.typ())));
            }
            namespaces.named |= kind;
            match (namespace.path(), pod_init) {
                (None, Some(init)) if kind == libc::CLONE_NEWPID => join_pid(init)?,
                (None, _) => namespaces.new |= kind,
                (Some(path), _) if kind == libc::CLONE_NEWNS => {
                    return Err(refused(format!("linux.namespaces: mount {} cannot be joined", path.display())));
                }
                (Some(path), _) => {
                    let step = || format!("join {} namespace {}", namespace.typ(), path.display());
                    let file = File::open(path).node(step)?;
                    process::join_namespaces(file.as_fd(), kind).node(step)?;
                }
            }
        }
        if namespaces.new & libc::CLONE_NEWNS == 0 {
            return Err(refused("linux.namespaces: a container needs a mount namespace of its own"));
        }
        if let Some(users) = users {
            process::join_namespaces(users, libc::CLONE_NEWUSER).node(|| "join the pod's user namespace".into())?;
        }
        Ok(namespaces)
    }

    /// `CLONE_NEW*` bits for clone3. A cgroup namespace's root is where its maker is, so that one comes after the
    /// child has joined its cgroups.
    pub(super) fn for_clone(self) -> i32 {
        self.new & !libc::CLONE_NEWCGROUP
    }

    /// Makes the cgroup namespace, if there is to be one.
    pub(super) fn make_cgroup(self) -> Result<(), CallError> {
        if self.new & libc::CLONE_NEWCGROUP == 0 {
            return Ok(());
        }
        process::new_namespaces(libc::CLONE_NEWCGROUP).node(|| "make a cgroup namespace".into())
    }

    /// Whether the container has a namespace that is made with it.
    pub(super) fn makes(self, kind: i32) -> bool {
        self.new & kind != 0
    }

    /// Whether the specification names this kind, to be made or joined.
    pub(super) fn names(self, kind: i32) -> bool {
        self.named & kind != 0
    }
}

/// Joins the PID namespace of a pod.
fn join_pid(init: i32) -> Result<(), CallError> {
    let step = || format!("join the pod's PID namespace (init {init})");
    let pid = Pid::from_raw(init).ok_or_else(|| node(step(), "not a process id"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).node(step)?;
    process::join_namespaces(pidfd.as_fd(), libc::CLONE_NEWPID).node(step)
}

fn kind(kind: LinuxNamespaceType) -> Result<i32, CallError> {
    Ok(match kind {
        LinuxNamespaceType::Mount => libc::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => libc::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC,
        LinuxNamespaceType::Pid => libc::CLONE_NEWPID,
        LinuxNamespaceType::Network => libc::CLONE_NEWNET,
        LinuxNamespaceType::User | LinuxNamespaceType::Time => {
            return Err(refused(format!("linux.namespaces: {kind} namespaces are not supported")));
        }
    })
}

/// The pod's `/dev/shm` as a detached mount, from the mount namespace that holds it.
pub(super) fn copy_shm(namespace: BorrowedFd<'_>) -> Result<OwnedFd, CallError> {
    let step = || "find the pod's /dev/shm".to_owned();
    let own = File::open("/proc/self/ns/mnt").node(step)?;
    process::join_namespaces(namespace, libc::CLONE_NEWNS).node(step)?;
    let copy = mount::clone_path(std::path::Path::new("/"), false);
    process::join_namespaces(own.as_fd(), libc::CLONE_NEWNS)
        .map_err(|error| node("return from /dev/shm", error.to_string()))?;
    copy.node(step)
}
