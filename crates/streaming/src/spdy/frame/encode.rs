//! Frames, to bytes.

use bytes::{BufMut, BytesMut};

use super::{
    CONTROL, FIN, Frame, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, STREAM, SYN_REPLY, SYN_STREAM, UNIDIRECTIONAL,
    VERSION, WINDOW_UPDATE,
};

/// The most bytes that one data frame can hold.
const DATA_LIMIT: usize = 0x00ff_ffff;

impl Frame {
    /// Appends this frame's bytes. Data that do not fit in one frame become several.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::SynStream { stream, associated, priority, fin, unidirectional, block } => {
                let flags = (u8::from(*fin) * FIN) | (u8::from(*unidirectional) * UNIDIRECTIONAL);
                control_header(SYN_STREAM, flags, 10 + block.len(), out);
                out.put_u32(*stream);
                out.put_u32(*associated);
                out.put_slice(&[priority << 5, 0]);
                out.put_slice(block);
            }
            Self::SynReply { stream, fin, block } => {
                control_header(SYN_REPLY, u8::from(*fin) * FIN, 4 + block.len(), out);
                out.put_u32(*stream);
                out.put_slice(block);
            }
            Self::Headers { stream, fin, block } => {
                control_header(HEADERS, u8::from(*fin) * FIN, 4 + block.len(), out);
                out.put_u32(*stream);
                out.put_slice(block);
            }
            Self::RstStream { stream, status } => pair(RST_STREAM, *stream, *status, out),
            Self::GoAway { last, status } => pair(GOAWAY, *last, *status, out),
            Self::WindowUpdate { stream, delta } => pair(WINDOW_UPDATE, *stream, *delta, out),
            Self::Settings => {
                control_header(SETTINGS, 0, 4, out);
                out.put_u32(0);
            }
            Self::Ping(number) => {
                control_header(PING, 0, 4, out);
                out.put_u32(*number);
            }
            Self::Data { stream, bytes, fin } => data(*stream, bytes, *fin, out),
        }
    }
}

/// Appends the header of a data frame: the bytes, at most [`CHUNK`], are for the caller to send.
pub(in crate::spdy) fn data_header(stream: u32, length: usize, fin: bool, out: &mut BytesMut) {
    out.put_u32(stream & STREAM);
    flags_and_length(u8::from(fin) * FIN, length, out);
}

fn data(stream: u32, mut bytes: &[u8], fin: bool, out: &mut BytesMut) {
    while let Some((full, rest)) = bytes.split_at_checked(DATA_LIMIT).filter(|(_, rest)| !rest.is_empty()) {
        data_header(stream, full.len(), false, out);
        out.put_slice(full);
        bytes = rest;
    }
    data_header(stream, bytes.len(), fin, out);
    out.put_slice(bytes);
}

fn pair(kind: u16, first: u32, second: u32, out: &mut BytesMut) {
    control_header(kind, 0, 8, out);
    out.put_u32(first);
    out.put_u32(second);
}

fn control_header(kind: u16, flags: u8, length: usize, out: &mut BytesMut) {
    out.put_u32(CONTROL | (u32::from(VERSION) << 16) | u32::from(kind));
    flags_and_length(flags, length, out);
}

fn flags_and_length(flags: u8, length: usize, out: &mut BytesMut) {
    debug_assert!(length <= DATA_LIMIT, "no frame of ours is longer");
    out.put_u8(flags);
    out.put_uint(u64::try_from(length).unwrap_or(u64::MAX) & 0x00ff_ffff, 3);
}
