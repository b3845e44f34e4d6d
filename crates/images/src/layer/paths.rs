//! What is remembered of a layer's directories until its end, within limits.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use rustix::fs::Timestamps;

use super::LayerError;

/// Directories of one layer that its archive uses without describing them; they stay in the index.
const IMPLIED: usize = 100_000;
const IMPLIED_BYTES: u64 = 8 << 20;
/// The directories of one layer, as they are held while it is unpacked.
const TIMES_BYTES: u64 = 128 << 20;
/// About what a path takes beside its text.
const OVERHEAD: u64 = 96;

/// Directories made without an entry of their own.
#[derive(Default)]
pub(super) struct Implied {
    paths: BTreeSet<PathBuf>,
    bytes: u64,
}

impl Implied {
    pub fn insert(&mut self, path: &Path) -> Result<(), LayerError> {
        if !self.paths.insert(path.to_owned()) {
            return Ok(());
        }
        self.bytes += length(path);
        if self.paths.len() > IMPLIED {
            return Err(LayerError::Limit { what: "undescribed directories", limit: IMPLIED as u64 });
        }
        if self.bytes > IMPLIED_BYTES {
            let what = "bytes of names of undescribed directories";
            return Err(LayerError::Limit { what, limit: IMPLIED_BYTES });
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) {
        if self.paths.remove(path) {
            self.bytes = self.bytes.saturating_sub(length(path));
        }
    }

    /// Forgets a directory and all in it.
    pub fn remove_tree(&mut self, path: &Path) {
        // Paths are ordered by component: what is below one follows it at once.
        let below = self.paths.range(path.to_owned()..).take_while(|other| other.starts_with(path));
        for path in below.cloned().collect::<Vec<_>>() {
            self.remove(&path);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }
}

/// What is set last of directories: their times, which filling them changes, and their default access control lists, which
/// what is made in them would get.
#[derive(Default)]
pub(super) struct SetLast {
    times: BTreeMap<PathBuf, Timestamps>,
    default_acls: BTreeMap<PathBuf, Vec<u8>>,
    bytes: u64,
}

impl SetLast {
    /// The last of several counts.
    pub fn insert(&mut self, path: PathBuf, times: Timestamps) -> Result<(), LayerError> {
        let bytes = length(&path).saturating_add(OVERHEAD);
        if self.times.insert(path, times).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.within_limit()
    }

    /// The last of several counts.
    pub fn insert_default_acl(&mut self, path: &Path, acl: Vec<u8>) -> Result<(), LayerError> {
        let bytes = length(path).saturating_add(OVERHEAD).saturating_add(acl.len() as u64);
        self.default_acls.insert(path.to_owned(), acl);
        self.bytes = self.bytes.saturating_add(bytes);
        self.within_limit()
    }

    fn within_limit(&self) -> Result<(), LayerError> {
        match self.bytes > TIMES_BYTES {
            true => Err(LayerError::Limit { what: "bytes of names of directories", limit: TIMES_BYTES }),
            false => Ok(()),
        }
    }

    pub fn default_acls(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.default_acls.iter().map(|(path, acl)| (path.as_path(), acl.as_slice()))
    }

    /// Children before parents.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Timestamps)> {
        self.times.iter().rev().map(|(path, times)| (path.as_path(), times))
    }
}

fn length(path: &Path) -> u64 {
    path.as_os_str().len() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::fs::Timespec;

    use super::*;

    fn times(seconds: i64) -> Timestamps {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }

    #[test]
    fn a_directory_described_again_and_again_takes_no_more() {
        let mut held = SetLast::default();
        for seconds in 0..1000 {
            held.insert(PathBuf::from("d".repeat(4000)), times(seconds)).unwrap();
        }
        let all: Vec<_> = held.iter().map(|(_, times)| times.last_modification.tv_sec).collect();
        assert_eq!(all, [999]);
    }

    #[test]
    fn the_names_of_directories_end_at_a_limit() {
        let mut held = SetLast { bytes: TIMES_BYTES - 2 * OVERHEAD - 2, ..Default::default() };
        held.insert(PathBuf::from("a"), times(0)).unwrap();
        held.insert(PathBuf::from("b"), times(0)).unwrap();
        assert!(held.insert(PathBuf::from("c"), times(0)).unwrap_err().to_string().contains("names of directories"));
    }

    #[test]
    fn undescribed_directories_end_at_a_number() {
        let mut implied = Implied::default();
        for number in 0..IMPLIED {
            implied.insert(Path::new(&number.to_string())).unwrap();
        }
        implied.insert(Path::new("0")).unwrap();
        let error = implied.insert(Path::new("one more")).unwrap_err();
        assert_eq!(error.to_string(), "more than the limit of 100000 undescribed directories");
    }

    #[test]
    fn a_directory_is_forgotten_with_all_in_it_and_nothing_else() {
        let mut implied = Implied::default();
        for path in ["a", "a/b", "a/b/c", "a-b", "a.b/c", "ab", "b"] {
            implied.insert(Path::new(path)).unwrap();
        }
        implied.remove_tree(Path::new("a"));
        assert_eq!(implied.iter().map(Path::to_str).collect::<Vec<_>>(), ["a-b", "a.b/c", "ab", "b"].map(Some));
        assert_eq!(implied.bytes, 11);
    }
}
