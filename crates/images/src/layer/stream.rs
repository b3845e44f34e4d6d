//! From a blob's bytes, as they arrive, to the uncompressed archive and its digest.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::{LayerError, Target, Unpacked, unpack::Unpacker};
use crate::digest::Hasher;

/// What the headers before one entry may take: names, links and extended attributes.
const HEADER_BYTES: u64 = 4 << 20;
const BUFFER: usize = 256 << 10;
/// Long distances cost memory; this is what the zstd tool itself decompresses without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// A blob arriving over a channel, read on a blocking thread. It ends when the sender goes.
pub(crate) struct Blob {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Blob {
    /// A blob and where its chunks go; the sender waits when the reader is `depth` chunks behind.
    pub(crate) fn channel(depth: usize) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, chunks) = mpsc::channel(depth);
        (sender, Self { chunks, current: Bytes::new() })
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Decompresses a blob, unpacks it into the target's directory and hashes the archive, in one pass. The blob is read
/// to its end, so that the sender can verify it.
pub(crate) fn unpack_blob(blob: impl Read, target: &Target<'_>) -> Result<Unpacked, LayerError> {
    let mut blob = BufReader::with_capacity(BUFFER, blob);
    let unpacked = {
        let budget = Rc::new(Cell::new(0));
        let archive = Archive {
            inner: decompress(&mut blob)?,
            budget: budget.clone(),
            left: target.limits.layer_bytes,
            limit: target.limits.layer_bytes,
            hasher: Hasher::default(),
        };
        unpack_archive(archive, &budget, target)?
    };
    io::copy(&mut blob, &mut io::sink())?;
    Ok(unpacked)
}

/// The content says how it is compressed; the media type has been wrong in published images, and the diff id
/// decides in the end.
pub(crate) fn decompress<'a, R: BufRead + 'a>(blob: &'a mut R) -> Result<Box<dyn Read + 'a>, LayerError> {
    let magic = blob.fill_buf()?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob)));
    }
    let zstd = magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let skippable = magic.get(1..4) == Some(&[0x2a, 0x4d, 0x18]) && magic.first().is_some_and(|byte| byte >> 4 == 5);
    if zstd || skippable {
        let mut decoder = zstd::Decoder::with_buffer(blob)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(blob))
}

fn unpack_archive<R: Read>(
    archive: Archive<R>,
    budget: &Cell<u64>,
    target: &Target<'_>,
) -> Result<Unpacked, LayerError> {
    let mut tar = tar::Archive::new(archive);
    let mut unpacker = Unpacker::new(target)?;
    let mut entries = tar.entries()?;
    let mut count = 0;
    loop {
        budget.set(HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        budget.set(u64::MAX);
        count += 1;
        if count > target.limits.layer_entries {
            return Err(LayerError::Limit { what: "entries", limit: target.limits.layer_entries });
        }
        unpacker.entry(&mut entry)?;
        io::copy(&mut entry, &mut io::sink())?;
    }
    let contents = unpacker.finish()?;
    let mut archive = tar.into_inner();
    budget.set(u64::MAX);
    io::copy(&mut archive, &mut io::sink())?;
    let (diff_id, _) = archive.hasher.finish();
    Ok(Unpacked { diff_id, usage: contents.usage, has_root: contents.has_root, implied: contents.implied })
}

/// The uncompressed archive: hashed, and limited in two ways: over all, and while the parser reads headers, which it
/// holds in memory.
struct Archive<R> {
    inner: R,
    budget: Rc<Cell<u64>>,
    left: u64,
    limit: u64,
    hasher: Hasher,
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let read = length as u64;
        self.hasher.update(&buffer[..length]);
        self.left = self
            .left
            .checked_sub(read)
            .ok_or_else(|| io::Error::other(LayerError::Limit { what: "unpacked bytes", limit: self.limit }))?;
        let budget = self.budget.get().checked_sub(read).ok_or_else(|| {
            io::Error::other(LayerError::Limit { what: "bytes of entry headers", limit: HEADER_BYTES })
        })?;
        self.budget.set(budget);
        Ok(length)
    }
}
