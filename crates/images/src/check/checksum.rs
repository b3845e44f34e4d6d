//! XXH3, 64 bits: faster than the memory it reads. It finds what a disk did, not what an attacker does.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

/// The checksum of something that comes in pieces, one of which may be all of it.
#[derive(Default)]
pub(crate) enum Checksum {
    #[default]
    Nothing,
    /// Of one piece that was all.
    Whole(u64),
    Pieces(Box<XxHash3_64>),
}

impl Checksum {
    /// Of bytes that are all there.
    pub fn of(bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot(bytes)
    }

    /// Adds the next piece of what is `size` bytes long in all, as far as is known.
    pub fn update(&mut self, piece: &[u8], size: u64) {
        match self {
            Self::Nothing if piece.len() as u64 == size => *self = Self::Whole(Self::of(piece)),
            Self::Nothing | Self::Whole(_) => {
                let mut pieces = Box::new(XxHash3_64::new());
                pieces.write(piece);
                *self = Self::Pieces(pieces);
            }
            Self::Pieces(pieces) => pieces.write(piece),
        }
    }

    pub fn finish(self) -> u64 {
        match self {
            Self::Nothing => Self::of(&[]),
            Self::Whole(checksum) => checksum,
            Self::Pieces(pieces) => pieces.finish(),
        }
    }
}
