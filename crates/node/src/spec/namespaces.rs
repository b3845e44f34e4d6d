//! Which namespaces a container joins and which are its own.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use super::SpecInput;
use crate::check;
use crate::error::{Error, Result};
use crate::security::{PidNamespace, PodNamespace};

/// The namespaces; one that is missing is the node's. The network's and IPC objects' are the pod's: a pod's containers
/// share them.
pub(super) fn namespaces(input: &SpecInput<'_>) -> Result<Vec<LinuxNamespace>> {
    check(input)?;
    let monitor = |kind: &str| namespace_of(input.namespaces.monitor_pid, kind);
    let pod = &input.pod.security.namespaces;
    let mut namespaces = vec![namespace(LinuxNamespaceType::Mount, None)];
    // Without a path: it is the one that the pod's monitor holds.
    if pod.users.is_some() {
        namespaces.push(namespace(LinuxNamespaceType::User, None));
    }
    if let Some(netns) = input.namespaces.netns {
        namespaces.push(namespace(LinuxNamespaceType::Network, Some(netns.to_path_buf())));
    }
    if pod.network == PodNamespace::Pod {
        namespaces.push(namespace(LinuxNamespaceType::Uts, Some(monitor("uts"))));
    }
    if pod.ipc == PodNamespace::Pod {
        namespaces.push(namespace(LinuxNamespaceType::Ipc, Some(monitor("ipc"))));
    }
    namespaces.extend(pid(input)?);
    // On every cgroup version: the node's cgroup paths are nothing a container should see or depend on. Privileged ones
    // manage the node and see what it sees.
    if !input.config.security.privileged {
        namespaces.push(namespace(LinuxNamespaceType::Cgroup, None));
    }
    Ok(namespaces)
}

/// A container cannot have the node's where its pod has its own. To ask for the pod's is right in every pod.
fn check(input: &SpecInput<'_>) -> Result<()> {
    let (pod, own) = (&input.pod.security.namespaces, &input.config.security.namespaces);
    for (name, pod, own) in [("network", pod.network, own.network), ("ipc", pod.ipc, own.ipc)] {
        if (pod, own) == (PodNamespace::Pod, PodNamespace::Node) {
            let field = format!("config.linux.security_context.namespace_options.{name}");
            return Err(check::invalid(&field, "NODE", "must not be the node's where the pod sandbox's is its own"));
        }
    }
    Ok(())
}

fn pid(input: &SpecInput<'_>) -> Result<Option<LinuxNamespace>> {
    let own = namespace(LinuxNamespaceType::Pid, None);
    let of = |pid: i32| namespace(LinuxNamespaceType::Pid, Some(namespace_of(pid, "pid")));
    match (&input.config.security.namespaces.pid, &input.pod.security.namespaces.pid) {
        (PidNamespace::Node, _) | (PidNamespace::Pod, PidNamespace::Node) => Ok(None),
        (PidNamespace::Container, _) => Ok(Some(own)),
        // The default of a container that says nothing, in a pod that shares nothing.
        (PidNamespace::Pod, PidNamespace::Container) => Ok(Some(own)),
        (PidNamespace::Pod, PidNamespace::Pod | PidNamespace::Target(_)) => match input.namespaces.pod_init {
            Some(init) => Ok(Some(of(init))),
            None => {
                Err(Error::Precondition(format!("pod sandbox {} has no init to share its PID namespace", input.pod_id)))
            }
        },
        (PidNamespace::Target(id), _) => match input.namespaces.target_pid {
            Some(target) => Ok(Some(of(target))),
            None => {
                Err(Error::Precondition(format!("container {id:?} is not running: its PID namespace cannot be shared")))
            }
        },
    }
}

fn namespace(kind: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path);
    namespace
}

/// The file that stands for a process's namespace of this kind (`uts`, `ipc`, `pid`, ...).
pub fn namespace_of(pid: i32, kind: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/{kind}"))
}
