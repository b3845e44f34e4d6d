//! The traffic of a network namespace's interfaces.

use std::path::Path;

use super::link::{LinkCounters, list_counters};
use super::{netlink, netns};

/// Why the interfaces could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The kernel did not list them.
    #[error(transparent)]
    List(#[from] netlink::Error),
}

/// An interface's traffic since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
}

/// One direction's traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were damaged.
    pub errors: u64,
    /// Packets that were thrown away.
    pub dropped: u64,
}

/// The interfaces of the network namespace at `path` but loopback, in the kernel's order. Works on a thread of its own.
///
/// # Errors
/// If there is no such namespace, or the kernel does not answer.
pub fn interfaces(path: &Path) -> Result<Vec<Interface>, Error> {
    let links = netns::enter(path, || netlink::Socket::route().and_then(|mut socket| list_counters(&mut socket)))??;
    Ok(links.into_iter().filter(|link| !link.loopback).map(interface).collect())
}

fn interface(link: LinkCounters) -> Interface {
    let LinkCounters { name, loopback: _, received, sent } = link;
    Interface { name, received, sent }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::testing::{TestHost, run};
    use super::*;

    #[test]
    fn traffic_is_counted_on_both_ends_and_loopback_is_left_out() {
        TestHost::run(|| {
            let host = TestHost::new();
            let path = host.path("netns/a");
            netns::create(&path).unwrap();
            netns::enter(&path, || {
                run("ip link add eth0 type veth peer name other");
                run("ip link set other up");
                run("ip addr add 192.0.2.1/24 dev eth0");
                run("ip link set eth0 up");
                run("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev eth0");
                let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
                socket.send_to(&[0; 1000], "192.0.2.2:9").unwrap();
            })
            .unwrap();
            let found = interfaces(&path).unwrap();
            let of = |name: &str| found.iter().find(|interface| interface.name == name).unwrap().clone();
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(of("eth0").sent.bytes >= 1028 && of("eth0").sent.packets >= 1, "{found:?}");
            assert!(of("other").received.bytes >= 1028, "{found:?}");
            netns::remove(&path).unwrap();
            assert!(interfaces(&path).is_err());
        });
    }
}
