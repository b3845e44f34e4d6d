//! Limits on what leaves a link: a token bucket filter.

use super::netlink::{ACK, CREATE, Error, Message, REPLACE, REQUEST, Socket};

const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const TBF_PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
const ROOT: u32 = 0xffff_ffff;
const ETHERNET: u8 = 1;

/// The least that may leave at once, in bytes: one packet as large as segmentation offload makes them.
const LEAST_BURST: u64 = 64 * 1024;

/// Limits what leaves the link to this many bits per second, in bursts of at most a tenth of a second.
pub(super) fn limit(socket: &mut Socket, link: u32, bits_per_second: u64) -> Result<(), Error> {
    let rate = (bits_per_second / 8).max(1);
    let burst = (rate / 10).clamp(LEAST_BURST, u64::from(u32::MAX / 4)) as u32;
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&link.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWQDISC, REQUEST | ACK | CREATE | REPLACE, &header).text(KIND, "tbf");
    message = message.nest(OPTIONS, |options| {
        options.attr(TBF_PARMS, &parameters(rate, burst)).attr(TBF_RATE64, &rate.to_ne_bytes()).u32(TBF_BURST, burst)
    });
    socket.ask(&format!("limit traffic to {bits_per_second} bit/s"), message).map(drop)
}

/// `struct tc_tbf_qopt`: the rate, no peak rate, how many bytes may wait, and (unused beside TBF_BURST) the buffer.
fn parameters(rate: u64, burst: u32) -> [u8; 36] {
    let mut bytes = [0; 36];
    bytes[1] = ETHERNET;
    bytes[8..12].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes[24..28].copy_from_slice(&burst.saturating_mul(2).to_ne_bytes());
    bytes
}
