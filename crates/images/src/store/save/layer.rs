//! A layer's bytes in an archive that we write.

use std::{
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use crate::{
    Error,
    digest::Hasher,
    layer::{Packing, decompress},
    manifest::Content,
};

const BUFFER: usize = 256 << 10;

/// Where the bytes come from. They are the same each time.
pub(super) enum Layer {
    /// Its directory.
    Packed(Packing),
    /// Its blob, as it is.
    Blob(PathBuf),
    /// Its blob, decompressed. Only of one that was verified.
    Decompressed(PathBuf),
}

impl Layer {
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        let path = match self {
            Self::Packed(packing) => return packing.write(out),
            Self::Blob(path) | Self::Decompressed(path) => path,
        };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut blob = BufReader::with_capacity(BUFFER, file);
        let copied = match self {
            Self::Decompressed(_) => {
                let mut archive = decompress(&mut blob).map_err(|error| Error::io("decompress", path)(other(error)))?;
                io::copy(&mut archive, out)
            }
            _ => io::copy(&mut blob, out),
        };
        copied.map(drop).map_err(Error::io("copy", path))
    }

    /// What it comes to. Ends early, with an error, when nobody waits for the archive any more.
    pub fn measure(&self, archive: &Sender<Bytes>) -> Result<Content, Error> {
        let mut hashed = Hashed { hasher: Hasher::default(), out: &mut Nobody(archive) };
        self.write(&mut hashed)?;
        Ok(hashed.content())
    }

    /// Writes it, and fails if it is not what it came to before.
    pub fn write_measured(&self, content: Content, out: &mut impl Write) -> Result<(), Error> {
        let mut hashed = Hashed { hasher: Hasher::default(), out };
        self.write(&mut hashed)?;
        if hashed.content() != content {
            return Err(Error::io("pack", self.path())(io::Error::other("it was changed while it was packed")));
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        match self {
            Self::Packed(packing) => &packing.directory,
            Self::Blob(path) | Self::Decompressed(path) => path,
        }
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// Hashes what goes through.
struct Hashed<'a, W> {
    hasher: Hasher,
    out: &'a mut W,
}

impl<W> Hashed<'_, W> {
    fn content(self) -> Content {
        let (digest, size) = self.hasher.finish();
        Content { digest, size }
    }
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Takes everything, as long as somebody waits for what comes after.
struct Nobody<'a>(&'a Sender<Bytes>);

impl Write for Nobody<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.is_closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
