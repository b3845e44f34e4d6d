//! The host's part in forwarding: sysctls, the way out, and what stands in the way.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::super::link::{self, Route};
use super::super::netlink::Socket;
use super::super::nft;
use super::{Error, Subnet};

const DEFAULT_MTU: u32 = 1500;

/// Lets this host forward packets between the bridge and its other links, and from its loopback to the bridge.
pub(super) fn turn_on(bridge: &str, subnets: &[Subnet]) -> Result<(), Error> {
    if subnets.iter().any(|subnet| subnet.network().is_ipv4()) {
        set("ipv4/ip_forward", "1")?;
        // 127.0.0.1:hostPort; the table keeps pods from using it the other way round.
        set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    }
    if subnets.iter().any(|subnet| subnet.network().is_ipv6()) {
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Keeps pods from giving their neighbours, or the host, routes by router advertisements.
pub(super) fn ignore_router_advertisements(link: &str) -> Result<(), Error> {
    match set(&format!("ipv6/conf/{link}/accept_ra"), "0") {
        // A kernel without IPv6.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The calling thread's network namespace decides whose setting it is.
fn set(key: &str, value: &str) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/sys/net/{key}"));
    let present = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    if present.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(Error::io("write", &path))
}

/// The MTU of the device that the default route leads through, or Ethernet's.
pub(super) fn mtu_of_default_route(socket: &mut Socket) -> Result<u32, Error> {
    let routes = link::list_routes(socket, libc::AF_UNSPEC as u8)?;
    let Some(route) = routes.iter().find(|route| route.prefix == 0) else { return Ok(DEFAULT_MTU) };
    let links = link::list_links(socket)?;
    let mtu = links.iter().find(|link| link.index == route.link).map(|link| link.mtu);
    Ok(mtu.filter(|mtu| (1280..=65535).contains(mtu)).unwrap_or(DEFAULT_MTU))
}

/// Warnings about routes, not through the bridge, to addresses that pods have.
pub(super) fn overlapping_routes(socket: &mut Socket, subnets: &[Subnet], bridge: u32) -> Result<Vec<String>, Error> {
    let routes = link::list_routes(socket, libc::AF_UNSPEC as u8)?;
    let foreign = routes.iter().filter(|route| route.link != bridge && route.prefix != 0);
    let warn = |route: &Route| {
        let other = Subnet::new(route.destination, route.prefix);
        let subnet = subnets.iter().find(|subnet| subnet.overlaps(&other))?;
        Some(format!(
            "the pods' subnet {subnet} overlaps with the route to {other}: choose another in network.bridge.subnets"
        ))
    };
    Ok(foreign.filter_map(warn).collect())
}

/// Warnings about other tables that drop forwarded packets by policy and have no rule about the bridge.
pub(super) fn dropped_by_others(socket: &mut Socket, bridge: &str) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for chain in nft::dropping_forward_chains(socket)? {
        if nft::chain_names_link(socket, &chain, bridge)? {
            continue;
        }
        let family = match chain.family {
            nft::IPV4 => "ip",
            nft::IPV6 => "ip6",
            _ => "inet",
        };
        warnings.push(format!(
            "nftables table {family} {}, chain {} drops forwarded packets (Docker and ufw do this): pods may not reach the \
             outside, nor be reached from there; accept what comes from and goes to {bridge} in it",
            chain.table, chain.chain
        ));
    }
    Ok(warnings)
}
