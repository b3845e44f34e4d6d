//! Files with holes in GNU tar's old form: the header tells where the content goes that is stored, and header blocks of
//! their own tell more of it.

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::{LayerError, members::BLOCK};

/// A part of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Hole(u64),
    Stored(u64),
}

/// The pieces of a file in their order.
#[derive(Default)]
struct Map {
    pieces: Vec<Piece>,
    /// Where the last piece ends.
    end: u64,
    stored: u64,
}

impl Map {
    fn add(&mut self, block: &GnuSparseHeader) -> Result<(), LayerError> {
        if block.is_empty() {
            return Ok(());
        }
        let (offset, length) = (block.offset()?, block.length()?);
        if length != 0 && !self.stored.is_multiple_of(BLOCK) {
            return Err(LayerError::format("a piece of a sparse file is not whole blocks"));
        }
        let hole =
            offset.checked_sub(self.end).ok_or_else(|| LayerError::format("the pieces of a sparse file overlap"))?;
        self.end = offset.checked_add(length).ok_or_else(|| LayerError::format("a sparse file longer than can be"))?;
        self.stored = self.stored.saturating_add(length);
        for piece in [Piece::Hole(hole), Piece::Stored(length)] {
            if !matches!(piece, Piece::Hole(0) | Piece::Stored(0)) {
                self.pieces.push(piece);
            }
        }
        Ok(())
    }
}

/// Reads the rest of the map of a sparse file, of which so many bytes are stored. The file's pieces and its size.
pub(super) fn pieces(header: &Header, stored: u64, archive: &mut impl Read) -> Result<(Vec<Piece>, u64), LayerError> {
    let gnu = header.as_gnu().ok_or_else(|| LayerError::format("a sparse file without GNU's header"))?;
    let mut map = Map::default();
    gnu.sparse.iter().try_for_each(|block| map.add(block))?;
    let mut more = gnu.is_extended();
    while more {
        let mut next = GnuExtSparseHeader::new();
        archive.read_exact(next.as_mut_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LayerError::format("it ends within the map of a sparse file"),
            _ => error.into(),
        })?;
        next.sparse.iter().try_for_each(|block| map.add(block))?;
        more = next.is_extended();
    }
    if map.end != gnu.real_size()? {
        return Err(LayerError::format("a sparse file whose size is not where its last piece ends"));
    }
    if map.stored != stored {
        return Err(LayerError::format("a sparse file with another amount stored than its pieces have"));
    }
    Ok((map.pieces, map.end))
}
