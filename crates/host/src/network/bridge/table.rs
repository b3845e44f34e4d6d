//! The bridge's nftables table: masquerade of what leaves the pods' subnets, and host ports.
//!
//! One `inet` table with the bridge's name. Host ports are elements of maps, with the sandbox's id as their comment; the
//! rules never change while pods come and go.

use std::net::{IpAddr, Ipv4Addr};

use super::super::netlink::{Error, Message, Socket};
use super::super::nft::{self, Element, Expression, Field, Hook, R0};
use super::super::{HostPort, link};
use super::subnet::Subnet;

const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const L4PROTO: u32 = 16;
/// `RTN_LOCAL`: one of the host's own addresses.
const LOCAL: u32 = 2;
/// `IPS_DST_NAT`: the connection's destination was rewritten.
const DESTINATION_REWRITTEN: u32 = 0x20;

/// The maps of host ports: for one address of the node, or for all of them, of either family.
const MAPS: [(&str, &[Field], &[Field]); 4] = [
    ("host_ports_4", &[Field::Protocol, Field::Service], &[Field::Ipv4, Field::Service]),
    ("host_ports_6", &[Field::Protocol, Field::Service], &[Field::Ipv6, Field::Service]),
    ("host_ports_at_4", &[Field::Ipv4, Field::Protocol, Field::Service], &[Field::Ipv4, Field::Service]),
    ("host_ports_at_6", &[Field::Ipv6, Field::Protocol, Field::Service], &[Field::Ipv6, Field::Service]),
];

