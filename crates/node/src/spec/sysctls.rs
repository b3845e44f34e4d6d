//! Kernel parameters of a pod's namespaces.

use crate::check;
use crate::error::Result;
use crate::pod::config::PodConfig;
use crate::security::PodNamespace;

/// What a pod with a network of its own gets unless it says otherwise: any user may listen at any port and ping, which
/// concerns nobody but the pod.
const DEFAULTS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// The sysctls to write in a pod's namespaces. In the dotted names a `/` stands for a dot within a part.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) for one that is not of a namespace that the pod has of its own: it
/// would be the node's.
pub fn pod_sysctls(pod: &PodConfig) -> Result<Vec<(String, String)>> {
    let namespaces = &pod.security.namespaces;
    for (name, value) in &pod.sysctls {
        let field = format!("config.linux.sysctls[{name}]");
        let owner = match namespace_of(name) {
            Some(Namespace::Network) => namespaces.network,
            Some(Namespace::Ipc) => namespaces.ipc,
            None => return Err(check::invalid(&field, value, "is not a sysctl of a pod's namespaces")),
        };
        if owner == PodNamespace::Node {
            return Err(check::invalid(
                &field,
                value,
                "would change the node's: the pod has no such namespace of its own",
            ));
        }
    }
    let defaults = DEFAULTS
        .into_iter()
        .filter(|(name, _)| namespaces.network == PodNamespace::Pod && !pod.sysctls.contains_key(*name));
    let defaults = defaults.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(defaults.chain(pod.sysctls.clone()).collect())
}

enum Namespace {
    Network,
    Ipc,
}

fn namespace_of(name: &str) -> Option<Namespace> {
    // No part may be empty or dots only: it becomes part of a path.
    if name.split('.').any(|part| part.bytes().all(|byte| byte == b'/')) {
        return None;
    }
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    match name {
        "kernel.sem" => Some(Namespace::Ipc),
        name if name.starts_with("net.") => Some(Namespace::Network),
        name if ipc.iter().any(|prefix| name.starts_with(prefix)) => Some(Namespace::Ipc),
        _ => None,
    }
}
