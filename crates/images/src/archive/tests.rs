#![allow(clippy::unwrap_used)]

use std::io::Write;

use tar::{Builder, EntryType, Header};

use super::*;

/// An archive being written.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, name, content)
    }

    /// The archive's content, which lasts as long as the directory.
    fn read(self, limits: &Limits) -> Result<(Layout, tempfile::TempDir), Error> {
        let base = tempfile::tempdir().unwrap();
        let trash = Arc::new(Trash::open(&base.path().join("trash")).unwrap());
        let layout = Layout::unpack(&trash, self.0.into_inner().unwrap().as_slice(), limits)?;
        Ok((layout, base))
    }

    fn refused(self, limits: &Limits) -> String {
        let Err(error) = self.read(limits) else { return "accepted".to_owned() };
        error.to_string()
    }
}

#[test]
fn headers_of_an_archive_do_not_fill_the_memory() {
    let long = vec![b'x'; 5 << 20];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let said = Tar::new().add(kind, "long", &long).file("f", b"").refused(&Limits::default());
        assert!(said.contains("bytes of entry headers"), "{kind:?}: {said}");
    }
    let mut limits = Limits { path_bytes: 100, ..Limits::default() };
    let tar = || Tar::new().add(EntryType::GNULongName, "long", &[b'x'; 101]).file("f", b"");
    assert!(tar().refused(&limits).contains("longer than the limit of 100 bytes"));
    limits.path_bytes = 4095;
    tar().read(&limits).unwrap();
}

#[test]
fn files_of_an_archive_are_limited_together() {
    let limits = Limits { layer_bytes: 1 << 20, ..Limits::default() };
    let half = vec![0; 600 << 10];
    Tar::new().file("a", &half).read(&limits).unwrap();
    let said = Tar::new().file("a", &half).file("b", &half).refused(&limits);
    assert!(said.contains("limit of 1048576 unpacked bytes"), "{said}");
    // What is passed over is read as well.
    let said =
        Tar::new().add(EntryType::XGlobalHeader, "a", &half).add(EntryType::XGlobalHeader, "b", &half).refused(&limits);
    assert!(said.contains("limit of 1048576 unpacked bytes"), "{said}");
}

#[test]
fn what_is_passed_over_is_not_a_header() {
    let big = vec![0; 5 << 20];
    Tar::new().add(EntryType::XGlobalHeader, "g", &big).file("f", b"").read(&Limits::default()).unwrap();
}

#[test]
fn extended_headers_are_read_by_their_lengths_not_by_lines() {
    let extended = b"29 comment=a\n14 path=wrong\nb\n20 path=manifest.js\n";
    let tar = Tar::new().add(EntryType::XHeader, "x", extended).file("f", b"[]");
    let (layout, _base) = tar.read(&Limits::default()).unwrap();
    assert_eq!(layout.members.keys().collect::<Vec<_>>(), ["manifest.js"]);
}

#[test]
fn a_docker_image_has_no_more_layers_than_any() {
    let limits = Limits { layers: 2, ..Limits::default() };
    let manifest = |layers: &[&str]| {
        let images = serde_json::json!([{"Config": "config", "Layers": layers}]).to_string();
        Tar::new().file("config", b"{}").file("l", b"layer").file("manifest.json", images.as_bytes())
    };
    let (layout, _base) = manifest(&["l", "l"]).read(&limits).unwrap();
    assert_eq!(layout.images(&limits).unwrap().len(), 1);
    let said = manifest(&["l", "l", "l"]).refused(&limits);
    assert!(said.contains("3 layers are more than the limit of 2"), "{said}");
}

#[test]
fn a_file_is_hashed_once() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"layer").unwrap();
    let (mut hashes, path) = (Hashes::default(), file.path());
    let digest = hashes.of(path).unwrap();
    assert_eq!(digest, Digest::of(b"layer"));
    std::fs::write(path, b"changed behind its back").unwrap();
    assert_eq!(hashes.of(path).unwrap(), digest);
}
