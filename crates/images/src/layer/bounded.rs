//! A tar archive that is read within limits, and hashed.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use super::LayerError;
use crate::digest::{Digest, Hasher};

/// What the headers before one entry may take: names, links and extended attributes.
const HEADER_BYTES: u64 = 4 << 20;

/// An uncompressed archive, limited in two ways: over all, and while the parser reads headers, which it holds in
/// memory.
pub(crate) struct Bounded<R> {
    inner: R,
    headers: Headers,
    left: u64,
    limit: u64,
}

/// What may still be read of headers.
#[derive(Clone)]
pub(crate) struct Headers(Rc<Cell<u64>>);

impl Headers {
    /// From here the parser reads what it holds in memory.
    pub(crate) fn begin(&self) {
        self.0.set(HEADER_BYTES);
    }

    /// From here content is read, which nobody holds in memory.
    pub(crate) fn end(&self) {
        self.0.set(u64::MAX);
    }
}

impl<R> Bounded<R> {
    /// An archive of no more than `limit` bytes.
    pub(crate) fn new(inner: R, limit: u64) -> (Self, Headers) {
        let headers = Headers(Rc::new(Cell::new(HEADER_BYTES)));
        (Self { inner, headers: headers.clone(), left: limit, limit }, headers)
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let read = length as u64;
        let over = |what, limit| move || io::Error::other(LayerError::Limit { what, limit });
        self.left = self.left.checked_sub(read).ok_or_else(over("unpacked bytes", self.limit))?;
        let budget = self.headers.0.get().checked_sub(read);
        self.headers.0.set(budget.ok_or_else(over("bytes of entry headers", HEADER_BYTES))?);
        Ok(length)
    }
}

/// Hashes what is read through it.
pub(super) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::default() }
    }

    pub(super) fn finish(self) -> Digest {
        self.hasher.finish().0
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}
