//! From a blob's bytes, as they arrive, to the uncompressed archive and its digest.

use std::io::{self, BufRead, BufReader, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::{
    LayerError, Target, Unpacked,
    bounded::{Bounded, Hashed},
    entry::describe,
    members::Members,
    unpack::Unpacker,
};

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
    let unpacked = unpack_archive(Hashed::new(decompress(&mut blob)?), target)?;
    io::copy(&mut blob, &mut io::sink())?;
    Ok(unpacked)
}

/// The content says how it is compressed; the media type has been wrong in published images, and the diff id
/// decides in the end.
pub(crate) fn decompress<'a, R: BufRead + 'a>(blob: &'a mut R) -> Result<Box<dyn Read + 'a>, LayerError> {
    let magic = blob.fill_buf()?;
    // The name of an archive's first member may begin as gzip or zstd do.
    if magic.get(257..262) == Some(b"ustar") {
        return Ok(Box::new(blob));
    }
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

fn unpack_archive<R: Read>(archive: Hashed<R>, target: &Target<'_>) -> Result<Unpacked, LayerError> {
    let (archive, headers) = Bounded::new(archive, target.limits.layer_bytes);
    let mut members = Members::new(archive);
    let mut unpacker = Unpacker::new(target)?;
    loop {
        headers.begin();
        let Some(member) = members.next()? else { break };
        headers.end();
        unpacker.admit(member.size)?;
        if let Some(described) = describe(member, target.limits.path_bytes)? {
            unpacker.entry(described, &mut members)?;
        }
        members.skip()?;
    }
    let contents = unpacker.finish()?;
    let mut archive = members.into_inner();
    headers.end();
    io::copy(&mut archive, &mut io::sink())?;
    let diff_id = archive.into_inner().finish();
    Ok(Unpacked {
        diff_id,
        usage: contents.usage,
        has_root: contents.has_root,
        implied: contents.implied,
        files: contents.files,
    })
}
