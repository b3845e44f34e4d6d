//! nf_tables messages: tables, chains, maps, rules, elements.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h`; attributes are in network byte order.

use super::netlink::{ACK, APPEND, CREATE, DUMP, Error, Message, REQUEST, Socket, as_be32, as_text, find};

/// The `inet` family: IPv4 and IPv6 in one table.
pub(super) const INET: u8 = libc::NFPROTO_INET as u8;
pub(super) const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
pub(super) const IPV6: u8 = libc::NFPROTO_IPV6 as u8;

const HOOK_FORWARD: u32 = 2;

/// Where in the packet's way a chain sits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    /// Filter, before connection tracking.
    RawPrerouting,
    /// Destination NAT of what comes in.
    NatPrerouting,
    /// Destination NAT of what the host sends.
    NatOutput,
    /// Source NAT of what leaves.
    NatPostrouting,
}

impl Hook {
    /// The chain's type, hook number and priority.
    fn parts(self) -> (&'static str, u32, i32) {
        match self {
            Hook::RawPrerouting => ("filter", 0, -300),
            Hook::NatPrerouting => ("nat", 0, -100),
            Hook::NatOutput => ("nat", 3, -100),
            Hook::NatPostrouting => ("nat", 4, 100),
        }
    }
}

/// A part of a map's key or value, as nft's type system numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Ipv4 = 7,
    Ipv6 = 8,
    Protocol = 12,
    Service = 13,
}

impl Field {
    /// Bytes in a register: a multiple of four.
    fn width(self) -> u32 {
        if matches!(self, Field::Ipv6) { 16 } else { 4 }
    }
}

/// A base chain of another table through which forwarded packets pass, and whose policy is to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DroppingChain {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) chain: String,
}

fn message(kind: i32, flags: u16, family: u8) -> Message {
    let kind = ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | kind as u16;
    Message::new(kind, REQUEST | flags, &[family, 0, 0, 0])
}

/// Adds a table; one that is there already is fine.
pub(super) fn add_table(name: &str) -> Message {
    message(libc::NFT_MSG_NEWTABLE, CREATE, INET).text(1, name)
}

/// Deletes a table with all that is in it.
pub(super) fn delete_table(name: &str) -> Message {
    message(libc::NFT_MSG_DELTABLE, 0, INET).text(1, name)
}

