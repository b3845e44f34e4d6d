//! Layers.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::build::{Blob, digest};

/// A layer in the making: a tar stream.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

/// A layer as an image has it.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The digest of the tar stream.
    pub diff_id: String,
    /// The tar stream, gzipped.
    pub blob: Blob,
}

/// Owner, group and permissions.
type Access = (u64, u64, u32);

impl Layer {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// The path is too long (100 bytes).
    pub fn dir(self, path: &str, mode: u32) -> io::Result<Self> {
        self.owned_dir(path, (0, 0, mode))
    }

    /// Adds a directory of an owner's.
    ///
    /// # Errors
    /// As for [`Layer::dir`].
    pub fn owned_dir(self, path: &str, access: Access) -> io::Result<Self> {
        self.entry(path, EntryType::Directory, access, None, b"")
    }

    /// Adds a file of root's.
    ///
    /// # Errors
    /// As for [`Layer::dir`].
    pub fn file(self, path: &str, mode: u32, data: &[u8]) -> io::Result<Self> {
        self.entry(path, EntryType::Regular, (0, 0, mode), None, data)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// As for [`Layer::dir`].
    pub fn symlink(self, path: &str, target: &str) -> io::Result<Self> {
        self.entry(path, EntryType::Symlink, (0, 0, 0o777), Some(target), b"")
    }

    fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        access: Access,
        target: Option<&str>,
        data: &[u8],
    ) -> io::Result<Self> {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        header.set_entry_type(kind);
        if let Some(target) = target {
            header.set_link_name(target)?;
        }
        let (uid, gid, mode) = access;
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.tar.append(&header, data)?;
        Ok(self)
    }

    /// Compresses it.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub fn pack(self) -> io::Result<Packed> {
        let tar = self.tar.into_inner()?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&tar)?;
        Ok(Packed { diff_id: digest(&tar), blob: Blob::new(encoder.finish()?) })
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}
