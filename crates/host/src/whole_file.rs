//! Files that are there whole or not at all: written beside their place and renamed over it.
//!
//! No fsync: whoever is killed at any instruction leaves the old content or the new one; a machine that loses power may
//! leave neither.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Writes a file over what was there.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let beside = beside(path);
    fs::write(&beside, content)?;
    fs::rename(beside, path)
}

/// Removes a file, and what an interrupted [`write()`] of it left. Neither need be there.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_interrupted(path)?;
    unless_missing(fs::remove_file(path))
}

/// Removes what an interrupted [`write()`] of a file left: what it would have replaced still counts.
pub fn remove_interrupted(path: &Path) -> io::Result<()> {
    unless_missing(fs::remove_file(beside(path)))
}

/// Not a name that ends in what its readers look for (CNI's `.conf`, `.conflist` and `.json`, say).
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_of_an_interrupted_write_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record.json");
        write(&path, "old").unwrap();
        fs::write(beside(&path), "ne").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        remove_interrupted(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        write(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::write(beside(&path), "ne").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