/// True where there is such a table.
pub(super) fn table_exists(socket: &mut Socket, name: &str) -> Result<bool, Error> {
    match socket.ask(&format!("find nftables table {name}"), message(libc::NFT_MSG_GETTABLE, ACK, INET).text(1, name)) {
        Ok(_) => Ok(true),
        Err(e) if e.is(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Adds a chain to jump to.
pub(super) fn add_chain(table: &str, name: &str) -> Message {
    message(libc::NFT_MSG_NEWCHAIN, CREATE, INET).text(1, table).text(3, name)
}

/// Adds a chain that packets pass through.
pub(super) fn add_base_chain(table: &str, name: &str, hook: Hook) -> Message {
    let (kind, number, priority) = hook.parts();
    add_chain(table, name).text(7, kind).nest(4, |m| m.be32(1, number).be32(2, priority as u32))
}

/// Adds a map from a key of several fields to a value of several fields.
pub(super) fn add_map(table: &str, name: &str, id: u32, key: &[Field], value: &[Field]) -> Message {
    const MAP: u32 = 8;
    let kind = |fields: &[Field]| fields.iter().fold(0, |kind, field| (kind << 6) | *field as u32);
    let width = |fields: &[Field]| fields.iter().map(|field| field.width()).sum();
    message(libc::NFT_MSG_NEWSET, CREATE, INET)
        .text(1, table)
        .text(2, name)
        .be32(3, MAP)
        .be32(4, kind(key))
        .be32(5, width(key))
        .be32(6, kind(value))
        .be32(7, width(value))
        .be32(10, id)
}

/// Adds a rule at the end of a chain.
pub(super) fn add_rule(table: &str, chain: &str, expressions: Vec<Expression>) -> Message {
    message(libc::NFT_MSG_NEWRULE, CREATE | APPEND, INET)
        .text(1, table)
        .text(2, chain)
        .nest(4, |list| expressions.iter().fold(list, |list, expression| list.nest(1, |m| expression.encode(m))))
}

/// A map's element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Shown by nft, and how an element's owner is found again.
    pub(super) comment: String,
}

/// Adds elements; a key that is there with another value is refused.
pub(super) fn add_elements(table: &str, map: &str, elements: &[Element]) -> Message {
    message(libc::NFT_MSG_NEWSETELEM, CREATE, INET).text(1, table).text(2, map).nest(3, |list| {
        elements.iter().fold(list, |list, element| {
            list.nest(1, |m| {
                m.nest(1, |key| key.attr(1, &element.key))
                    .nest(2, |value| value.attr(1, &element.value))
                    .attr(6, &comment(&element.comment))
            })
        })
    })
}

/// Deletes elements by their keys.
pub(super) fn delete_elements<'a>(table: &str, map: &str, keys: impl IntoIterator<Item = &'a [u8]>) -> Message {
    message(libc::NFT_MSG_DELSETELEM, 0, INET)
        .text(1, table)
        .text(2, map)
        .nest(3, |list| keys.into_iter().fold(list, |list, key| list.nest(1, |m| m.nest(1, |k| k.attr(1, key)))))
}

/// A map's elements; a map or table that is not there has none.
pub(super) fn list_elements(socket: &mut Socket, table: &str, map: &str) -> Result<Vec<Element>, Error> {
    let dump = message(libc::NFT_MSG_GETSETELEM, DUMP, INET).text(1, table).text(2, map);
    let replies = match socket.ask(&format!("list nftables map {table} {map}"), dump) {
        Err(e) if e.is(libc::ENOENT) => return Ok(Vec::new()),
        replies => replies?,
    };
    let lists = replies.iter().filter_map(|reply| find(reply.get(4..)?, 3));
    Ok(lists.flat_map(super::netlink::attributes).filter_map(|(_, element)| parse_element(element)).collect())
}

fn parse_element(element: &[u8]) -> Option<Element> {
    let data = |kind| find(find(element, kind)?, 1).map(<[u8]>::to_vec);
    let comment = find(element, 6).and_then(|data| data.get(2..)).map(as_text).unwrap_or_default();
    Some(Element { key: data(1)?, value: data(2).unwrap_or_default(), comment })
}

/// User data as nft writes it: type 0 (comment), length, text with its NUL.
fn comment(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(127)];
    let mut data = vec![0, text.len() as u8 + 1];
    data.extend_from_slice(text);
    data.push(0);
    data
}

/// Every chain at the forward hook, of any table, whose policy is to drop.
pub(super) fn dropping_forward_chains(socket: &mut Socket) -> Result<Vec<DroppingChain>, Error> {
    let dump = message(libc::NFT_MSG_GETCHAIN, DUMP, libc::NFPROTO_UNSPEC as u8);
    Ok(socket.ask("list nftables chains", dump)?.iter().filter_map(|reply| parse_dropping(reply)).collect())
}

fn parse_dropping(body: &[u8]) -> Option<DroppingChain> {
    let (family, attributes) = (*body.first()?, body.get(4..)?);
    let hook = find(find(attributes, 4)?, 1).and_then(as_be32)?;
    let policy = find(attributes, 5).and_then(as_be32)?;
    let drops = hook == HOOK_FORWARD && policy == libc::NF_DROP as u32 && [INET, IPV4, IPV6].contains(&family);
    drops.then(|| DroppingChain {
        family,
        table: find(attributes, 1).map(as_text).unwrap_or_default(),
        chain: find(attributes, 3).map(as_text).unwrap_or_default(),
    })
}

/// True where a rule of that chain names the link, so that its owner has thought of it.
pub(super) fn chain_names_link(socket: &mut Socket, chain: &DroppingChain, link: &str) -> Result<bool, Error> {
    let dump = message(libc::NFT_MSG_GETRULE, DUMP, chain.family).text(1, &chain.table);
    let replies = socket.ask(&format!("list the rules of nftables table {}", chain.table), dump)?;
    let needle = link.as_bytes();
    Ok(replies.iter().any(|reply| reply.windows(needle.len()).any(|window| window == needle)))
}