/// An element and the map it belongs in.
pub(super) type Placed = (&'static str, Element);

/// Makes the table anew with these elements, in one transaction: what an older version or somebody else did to it is
/// gone, and no packet sees it half done.
pub(super) fn install(socket: &mut Socket, table: &str, subnets: &[Subnet], elements: &[Placed]) -> Result<(), Error> {
    let mut batch = vec![nft::add_table(table), nft::delete_table(table), nft::add_table(table)];
    for (id, (name, key, value)) in (1..).zip(MAPS) {
        batch.push(nft::add_map(table, name, id, key, value));
    }
    batch.push(nft::add_chain(table, "host_ports"));
    batch.push(nft::add_base_chain(table, "raw_prerouting", Hook::RawPrerouting));
    batch.push(nft::add_base_chain(table, "prerouting", Hook::NatPrerouting));
    batch.push(nft::add_base_chain(table, "output", Hook::NatOutput));
    batch.push(nft::add_base_chain(table, "postrouting", Hook::NatPostrouting));
    for (chain, rule) in rules(table, subnets) {
        batch.push(nft::add_rule(table, chain, rule));
    }
    batch.extend(additions(table, elements));
    socket.transaction(&format!("install nftables table inet {table}"), batch)
}

/// Adds elements, all or none.
pub(super) fn add(socket: &mut Socket, table: &str, elements: &[Placed]) -> Result<(), Error> {
    if elements.is_empty() {
        return Ok(());
    }
    socket.transaction(&format!("add host ports to nftables table inet {table}"), additions(table, elements))
}

/// Removes elements, all or none: one that is not there is an error.
pub(super) fn subtract(socket: &mut Socket, table: &str, elements: &[Placed]) -> Result<(), Error> {
    let of_map = |map: &str| elements.iter().filter(|(m, _)| *m == map).map(|(_, e)| e.key.as_slice()).collect();
    let keys: Vec<(&str, Vec<&[u8]>)> = MAPS.iter().map(|(map, ..)| (*map, of_map(map))).collect();
    let batch = keys.into_iter().filter(|(_, keys)| !keys.is_empty());
    let batch = batch.map(|(map, keys)| nft::delete_elements(table, map, keys)).collect();
    socket.transaction(&format!("remove host ports from nftables table inet {table}"), batch)
}

/// Removes the elements whose owner (a sandbox id) is not wanted; what is gone already is fine.
pub(super) fn retain(socket: &mut Socket, table: &str, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
    let mut batch = Vec::new();
    for (map, ..) in MAPS {
        let elements = nft::list_elements(socket, table, map)?;
        let gone: Vec<&[u8]> = elements.iter().filter(|e| !wanted(&e.comment)).map(|e| e.key.as_slice()).collect();
        if !gone.is_empty() {
            batch.push(nft::delete_elements(table, map, gone));
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    socket.transaction(&format!("remove host ports from nftables table inet {table}"), batch)
}

/// Removes the table; none is fine.
pub(super) fn remove(socket: &mut Socket, table: &str) -> Result<(), Error> {
    let batch = vec![nft::add_table(table), nft::delete_table(table)];
    socket.transaction(&format!("remove nftables table inet {table}"), batch)
}

/// The elements that lead these ports to a pod with these addresses.
pub(super) fn elements(id: &str, ports: &[HostPort], ips: &[IpAddr]) -> Vec<Placed> {
    ports.iter().flat_map(|port| ips.iter().filter_map(|ip| element(id, port, *ip))).collect()
}

/// None where the port is bound to an address of the other family.
fn element(id: &str, port: &HostPort, ip: IpAddr) -> Option<Placed> {
    let at = port.host_ip.filter(|at| !at.is_unspecified());
    if port.host_ip.is_some_and(|at| at.is_ipv4() != ip.is_ipv4()) {
        return None;
    }
    let map = match (at, ip) {
        (None, IpAddr::V4(_)) => "host_ports_4",
        (None, IpAddr::V6(_)) => "host_ports_6",
        (Some(_), IpAddr::V4(_)) => "host_ports_at_4",
        (Some(_), IpAddr::V6(_)) => "host_ports_at_6",
    };
    let mut key = at.map(link::octets).unwrap_or_default();
    key.extend([port.protocol.number(), 0, 0, 0]);
    key.extend(in_register(port.host_port));
    let mut value = link::octets(ip);
    value.extend(in_register(port.container_port));
    Some((map, Element { key, value, comment: id.to_owned() }))
}

fn in_register(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn additions(table: &str, elements: &[Placed]) -> Vec<Message> {
    let mut batch = Vec::new();
    for (map, ..) in MAPS {
        let of_map: Vec<Element> = elements.iter().filter(|(m, _)| *m == map).map(|(_, e)| e.clone()).collect();
        // An attribute ends at 64 KiB.
        batch.extend(of_map.chunks(128).map(|chunk| nft::add_elements(table, map, chunk)));
    }
    batch
}

fn rules(bridge: &str, subnets: &[Subnet]) -> Vec<(&'static str, Vec<Expression>)> {
    let loopback = Subnet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
    let mut rules = vec![
        ("host_ports", host_ports(nft::IPV4, "host_ports_at_4", true)),
        ("host_ports", host_ports(nft::IPV4, "host_ports_4", false)),
        ("host_ports", host_ports(nft::IPV6, "host_ports_at_6", true)),
        ("host_ports", host_ports(nft::IPV6, "host_ports_6", false)),
        // route_localnet lets the host's 127.0.0.1 lead to pods; it must not let pods reach the host's loopback.
        ("raw_prerouting", [nft::comes_by(bridge), destination_in(&loopback), vec![Expression::Drop]].concat()),
        ("prerouting", to_this_host("host_ports")),
        ("output", to_this_host("host_ports")),
        ("postrouting", [nft::leaves_by(bridge, true), source_in(&loopback), vec![Expression::Masquerade]].concat()),
    ];
    for subnet in subnets {
        let outside = [source_in(subnet), nft::leaves_by(bridge, false), vec![Expression::Masquerade]];
        // A pod that reaches a pod through a host port must get its answers through the host too.
        let hairpin = [nft::leaves_by(bridge, true), rewritten(), source_in(subnet), vec![Expression::Masquerade]];
        rules.push(("postrouting", outside.concat()));
        rules.push(("postrouting", hairpin.concat()));
    }
    rules
}

/// Looks (address,) protocol and port up, and rewrites the destination to what the map says.
fn host_ports(family: u8, map: &'static str, with_address: bool) -> Vec<Expression> {
    let words = if family == nft::IPV4 { 1 } else { 4 };
    let key = if with_address { words } else { 0 };
    let mut rule = nft::family_is(family);
    if with_address {
        rule.push(address_into_r0(family, true));
    }
    rule.extend([
        Expression::Meta { key: L4PROTO, into: R0 + key },
        Expression::Payload { base: TRANSPORT, offset: 2, length: 2, into: R0 + key + 1 },
        Expression::Lookup { map, from: R0, into: R0 },
        Expression::Dnat { family, address: R0, port: R0 + words },
    ]);
    rule
}

fn to_this_host(chain: &'static str) -> Vec<Expression> {
    vec![
        Expression::DestinationType { into: R0 },
        Expression::Compare { register: R0, equal: true, bytes: LOCAL.to_ne_bytes().to_vec() },
        Expression::Jump { chain },
    ]
}

fn rewritten() -> Vec<Expression> {
    vec![
        Expression::ConnectionStatus { into: R0 },
        Expression::Mask { register: R0, mask: DESTINATION_REWRITTEN.to_ne_bytes().to_vec() },
        Expression::Compare { register: R0, equal: false, bytes: vec![0; 4] },
    ]
}

fn source_in(subnet: &Subnet) -> Vec<Expression> {
    address_in(subnet, false)
}

fn destination_in(subnet: &Subnet) -> Vec<Expression> {
    address_in(subnet, true)
}

fn address_in(subnet: &Subnet, destination: bool) -> Vec<Expression> {
    let family = if subnet.network().is_ipv4() { nft::IPV4 } else { nft::IPV6 };
    let network = link::octets(subnet.network());
    let mut rule = nft::family_is(family);
    rule.push(address_into_r0(family, destination));
    rule.push(Expression::Mask { register: R0, mask: subnet.mask() });
    rule.push(Expression::Compare { register: R0, equal: true, bytes: network });
    rule
}

fn address_into_r0(family: u8, destination: bool) -> Expression {
    let (offset, length) = match (family, destination) {
        (nft::IPV4, false) => (12, 4),
        (nft::IPV4, true) => (16, 4),
        (_, false) => (8, 16),
        (_, true) => (24, 16),
    };
    Expression::Payload { base: NETWORK, offset, length, into: R0 }
}
