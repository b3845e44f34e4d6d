//! Links, addresses and routes through rtnetlink, in the network namespace of the calling thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::interfaces::Traffic;
use super::netlink::{ACK, CREATE, DUMP, EXCL, Error, Message, REPLACE, REQUEST, Socket, as_text, as_u32, find};

const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const UP: u32 = libc::IFF_UP as u32;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) mtu: u32,
    pub(super) master: Option<u32>,
}

/// A link's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkCounters {
    pub(super) name: String,
    pub(super) loopback: bool,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
}

/// A route of the main table: where it leads to and through which link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    pub(super) link: u32,
}

/// A pair of virtual links: one end here, at the bridge, the other in a pod.
pub(super) struct Veth<'a> {
    pub(super) name: &'a str,
    pub(super) bridge: u32,
    pub(super) mtu: u32,
    pub(super) peer: &'a str,
    pub(super) peer_mac: [u8; 6],
    pub(super) peer_namespace: BorrowedFd<'a>,
}

/// Brings the namespace's loopback up.
pub(super) fn bring_up_loopback() -> Result<(), Error> {
    // Loopback is always the first link of its namespace.
    let up = Message::new(libc::RTM_NEWLINK, REQUEST | ACK, &link_header(1, UP, UP));
    Socket::route()?.ask("bring up loopback", up).map(drop)
}

/// Brings a link up.
pub(super) fn bring_up(socket: &mut Socket, link: u32) -> Result<(), Error> {
    let up = Message::new(libc::RTM_NEWLINK, REQUEST | ACK, &link_header(link, UP, UP));
    socket.ask(&format!("bring up link {link}"), up).map(drop)
}

/// Finds a link by name; none is not an error.
pub(super) fn find_link(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let get = Message::new(libc::RTM_GETLINK, REQUEST | ACK, &link_header(0, 0, 0)).text(libc::IFLA_IFNAME, name);
    match socket.ask(&format!("find link {name}"), get) {
        Ok(replies) => Ok(replies.iter().find_map(|reply| parse_link(reply))),
        Err(e) if e.is(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Lists the links.
pub(super) fn list_links(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let dump = Message::new(libc::RTM_GETLINK, REQUEST | DUMP, &link_header(0, 0, 0));
    Ok(socket.ask("list links", dump)?.iter().filter_map(|reply| parse_link(reply)).collect())
}

/// Lists the links' traffic.
pub(super) fn list_counters(socket: &mut Socket) -> Result<Vec<LinkCounters>, Error> {
    let dump = Message::new(libc::RTM_GETLINK, REQUEST | DUMP, &link_header(0, 0, 0));
    Ok(socket.ask("list links", dump)?.iter().filter_map(|reply| parse_counters(reply)).collect())
}

/// Creates a bridge that is up.
pub(super) fn create_bridge(socket: &mut Socket, name: &str, mac: [u8; 6]) -> Result<(), Error> {
    let create = Message::new(libc::RTM_NEWLINK, REQUEST | ACK | CREATE | EXCL, &link_header(0, UP, UP))
        .text(libc::IFLA_IFNAME, name)
        .attr(libc::IFLA_ADDRESS, &mac)
        .nest(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
    socket.ask(&format!("create bridge {name}"), create).map(drop)
}

/// Sets a link's MTU. A bridge keeps it from then on; one given at its creation is lost with the last port.
pub(super) fn set_mtu(socket: &mut Socket, link: u32, mtu: u32) -> Result<(), Error> {
    let set = Message::new(libc::RTM_NEWLINK, REQUEST | ACK, &link_header(link, 0, 0)).u32(libc::IFLA_MTU, mtu);
    socket.ask(&format!("set the MTU of link {link} to {mtu}"), set).map(drop)
}

/// Creates a veth pair: this end up and a port of the bridge, the other in the pod's namespace and down.
pub(super) fn create_veth(socket: &mut Socket, veth: &Veth<'_>) -> Result<(), Error> {
    let peer = |info: Message| {
        // It cannot be up yet: the kernel makes this end first, and a veth without its peer refuses (ENOTCONN).
        info.raw(&link_header(0, 0, 0))
            .text(libc::IFLA_IFNAME, veth.peer)
            .u32(libc::IFLA_MTU, veth.mtu)
            .attr(libc::IFLA_ADDRESS, &veth.peer_mac)
            .u32(libc::IFLA_NET_NS_FD, veth.peer_namespace.as_fd().as_raw_fd() as u32)
    };
    let create = Message::new(libc::RTM_NEWLINK, REQUEST | ACK | CREATE | EXCL, &link_header(0, UP, UP))
        .text(libc::IFLA_IFNAME, veth.name)
        .u32(libc::IFLA_MTU, veth.mtu)
        .u32(libc::IFLA_MASTER, veth.bridge)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| data.nest(VETH_INFO_PEER, peer))
        });
    socket.ask(&format!("create veth {}", veth.name), create).map(drop)
}

/// Makes a link a port of a bridge.
pub(super) fn set_master(socket: &mut Socket, name: &str, bridge: u32) -> Result<(), Error> {
    let set = Message::new(libc::RTM_NEWLINK, REQUEST | ACK, &link_header(0, 0, 0))
        .text(libc::IFLA_IFNAME, name)
        .u32(libc::IFLA_MASTER, bridge);
    socket.ask(&format!("make {name} a bridge port"), set).map(drop)
}

/// Gives a bridge port an alias, and lets it send a packet back to where it came from (hairpin).
pub(super) fn set_port(socket: &mut Socket, name: &str, alias: &str) -> Result<(), Error> {
    let set = Message::new(libc::RTM_NEWLINK, REQUEST | ACK, &link_header(0, 0, 0))
        .text(libc::IFLA_IFNAME, name)
        .text(libc::IFLA_IFALIAS, alias)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge")
                .nest(libc::IFLA_INFO_SLAVE_DATA, |data| data.attr(IFLA_BRPORT_MODE, &[1]))
        });
    socket.ask(&format!("set up bridge port {name}"), set).map(drop)
}