/// 32-bit registers; the first of sixteen.
pub(super) const R0: u32 = 8;

/// One instruction of a rule.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    /// Loads what is known about a packet: protocol family, layer 4 protocol, link names.
    Meta { key: u32, into: u32 },
    /// Loads bytes of the packet's network (1) or transport (2) header.
    Payload { base: u32, offset: u32, length: u32, into: u32 },
    /// Goes on only where the register equals, or differs from, these bytes.
    Compare { register: u32, equal: bool, bytes: Vec<u8> },
    /// Masks a register.
    Mask { register: u32, mask: Vec<u8> },
    /// Loads the connection's status bits.
    ConnectionStatus { into: u32 },
    /// Loads the type of route to the destination address.
    DestinationType { into: u32 },
    /// Looks a key up in a map, or goes no further.
    Lookup { map: &'static str, from: u32, into: u32 },
    /// Rewrites the destination address and port.
    Dnat { family: u8, address: u32, port: u32 },
    /// Rewrites the source address to that of the link it leaves by.
    Masquerade,
    /// Drops the packet.
    Drop,
    /// Goes through another chain.
    Jump { chain: &'static str },
}

impl Expression {
    fn encode(&self, m: Message) -> Message {
        let named = |m: Message, name: &str, fill: &dyn Fn(Message) -> Message| m.text(1, name).nest(2, fill);
        match self {
            Expression::Meta { key, into } => named(m, "meta", &|m| m.be32(2, *key).be32(1, *into)),
            Expression::Payload { base, offset, length, into } => {
                named(m, "payload", &|m| m.be32(1, *into).be32(2, *base).be32(3, *offset).be32(4, *length))
            }
            Expression::Compare { register, equal, bytes } => named(m, "cmp", &|m| {
                m.be32(1, *register).be32(2, u32::from(!equal)).nest(3, |data| data.attr(1, bytes))
            }),
            Expression::Mask { register, mask } => named(m, "bitwise", &|m| {
                m.be32(1, *register)
                    .be32(2, *register)
                    .be32(3, mask.len() as u32)
                    .nest(4, |data| data.attr(1, mask))
                    .nest(5, |data| data.attr(1, &vec![0; mask.len()]))
            }),
            Expression::ConnectionStatus { into } => named(m, "ct", &|m| m.be32(2, 2).be32(1, *into)),
            Expression::DestinationType { into } => named(m, "fib", &|m| m.be32(3, 2).be32(2, 3).be32(1, *into)),
            Expression::Lookup { map, from, into } => {
                named(m, "lookup", &|m| m.text(1, map).be32(2, *from).be32(3, *into))
            }
            Expression::Dnat { family, address, port } => {
                named(m, "nat", &|m| m.be32(1, 1).be32(2, u32::from(*family)).be32(3, *address).be32(5, *port))
            }
            Expression::Masquerade => named(m, "masq", &|m| m),
            Expression::Drop => verdict(m, libc::NF_DROP, None),
            Expression::Jump { chain } => verdict(m, libc::NFT_JUMP, Some(chain)),
        }
    }
}

fn verdict(m: Message, code: i32, chain: Option<&str>) -> Message {
    m.text(1, "immediate").nest(2, |m| {
        m.be32(1, 0).nest(2, |data| {
            data.nest(2, |v| {
                let v = v.be32(1, code as u32);
                chain.into_iter().fold(v, |v, chain| v.text(2, chain))
            })
        })
    })
}

/// Matches the protocol family, in the `inet` family's tables.
pub(super) fn family_is(family: u8) -> Vec<Expression> {
    vec![Expression::Meta { key: 15, into: R0 }, Expression::Compare { register: R0, equal: true, bytes: vec![family] }]
}

/// Matches the link a packet came in by.
pub(super) fn comes_by(link: &str) -> Vec<Expression> {
    link_name(6, link, true)
}

/// Matches the link a packet leaves by.
pub(super) fn leaves_by(link: &str, equal: bool) -> Vec<Expression> {
    link_name(7, link, equal)
}

fn link_name(key: u32, link: &str, equal: bool) -> Vec<Expression> {
    let mut bytes = link.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    vec![Expression::Meta { key, into: R0 }, Expression::Compare { register: R0, equal, bytes }]
}
