//! Netlink, by hand: messages, attributes, and one blocking socket.
//!
//! A socket belongs to the network namespace of the thread that opens it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// The flag of a request.
pub(super) const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Ask for an acknowledgement.
pub(super) const ACK: u16 = libc::NLM_F_ACK as u16;
/// Ask for everything.
pub(super) const DUMP: u16 = libc::NLM_F_DUMP as u16;
/// Create what is not there.
pub(super) const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// Refuse what is there already.
pub(super) const EXCL: u16 = libc::NLM_F_EXCL as u16;
/// Replace what is there.
pub(super) const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
/// Append to a list.
pub(super) const APPEND: u16 = libc::NLM_F_APPEND as u16;

/// Something changed while the kernel dumped.
const INTERRUPTED: u16 = libc::NLM_F_DUMP_INTR as u16;

const HEADER: usize = 16;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
const TYPE_MASK: u16 = libc::NLA_TYPE_MASK as u16;

/// What the kernel answered to a request, or why it could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("netlink: {operation}: {source}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct Error {
    /// What was asked for, in words.
    pub operation: String,
    /// The kernel's extended message, where it sent one.
    pub detail: Option<String>,
    /// The errno.
    pub source: io::Error,
}

impl Error {
    pub(super) fn new(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error { operation: operation.into(), detail: None, source: source.into() }
    }

