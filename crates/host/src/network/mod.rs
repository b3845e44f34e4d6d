//! Pod networking: network namespaces, the built-in bridge, and CNI.
//!
//! Everything blocks, and works on the network namespace of the calling thread: that is "the host".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod bridge;
pub mod cni;
mod conntrack;
pub mod interfaces;
mod link;
mod netlink;
pub mod netns;
mod nft;
mod shaping;
#[cfg(test)]
mod testing;

pub use netlink::Error as NetlinkError;

/// The name of a pod's interface, as the kubelet and CNI expect it.
pub const POD_INTERFACE: &str = "eth0";

/// What is known about a pod when its network is set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodNetwork {
    /// The sandbox's id.
    pub id: String,
    /// The file of the pod's network namespace.
    pub netns: PathBuf,
    /// The pod's name.
    pub name: String,
    /// The pod's Kubernetes namespace.
    pub namespace: String,
    /// The pod's UID.
    pub uid: String,
    /// The sandbox's labels.
    pub labels: BTreeMap<String, String>,
    /// The sandbox's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The pod's cgroup, as the kubelet named it; may be empty.
    pub cgroup_parent: String,
    /// The ports of the node that lead into the pod.
    pub host_ports: Vec<HostPort>,
    /// The pod's DNS settings, for plugins that ask for them.
    pub dns: Dns,
    /// Limits on the pod's traffic. The built-in bridge sets the limit on what leaves the pod on the pod's interface:
    /// a pod with CAP_NET_ADMIN can lift it.
    pub bandwidth: Option<Bandwidth>,
    /// The MAC address the pod asks for, `02:00:00:00:00:01`; otherwise one is chosen.
    pub mac: Option<String>,
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port on the node.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// The address of the node that it is bound to; none, `0.0.0.0` and `::` mean every address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A transport protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// The name in lower case, as CNI's portMappings has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// A pod's DNS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Domains to search.
    pub searches: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// Limits on a pod's traffic, in bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// To the pod.
    pub ingress: Option<u64>,
    /// From the pod.
    pub egress: Option<u64>,
}

/// A pod's network as it was set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface in the pod.
    pub interface: String,
    /// The pod's addresses, the primary one first.
    pub ips: Vec<IpAddr>,
    /// The interface's MAC address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The pod's gateways.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Name servers that a CNI plugin asks for; empty with the built-in bridge.
    #[serde(default)]
    pub dns: Dns,
}
