//! Kernel parameters of the container's own namespaces.

use std::collections::HashMap;

use super::errors::{Blame, container, refused};
use super::namespaces::Namespaces;
use crate::protocol::CallError;

/// The parameters under `kernel.` that belong to an IPC namespace.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Writes the parameters. Those that no namespace of the container's own has are the whole machine's, and refused.
pub(super) fn write(sysctls: &HashMap<String, String>, namespaces: Namespaces) -> Result<(), CallError> {
    for (name, value) in sysctls {
        let path = path(name).ok_or_else(|| refused(format!("linux.sysctl: {name:?} is not a parameter's name")))?;
        if !is_own(&path, namespaces) {
            let error = format!("linux.sysctl: {name:?} is not in a namespace of the container's own");
            return Err(refused(error));
        }
        // The host's procfs, which nothing in the container can change, shows the caller's namespaces. Plain write(2):
        // nothing shall be created or truncated.
        let file = std::fs::OpenOptions::new().write(true).open(format!("/proc/sys/{path}"));
        let mut file = file.map_err(|error| container(format!("sysctl {name}"), error.to_string()))?;
        std::io::Write::write_all(&mut file, value.as_bytes()).container(|| format!("sysctl {name}={value}"))?;
    }
    Ok(())
}

/// The path below `/proc/sys`. As with sysctl(8), what comes first of `.` and `/` separates, and the other stands for
/// itself the other way round (`net.ipv4.conf.eth0/1.forwarding` is of the interface `eth0.1`).
fn path(name: &str) -> Option<String> {
    let separator = name.chars().find(|c| matches!(c, '.' | '/'))?;
    let path: String = match separator {
        '/' => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    let valid = path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\0'));
    valid.then_some(path)
}

fn is_own(path: &str, namespaces: Namespaces) -> bool {
    match path.split_once('/') {
        Some(("net", _)) => namespaces.names(libc::CLONE_NEWNET),
        Some(("kernel", "domainname")) => namespaces.names(libc::CLONE_NEWUTS),
        Some(("kernel", rest)) => IPC.contains(&rest) && namespaces.names(libc::CLONE_NEWIPC),
        Some(("fs", rest)) => rest.starts_with("mqueue/") && namespaces.names(libc::CLONE_NEWIPC),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// Names come to paths, and no name to a path outside of `/proc/sys`.
    #[test]
    fn names_and_paths() {
        assert_eq!(path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding").unwrap(), "net/ipv4/conf/eth0.1/forwarding");
        for bad in ["", "kernel", "net..x", "net/../kernel/core_pattern", "/net/x", "net.//.x"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    /// What is the whole machine's is refused whatever the namespaces are.
    #[test]
    fn machine_wide_parameters_are_not_own() {
        for path in ["kernel/core_pattern", "kernel/hostname", "vm/swappiness", "net/ipv4/ip_forward", "kernel/sem"] {
            assert!(!is_own(path, Namespaces::default()), "{path}");
        }
    }
}