    /// True where the kernel answered with this errno.
    pub(super) fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

/// A message under construction. Lengths are filled in as attributes close.
#[derive(Debug, Clone)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of this type, with flags and the family's fixed header.
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Message { bytes }
    }

    /// Adds an attribute.
    pub(super) fn attr(mut self, kind: u16, data: &[u8]) -> Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(data);
        self.close(start);
        self
    }

    /// Adds a string attribute, with its NUL.
    pub(super) fn text(mut self, kind: u16, text: &str) -> Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.close(start);
        self
    }

    /// Adds a number in the machine's byte order (rtnetlink).
    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order (nfnetlink).
    pub(super) fn be32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds others.
    pub(super) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.open(kind | NESTED);
        let mut filled = fill(self);
        filled.close(start);
        filled
    }

    /// Adds bytes as they are: a fixed header inside a nested attribute.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        pad(&mut self.bytes);
        self
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`, up to the first that does not fit.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let data = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// The first attribute of this type.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, data)| data)
}

/// A NUL-terminated string attribute.
pub(super) fn as_text(data: &[u8]) -> String {
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    String::from_utf8_lossy(&data[..end]).into_owned()
}

/// A 32-bit attribute in the machine's byte order.
pub(super) fn as_u32(data: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(0..4)?.try_into().ok()?))
}

/// A 32-bit attribute in network byte order.
pub(super) fn as_be32(data: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(0..4)?.try_into().ok()?))
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket for links, addresses and routes.
    pub(super) fn route() -> Result<Self, Error> {
        Self::open(None).map_err(|e| Error::new("open a NETLINK_ROUTE socket", e))
    }

    /// A socket for nftables. To be kept: closing one waits until the kernel has freed what was last deleted.
    pub(super) fn netfilter() -> Result<Self, Error> {
        Self::open(Some(rustix::net::netlink::NETFILTER)).map_err(|e| Error::new("open a NETLINK_NETFILTER socket", e))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers while it handles the request; a limit keeps a bug from hanging its caller for ever.
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(10)))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            enable(&fd, option)?;
        }
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends one request and collects what comes back (without netlink's header), up to its acknowledgement or the end
    /// of its dump. A dump that something changed meanwhile may lack parts: it is made again.
    pub(super) fn ask(&mut self, operation: &str, message: Message) -> Result<Vec<Vec<u8>>, Error> {
        const ATTEMPTS: u32 = 20;
        for _ in 0..ATTEMPTS {
            if let Some(replies) = self.ask_once(operation, message.clone())? {
                return Ok(replies);
            }
        }
        Err(Error::new(operation, io::Error::from_raw_os_error(libc::EAGAIN)))
    }

    /// None where the dump was interrupted.
    fn ask_once(&mut self, operation: &str, message: Message) -> Result<Option<Vec<Vec<u8>>>, Error> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.send(&message.finish(sequence)).map_err(|e| Error::new(operation, e))?;
        let (mut replies, mut whole) = (Vec::new(), true);
        loop {
            let datagram = self.receive(RecvFlags::empty()).map_err(|e| Error::new(operation, e))?;
            for part in Parts(&datagram) {
                if part.sequence != sequence {
                    continue;
                }
                match i32::from(part.kind) {
                    libc::NLMSG_ERROR => return answer(operation, &part).map(|()| Some(replies)),
                    libc::NLMSG_DONE => return done(operation, &part).map(|()| whole.then_some(replies)),
                    _ if part.flags & INTERRUPTED != 0 => whole = false,
                    _ => replies.push(part.body.to_vec()),
                }
            }
        }
    }

    /// Sends nftables messages as one transaction: all of them take effect, or none.
    ///
    /// The kernel handles the whole batch before send returns, so everything it says is there to be read.
    pub(super) fn transaction(&mut self, operation: &str, messages: Vec<Message>) -> Result<(), Error> {
        let last = messages.len();
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        let marked = std::iter::once(batch_mark(libc::NFNL_MSG_BATCH_BEGIN))
            .chain(messages)
            .chain([batch_mark(libc::NFNL_MSG_BATCH_END)]);
        for (at, mut message) in marked.enumerate() {
            if at == last {
                let flags = u16::from_ne_bytes([message.bytes[6], message.bytes[7]]) | ACK;
                message.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
            }
            self.sequence += 1;
            bytes.extend_from_slice(&message.finish(self.sequence));
        }
        self.send(&bytes).map_err(|e| Error::new(operation, e))?;
        self.transaction_result(operation, first)
    }

    fn transaction_result(&mut self, operation: &str, first: u32) -> Result<(), Error> {
        let (mut acknowledged, mut failed) = (false, None);
        loop {
            let datagram = match self.receive(RecvFlags::DONTWAIT) {
                Ok(datagram) => datagram,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(Error::new(operation, e)),
            };
            let answers = Parts(&datagram).filter(|part| i32::from(part.kind) == libc::NLMSG_ERROR);
            for part in answers.filter(|part| part.sequence >= first) {
                failed = failed.or(answer(operation, &part).err());
                acknowledged = true;
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if acknowledged { Ok(()) } else { Err(Error::new(operation, io::Error::other("the kernel did not answer"))) }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // A batch must be sent as one datagram, which must fit the send buffer.
        if bytes.len() > 64 * 1024 {
            enlarge(&self.fd, bytes.len() * 2)?;
        }
        let sent = rustix::net::send(&self.fd, bytes, SendFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::other("the kernel took part of a message")) }
    }

    fn receive(&self, flags: RecvFlags) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match rustix::net::recv(&self.fd, buffer.as_mut_slice(), flags | RecvFlags::TRUNC) {
                Ok((_, size)) if size > buffer.len() => return Err(io::Error::other("a netlink answer was too long")),
                Ok((_, size)) => {
                    buffer.truncate(size);
                    return Ok(buffer);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

fn batch_mark(kind: i32) -> Message {
    // struct nfgenmsg: family, version, and the subsystem the batch is for.
    let mut fixed = [0; 4];
    fixed[2..4].copy_from_slice(&(libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes());
    Message::new(kind as u16, REQUEST, &fixed)
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    set(fd, libc::SOL_NETLINK, option, 1)
}

fn enlarge(fd: &OwnedFd, size: usize) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size.min(i32::MAX as usize) as libc::c_int)
}

fn set(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the option's value is an int that lives through the call.
    let done = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), size) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Part<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let length = as_u32(self.0)? as usize;
        let part = Part {
            kind: u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(self.0.get(6..8)?.try_into().ok()?),
            sequence: as_u32(self.0.get(8..12)?)?,
            body: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    }
}

/// What an acknowledgement says: errno 0, or the error with the kernel's extended message.
fn answer(operation: &str, part: &Part<'_>) -> Result<(), Error> {
    const TLVS: u16 = libc::NLM_F_ACK_TLVS as u16;
    const CAPPED: u16 = libc::NLM_F_CAPPED as u16;
    const MESSAGE: u16 = 1;
    let errno = as_u32(part.body).unwrap_or(0) as i32;
    if errno == 0 {
        return Ok(());
    }
    let request = if part.flags & CAPPED != 0 {
        HEADER
    } else {
        as_u32(part.body.get(4..).unwrap_or_default()).unwrap_or(0) as usize
    };
    let extended = part.body.get(4 + request.next_multiple_of(4)..).filter(|_| part.flags & TLVS != 0);
    let detail = extended.and_then(|tlvs| find(tlvs, MESSAGE)).map(as_text);
    Err(Error { operation: operation.to_owned(), detail, source: io::Error::from_raw_os_error(-errno) })
}

fn done(operation: &str, part: &Part<'_>) -> Result<(), Error> {
    match as_u32(part.body).unwrap_or(0) as i32 {
        errno if errno < 0 => Err(Error::new(operation, io::Error::from_raw_os_error(-errno))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded_to_four_bytes() {
        let bytes = Message::new(16, REQUEST, &[1, 2, 3]).text(3, "eth0").nest(18, |m| m.text(1, "veth")).finish(7);
        assert_eq!(as_u32(&bytes), Some(bytes.len() as u32));
        assert_eq!(bytes.len() % 4, 0);
        let body = &bytes[HEADER + 4..];
        assert_eq!(as_text(find(body, 3).unwrap()), "eth0");
        assert_eq!(as_text(find(find(body, 18).unwrap(), 1).unwrap()), "veth");
    }

    #[test]
    fn broken_attributes_end_the_list_and_do_not_panic() {
        for broken in [&[][..], &[1], &[3, 0, 1, 0], &[255, 255, 1, 0, 0], &[0, 0, 0, 0]] {
            assert_eq!(attributes(broken).count(), 0, "{broken:?}");
        }
    }

    #[test]
    fn the_kernel_answers_with_errno_and_operation() {
        let mut socket = Socket::route().unwrap();
        let missing = Message::new(libc::RTM_GETLINK, REQUEST | ACK, &[0; 16]).text(libc::IFLA_IFNAME, "no-such-link");
        let error = socket.ask("find link no-such-link", missing).unwrap_err();
        assert!(error.is(libc::ENODEV), "{error}");
        assert!(error.to_string().starts_with("netlink: find link no-such-link: "), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_from_a_socket_make_the_parsers_panic(bytes: Vec<u8>) {
            for part in Parts(&bytes) {
                let _ = answer("x", &part);
                let _ = done("x", &part);
                let _ = attributes(part.body).map(|(_, data)| as_text(data).len()).sum::<usize>();
            }
            let _ = attributes(&bytes).flat_map(|(_, data)| attributes(data)).count();
        }

        #[test]
        fn attributes_come_back_as_they_were_written(written: Vec<(u16, Vec<u8>)>) {
            let written: Vec<(u16, Vec<u8>)> = written.into_iter().map(|(kind, data)| (kind & TYPE_MASK, data)).collect();
            let message = written.iter().fold(Message::new(1, 0, &[]), |m, (kind, data)| m.attr(*kind, data));
            let bytes = message.finish(1);
            let read: Vec<(u16, Vec<u8>)> = attributes(&bytes[HEADER..]).map(|(k, d)| (k, d.to_vec())).collect();
            proptest::prop_assert_eq!(read, written);
        }
    }
}
