//! What fuzzing exercises: bytes as hostile as can be, and what must hold whatever they are. `cargo test` runs the same
//! over the corpus.

#![allow(clippy::unwrap_used, clippy::panic)]

mod layer;
mod manifest;
mod reference;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

pub use reference::reference;

use crate::disk::Trash;

/// A place to unpack in, with something beside it that must stay as it is. It lasts for any number of inputs, each of
/// which must leave nothing behind.
pub struct Lab {
    base: PathBuf,
    outside: PathBuf,
    trash: Arc<Trash>,
}

impl Lab {
    /// Makes a place of its own in a directory.
    pub fn new(directory: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = directory.join(format!("corten-exercise-{}-{number}", std::process::id()));
        std::fs::create_dir(&base).unwrap();
        let outside = base.join("outside");
        std::fs::write(&outside, "untouched").unwrap();
        let trash = Arc::new(Trash::open(&base.join("trash")).unwrap());
        Self { base, outside, trash }
    }

    /// Everything about what is outside.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let stat = |path: &Path| {
            let stat = std::fs::symlink_metadata(path).unwrap();
            (
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.nlink(),
                stat.ino(),
                stat.ctime(),
                stat.ctime_nsec(),
                stat.rdev(),
            )
        };
        let mut names: Vec<_> = std::fs::read_dir(&self.base).unwrap().map(|name| name.unwrap().file_name()).collect();
        names.sort();
        (stat(&self.outside), std::fs::read(&self.outside).unwrap(), stat(&self.base), names)
    }

    /// Runs something that may write in the trash only, and must leave that empty.
    fn confined(&self, work: impl FnOnce()) {
        let before = self.state();
        work();
        assert_eq!(self.state(), before, "something outside was touched");
        let left: Vec<_> =
            std::fs::read_dir(self.base.join("trash")).unwrap().map(|left| left.unwrap().path()).collect();
        assert!(left.is_empty(), "something is left behind: {left:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(corpus: &str, exercise: impl Fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
        let inputs: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(inputs.len() > 40, "the corpus of {corpus} is there");
        inputs.iter().for_each(|input| exercise(&std::fs::read(input).unwrap()));
    }

    #[test]
    fn the_corpus_of_layers_holds() {
        let lab = Lab::new(&std::env::temp_dir());
        each("layer", |input| lab.layer(input));
    }

    #[test]
    fn the_corpus_of_manifests_holds() {
        let lab = Lab::new(&std::env::temp_dir());
        each("manifest", |input| lab.manifest(input));
    }

    #[test]
    fn the_corpus_of_references_holds() {
        each("reference", reference);
    }
}
