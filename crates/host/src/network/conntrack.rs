//! Forgetting connections that were tracked before a host port led to its pod.
//!
//! A UDP client that keeps sending from one port keeps its entry alive, and with it the old destination.

use super::link::octets;
use super::netlink::{ACK, DUMP, Error, Message, REQUEST, Socket, find};
use super::{HostPort, Protocol};

const GET: i32 = 1;
const DELETE: i32 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const ZONE: u16 = 18;

/// Deletes the entries of UDP packets to these ports of the host, but those that lead nowhere else.
pub(super) fn forget_udp(socket: &mut Socket, ports: &[HostPort]) -> Result<(), Error> {
    let ports: Vec<&HostPort> = ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let dump = message(GET, DUMP, libc::AF_UNSPEC as u8);
    for entry in socket.ask("list tracked connections", dump)? {
        let (Some(family), Some(attributes)) = (entry.first(), entry.get(4..)) else { continue };
        let Some(tuple) = find(attributes, TUPLE_ORIGINAL) else { continue };
        if !ports.iter().any(|port| leads_to(tuple, port)) {
            continue;
        }
        let mut delete = message(DELETE, ACK, *family).nest(TUPLE_ORIGINAL, |m| m.raw(tuple));
        if let Some(zone) = find(attributes, ZONE) {
            delete = delete.attr(ZONE, zone);
        }
        match socket.ask("forget a tracked connection", delete) {
            Err(e) if !e.is(libc::ENOENT) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// True where the tuple is UDP to the host port, at its address if it has one.
fn leads_to(tuple: &[u8], port: &HostPort) -> bool {
    let (ip, transport) = (find(tuple, 1).unwrap_or_default(), find(tuple, 2).unwrap_or_default());
    let to = find(ip, 2).or_else(|| find(ip, 4));
    let address = port.host_ip.filter(|at| !at.is_unspecified());
    find(transport, 1) == Some(&[Protocol::Udp.number()])
        && find(transport, 3) == Some(&port.host_port.to_be_bytes())
        && address.is_none_or(|address| to == Some(octets(address).as_slice()))
}

fn message(kind: i32, flags: u16, family: u8) -> Message {
    let kind = ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | kind as u16;
    Message::new(kind, REQUEST | flags, &[family, 0, 0, 0])
}
