//! The pod's user namespace, and namespaces that it owns.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use corten_host::{process, user_namespace};

use crate::protocol::PodPlan;
use crate::{fork, users};

/// The plan's user namespace: the one that owns the pod's network namespace, or with the host's network a new one.
///
/// # Errors
/// What cannot be made or found.
pub fn find(plan: &PodPlan, netns: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>, String> {
    let Some(mappings) = &plan.users else { return Ok(None) };
    let Some(netns) = netns else {
        return user_namespace::make(mappings).map(Some).map_err(|error| error.to_string());
    };
    let owner = user_namespace::owner(netns).map_err(|error| format!("the network namespace's owner: {error}"))?;
    match users::is_in(&owner).map_err(|error| error.to_string())? {
        true => Err("the pod's network namespace is not owned by a user namespace of the pod's".to_owned()),
        false => Ok(Some(owner)),
    }
}

/// Moves the caller into new namespaces of these kinds (`CLONE_NEW*`) that `users` owns. A process can make such only
/// in there, from where there is no way back: another one makes them.
///
/// # Errors
/// The step and why.
pub fn enter_new(users: BorrowedFd<'_>, kinds: &[(i32, &str)]) -> Result<(), String> {
    let all = kinds.iter().fold(0, |all, (kind, _)| all | kind);
    let made = fork::run(&[users], || {
        process::join_namespaces(users, libc::CLONE_NEWUSER).map_err(|error| format!("enter: {error}"))?;
        process::new_namespaces(all).map_err(|error| format!("unshare: {error}"))?;
        let open = |name: &str| File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
        kinds.iter().map(|(_, name)| open(name).map_err(|error| format!("open {name}: {error}"))).collect()
    })?;
    for (namespace, (kind, name)) in made.iter().zip(kinds) {
        process::join_namespaces(namespace.as_fd(), *kind).map_err(|error| format!("join {name}: {error}"))?;
    }
    Ok(())
}