/// Deletes a link, and waits for the kernel to be done with it. False where there was none.
pub(super) fn delete_link(socket: &mut Socket, name: &str) -> Result<bool, Error> {
    let delete = Message::new(libc::RTM_DELLINK, REQUEST | ACK, &link_header(0, 0, 0)).text(libc::IFLA_IFNAME, name);
    match socket.ask(&format!("delete link {name}"), delete) {
        Ok(_) => Ok(true),
        Err(e) if e.is(libc::ENODEV) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Adds an address to a link, without duplicate address detection: the pool gives each one out once.
pub(super) fn add_address(socket: &mut Socket, link: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let mut header = [family(address), prefix, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let mut add = Message::new(libc::RTM_NEWADDR, REQUEST | ACK | CREATE | REPLACE, &header)
        .attr(libc::IFA_LOCAL, &octets(address))
        .attr(libc::IFA_ADDRESS, &octets(address));
    if let IpAddr::V4(v4) = address {
        let broadcast = u32::from(v4) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        add = add.attr(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    socket.ask(&format!("add address {address}/{prefix}"), add).map(drop)
}

/// Takes an address off a link; one that it does not have is fine.
pub(super) fn remove_address(socket: &mut Socket, link: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let mut header = [family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    let remove = Message::new(libc::RTM_DELADDR, REQUEST | ACK, &header).attr(libc::IFA_LOCAL, &octets(address));
    match socket.ask(&format!("remove address {address}/{prefix}"), remove) {
        Err(e) if !e.is(libc::EADDRNOTAVAIL) => Err(e),
        _ => Ok(()),
    }
}

/// Adds the default route.
pub(super) fn add_default_route(socket: &mut Socket, link: u32, gateway: IpAddr) -> Result<(), Error> {
    let mut header = [0; 12];
    header[0] = family(gateway);
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    let add = Message::new(libc::RTM_NEWROUTE, REQUEST | ACK | CREATE | REPLACE, &header)
        .attr(libc::RTA_GATEWAY, &octets(gateway))
        .u32(libc::RTA_OIF, link);
    socket.ask(&format!("add default route by {gateway}"), add).map(drop)
}

/// Lists the unicast routes of the main table.
pub(super) fn list_routes(socket: &mut Socket, family: u8) -> Result<Vec<Route>, Error> {
    let mut header = [0; 12];
    header[0] = family;
    let dump = Message::new(libc::RTM_GETROUTE, REQUEST | DUMP, &header);
    Ok(socket.ask("list routes", dump)?.iter().filter_map(|reply| parse_route(reply)).collect())
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let attributes = body.get(16..)?;
    let info = find(attributes, libc::IFLA_LINKINFO).unwrap_or_default();
    Some(Link {
        index: as_u32(body.get(4..8)?)?,
        name: as_text(find(attributes, libc::IFLA_IFNAME)?),
        kind: find(info, libc::IFLA_INFO_KIND).map(as_text),
        alias: find(attributes, libc::IFLA_IFALIAS).map(as_text),
        mtu: find(attributes, libc::IFLA_MTU).and_then(as_u32).unwrap_or(0),
        master: find(attributes, libc::IFLA_MASTER).and_then(as_u32),
    })
}

/// Of `struct rtnl_link_stats64` the first eight: packets, bytes, errors and drops, in and out by turns.
fn parse_counters(body: &[u8]) -> Option<LinkCounters> {
    let attributes = body.get(16..)?;
    let flags = as_u32(body.get(8..12)?)?;
    let mut numbers = find(attributes, libc::IFLA_STATS64)?.chunks_exact(8).map_while(|bytes| {
        let bytes = bytes.try_into().ok()?;
        Some(u64::from_ne_bytes(bytes))
    });
    let (mut received, mut sent) = (Traffic::default(), Traffic::default());
    (received.packets, sent.packets) = (numbers.next()?, numbers.next()?);
    (received.bytes, sent.bytes) = (numbers.next()?, numbers.next()?);
    (received.errors, sent.errors) = (numbers.next()?, numbers.next()?);
    (received.dropped, sent.dropped) = (numbers.next()?, numbers.next()?);
    let loopback = flags & libc::IFF_LOOPBACK as u32 != 0;
    Some(LinkCounters { name: as_text(find(attributes, libc::IFLA_IFNAME)?), loopback, received, sent })
}

fn parse_route(body: &[u8]) -> Option<Route> {
    let (header, attributes) = (body.get(..12)?, body.get(12..)?);
    if header[4] != libc::RT_TABLE_MAIN || header[7] != libc::RTN_UNICAST {
        return None;
    }
    let destination = match (i32::from(header[0]), find(attributes, libc::RTA_DST)) {
        (libc::AF_INET, None) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        (libc::AF_INET6, None) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        (_, Some(bytes)) => address(bytes)?,
        _ => return None,
    };
    let link = find(attributes, libc::RTA_OIF).and_then(as_u32)?;
    Some(Route { destination, prefix: header[1], link })
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

pub(super) fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// An address as it travels.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}
