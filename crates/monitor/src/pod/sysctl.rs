//! The pod's sysctls: written by a child that has entered the pod's namespaces.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use corten_host::process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::elsewhere;
use crate::protocol::PodPlan;
use crate::users::become_root;

/// Why a sysctl is not written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// The name would lead elsewhere in /proc.
    #[error("{0:?} is not a sysctl's name")]
    Name(String),
    /// Every pod of the machine shares it.
    #[error("{0} is not namespaced: it would change the whole machine")]
    Global(String),
    /// The pod uses the machine's own namespace of that kind.
    #[error("{name}: the pod has no {kind} namespace of its own")]
    HostNamespace {
        /// The sysctl.
        name: String,
        /// The kind of namespace it belongs to.
        kind: &'static str,
    },
}

/// Writes the plan's sysctls in the network namespace and in the IPC and UTS namespaces that the monitor has entered.
///
/// # Errors
/// The sysctl and why.
pub fn write(plan: &PodPlan, netns: Option<BorrowedFd<'_>>, users: Option<BorrowedFd<'_>>) -> Result<(), String> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let files: Vec<(String, &str)> = plan
        .sysctls
        .iter()
        .map(|(name, value)| Ok((path(name, plan).map_err(|error| error.to_string())?, value.as_str())))
        .collect::<Result<_, String>>()?;
    elsewhere(&[netns, users], || {
        if let Some(netns) = netns {
            move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
                .map_err(|error| format!("entering the network namespace: {error}"))?;
        }
        // Those of an IPC namespace are its owner's to write, the others the machine's root's too.
        let denied = write_all(files, users.is_some())?;
        if let Some(users) = users.filter(|_| !denied.is_empty()) {
            process::join_namespaces(users, libc::CLONE_NEWUSER)
                .and_then(|()| Ok(become_root()?))
                .map_err(|error| format!("entering the user namespace: {error}"))?;
            write_all(denied, false)?;
        }
        Ok(None)
    })?;
    Ok(())
}

/// Writes values to files and returns those that may not be written, if that `may_be`.
fn write_all(files: Vec<(String, &str)>, may_be: bool) -> Result<Vec<(String, &str)>, String> {
    let mut denied = Vec::new();
    for (path, value) in files {
        match std::fs::write(&path, value) {
            Ok(()) => {}
            Err(error) if may_be && error.kind() == ErrorKind::PermissionDenied => denied.push((path, value)),
            Err(error) => return Err(format!("writing {value:?} to {path}: {error}")),
        }
    }
    Ok(denied)
}

/// The file of a sysctl in dotted form, where a slash stands for a dot within a component (`net.ipv4.conf.eth0/1.x`).
fn path(name: &str, plan: &PodPlan) -> Result<String, Refused> {
    let components: Vec<String> = name.split('.').map(|component| component.replace('/', ".")).collect();
    let bad = |component: &String| {
        matches!(component.as_str(), "" | "." | "..") || component.contains(|c: char| c.is_control())
    };
    if components.len() < 2 || components.iter().any(bad) {
        return Err(Refused::Name(name.to_owned()));
    }
    let own = |has: bool, kind| if has { Ok(()) } else { Err(Refused::HostNamespace { name: name.to_owned(), kind }) };
    match name {
        _ if name.starts_with("net.") => own(plan.netns.is_some(), "network")?,
        _ if is_ipc(name) => own(plan.private_ipc, "IPC")?,
        "kernel.domainname" => own(plan.hostname.is_some(), "UTS")?,
        _ => return Err(Refused::Global(name.to_owned())),
    }
    Ok(format!("/proc/sys/{}", components.join("/")))
}

/// ipc_namespaces(7).
fn is_ipc(name: &str) -> bool {
    const KERNEL: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg_next_id",
        "kernel.sem",
        "kernel.sem_next_id",
        "kernel.shm_next_id",
        "kernel.shm_rmid_forced",
        "kernel.shmall",
    ];
    KERNEL.contains(&name) || matches!(name, "kernel.shmmax" | "kernel.shmmni") || name.starts_with("fs.mqueue.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn plan() -> PodPlan {
        PodPlan {
            id: "pod".to_owned(),
            hostname: None,
            private_ipc: true,
            shared_pid: false,
            netns: Some("/x".into()),
            users: None,
            sysctls: Vec::new(),
            cgroup: None,
            in_v2: false,
            shm_size: 0,
            shm_label: None,
            oom_score_adj: 0,
        }
    }

    #[test]
    fn names_become_paths() {
        assert_eq!(path("net.ipv4.ip_forward", &plan()).unwrap(), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/1.arp", &plan()).unwrap(), "/proc/sys/net/ipv4/conf/eth0.1/arp");
        assert_eq!(path("kernel.shmmax", &plan()).unwrap(), "/proc/sys/kernel/shmmax");
    }

    #[test]
    fn names_cannot_lead_out_of_proc_sys() {
        for name in ["net.//.//.x", "net..x", "net./.x", "net", "", "../x", "net.a\n.b", "net.x."] {
            assert_eq!(path(name, &plan()), Err(Refused::Name(name.to_owned())), "{name:?}");
        }
    }

    #[test]
    fn what_belongs_to_the_machine_is_refused() {
        for name in ["kernel.panic", "vm.swappiness", "fs.file-max", "kernel.hostname", "kernel.shmmax2"] {
            assert_eq!(path(name, &plan()), Err(Refused::Global(name.to_owned())));
        }
        let host = PodPlan { netns: None, private_ipc: false, ..plan() };
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "kernel.domainname"] {
            assert!(matches!(path(name, &host), Err(Refused::HostNamespace { .. })), "{name}");
        }
    }
}
