//! The content of files. One with holes is written in GNU tar's old sparse form, which all readers of layers know; where
//! its data is depends on the content alone and not on the file system.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
};

use rustix::{fs::Stat, io::Errno};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::entry::{Entry, pad};

pub(super) const BUFFER: usize = 256 << 10;
/// Holes are whole numbers of these, or of larger blocks in files that would have too many.
const HOLE: u64 = 64 << 10;
const HOLES: u64 = 1 << 15;

/// A piece of a file that is not all zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    offset: u64,
    length: u64,
}

/// Writes an entry with its file's content.
pub(super) fn write(
    entry: &Entry<'_>,
    stat: &Stat,
    file: OwnedFd,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> io::Result<()> {
    let (mut file, size) = (File::from(file), u64::try_from(stat.st_size).unwrap_or(0));
    let on_disk = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if size > HOLE && on_disk < size {
        let pieces = pieces(&mut file, size, buffer)?;
        if pieces != [Piece { offset: 0, length: size }] {
            return write_sparse(entry, size, &pieces, &mut file, buffer, out);
        }
        file.rewind()?;
    }
    Entry { size, ..entry.clone() }.write(out)?;
    copy(&mut file, size, buffer, out)?;
    pad(out, size)
}

/// Finds what is not zero, without reading what the file system knows to be holes.
fn pieces(file: &mut File, size: u64, buffer: &mut [u8]) -> io::Result<Vec<Piece>> {
    let block = (size / HOLES).next_power_of_two().max(HOLE);
    let mut pieces: Vec<Piece> = Vec::new();
    let mut offset = 0;
    while offset < size {
        let data = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(offset)) {
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            result => result?,
        };
        offset = data / block * block;
        let length = block.min(size - offset);
        file.seek(SeekFrom::Start(offset))?;
        if !is_zero(file, length, buffer)? {
            match pieces.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => pieces.push(Piece { offset, length }),
            }
        }
        offset += length;
    }
    Ok(pieces)
}

fn is_zero(file: &mut File, length: u64, buffer: &mut [u8]) -> io::Result<bool> {
    let mut zero = true;
    pass(file, length, buffer, |bytes| {
        zero &= bytes.iter().all(|&byte| byte == 0);
        Ok(())
    })?;
    Ok(zero)
}

fn copy(file: &mut File, length: u64, buffer: &mut [u8], out: &mut impl Write) -> io::Result<()> {
    pass(file, length, buffer, |bytes| out.write_all(bytes))
}

/// Reads so many bytes; fewer are an error, as the size has been written.
fn pass(
    file: &mut File,
    length: u64,
    buffer: &mut [u8],
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{left} bytes are missing")));
        }
        each(buffer.get(..read).unwrap_or_default())?;
        left -= read as u64;
    }
    Ok(())
}

fn write_sparse(
    entry: &Entry<'_>,
    size: u64,
    pieces: &[Piece],
    file: &mut File,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> io::Result<()> {
    let entry = Entry { kind: EntryType::GNUSparse, ..entry.clone() };
    entry.write_extended(out)?;
    let stored = pieces.iter().map(|piece| piece.length).sum();
    // Where the file ends counts too.
    let map: Vec<Piece> = pieces.iter().copied().chain([Piece { offset: size, length: 0 }]).collect();
    let mut header = Header::new_gnu();
    entry.fill(&mut header);
    header.set_size(stored);
    let Some(gnu) = header.as_gnu_mut() else { return Err(io::Error::other("no GNU header")) };
    let (first, mut rest) = map.split_at(map.len().min(gnu.sparse.len()));
    gnu.sparse.iter_mut().zip(first).for_each(|(place, piece)| describe(place, *piece));
    gnu.isextended = [u8::from(!rest.is_empty())];
    number(&mut gnu.realsize, size);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    while !rest.is_empty() {
        let mut more = GnuExtSparseHeader::new();
        let (first, later) = rest.split_at(rest.len().min(more.sparse.len()));
        more.sparse.iter_mut().zip(first).for_each(|(place, piece)| describe(place, *piece));
        more.isextended = [u8::from(!later.is_empty())];
        out.write_all(more.as_bytes())?;
        rest = later;
    }
    for piece in pieces {
        file.seek(SeekFrom::Start(piece.offset))?;
        copy(file, piece.length, buffer, out)?;
    }
    pad(out, stored)
}

fn describe(place: &mut GnuSparseHeader, piece: Piece) {
    place.set_offset(piece.offset);
    place.set_length(piece.length);
}

/// Octal where it fits, else binary, as the other numbers of a header.
fn number(field: &mut [u8; 12], value: u64) {
    let mut sparse = GnuSparseHeader { offset: [0; 12], numbytes: [0; 12] };
    sparse.set_length(value);
    *field = sparse.numbytes;
}
