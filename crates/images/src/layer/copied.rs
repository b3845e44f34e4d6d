//! A blob that is written to a file while it is read.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use super::LayerError;

/// Writes what is read through it to a file, up to a limit.
pub(crate) struct Copied<R> {
    inner: R,
    file: File,
    left: u64,
    limit: u64,
}

impl<R> Copied<R> {
    /// A copy of no more than `limit` bytes: more is an error.
    pub(crate) fn new(inner: R, file: File, limit: u64) -> Self {
        Self { inner, file, left: limit, limit }
    }
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let over = || io::Error::other(LayerError::Limit { what: "compressed bytes", limit: self.limit });
        self.left = self.left.checked_sub(length as u64).ok_or_else(over)?;
        let failed = LayerError::disk("write", Path::new("the blob to be kept"));
        self.file
            .write_all(buffer.get(..length).unwrap_or_default())
            .map_err(|error| io::Error::other(failed(error)))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_read_is_written_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        let copy = |limit| {
            let mut read = Vec::new();
            let result =
                Copied::new(b"0123456789".as_slice(), File::create(&path).unwrap(), limit).read_to_end(&mut read);
            (result.map_err(LayerError::from), std::fs::read(&path).unwrap())
        };
        assert_eq!(copy(10).1, b"0123456789");
        let (result, written) = copy(9);
        assert!(matches!(result, Err(LayerError::Limit { limit: 9, .. })), "{result:?}");
        assert!(written.len() <= 9);
    }

    #[test]
    fn a_disk_that_does_not_take_it_is_the_nodes_fault() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let result = Copied::new(b"0123456789".as_slice(), full, 10).read_to_end(&mut Vec::new());
        assert!(matches!(result.map_err(LayerError::from), Err(LayerError::Disk { .. })));
    }
}
