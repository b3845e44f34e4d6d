//! Frames, written.

use std::io;
use std::ops::Deref;

use bytes::{BufMut, BytesMut};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Opcode, Role, mask};

/// A frame's header.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; 14],
    length: usize,
}

impl Header {
    /// Of a frame that is a whole message or a control frame, with a payload of so many bytes, masked or not.
    #[must_use]
    pub fn new(opcode: Opcode, payload: usize, key: Option<[u8; 4]>) -> Self {
        let mut header = Self { bytes: [0; 14], length: 0 };
        header.put(&[0x80 | opcode.bits()]);
        let masked = if key.is_some() { 0x80 } else { 0 };
        match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short @ ..126), _) => header.put(&[masked | short]),
            (_, Ok(middle)) => {
                header.put(&[masked | 126]);
                header.put(&middle.to_be_bytes());
            }
            _ => {
                header.put(&[masked | 127]);
                header.put(&(payload as u64).to_be_bytes());
            }
        }
        if let Some(key) = key {
            header.put(&key);
        }
        header
    }

    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(to) = self.bytes.get_mut(self.length) {
                *to = *byte;
                self.length += 1;
            }
        }
    }
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Appends a frame whose payload is these parts, masked if there is a key.
pub fn append(to: &mut BytesMut, opcode: Opcode, mut key: Option<[u8; 4]>, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    let header = Header::new(opcode, length, key);
    to.reserve(header.len() + length);
    to.put_slice(&header);
    for part in parts {
        let at = to.len();
        to.put_slice(part);
        if let (Some(now), Some(bytes)) = (key, to.get_mut(at..)) {
            key = Some(mask(now, bytes));
        }
    }
}

impl Role {
    /// What the next frame is masked with.
    ///
    /// # Errors
    /// What getrandom(2) says.
    pub fn key(self) -> io::Result<Option<[u8; 4]>> {
        match self {
            Self::Server => Ok(None),
            Self::Client => new_mask().map(Some),
        }
    }
}

/// A mask that nobody can predict (RFC 6455, 5.3).
///
/// # Errors
/// What getrandom(2) says.
fn new_mask() -> io::Result<[u8; 4]> {
    let mut key = [0; 4];
    // Up to 256 bytes come whole.
    getrandom(&mut key, GetRandomFlags::empty())?;
    Ok(key)
}
