#![allow(clippy::unwrap_used, clippy::panic)]

mod hostile;

use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tar::{Builder, EntryType, Header};

use super::*;

/// An archive being written, also with names that no honest tool would write.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, name: &[u8], size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header
    }

    fn add(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn entry(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name.as_bytes(), 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.add(header, b"")
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(Self::header(EntryType::Regular, name.as_bytes(), content.len()), content)
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target)
    }

    fn device(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, name.as_bytes(), 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.add(header, b"")
    }

    fn pax<'a>(mut self, extensions: &[(&'a str, &'a [u8])]) -> Self {
        self.0.append_pax_extensions(extensions.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A place to unpack in, with something beside it that must stay as it is.
struct Lab {
    base: tempfile::TempDir,
    layer: PathBuf,
    trash: Arc<Trash>,
    limits: Limits,
}

impl Lab {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let layer = base.path().join("layer");
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(base.path().join("outside"), "untouched").unwrap();
        let trash = Arc::new(Trash::open(&base.path().join("trash")).unwrap());
        Self { base, layer, trash, limits: Limits::default() }
    }

    fn unpack(&self, blob: &[u8]) -> Result<Unpacked, LayerError> {
        let target = Target { directory: &self.layer, trash: &self.trash, limits: &self.limits };
        unpack_blob(blob, &target)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.layer.join(name)
    }

    fn stat(&self, name: &str) -> std::fs::Metadata {
        std::fs::symlink_metadata(self.path(name)).unwrap()
    }

    fn xattr(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(self.path(name), key, value.as_mut_slice()).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// What is beside the layer.
    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let beside = std::fs::read_dir(self.base.path()).unwrap().map(|entry| entry.unwrap().path());
        beside
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
            .collect()
    }
}

fn is_whiteout(stat: &std::fs::Metadata) -> bool {
    stat.file_type().is_char_device() && stat.rdev() == 0
}

#[test]
fn owners_modes_times_and_links_are_kept() {
    let lab = Lab::new();
    let mut owned = Tar::header(EntryType::Regular, b"bin/su", 2);
    owned.set_mode(0o4755);
    owned.set_uid(1000);
    owned.set_gid(100);
    let tar = Tar::new()
        .directory("bin/")
        .add(owned, b"hi")
        .hard_link("bin/su2", "bin/su")
        .symlink("abs", "/bin/su")
        .entry(EntryType::Fifo, "pipe", "")
        .pax(&[("mtime", b"1234567890.5"), ("path", b"long/name")])
        .file("short", b"x");
    let unpacked = lab.unpack(&tar.bytes()).unwrap();
    let su = lab.stat("bin/su");
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink(), su.mtime()), (0o4755, 1000, 100, 2, 1_000_000_000));
    assert_eq!(lab.stat("bin").mtime(), 1_000_000_000);
    assert_eq!(std::fs::read_link(lab.path("abs")).unwrap(), Path::new("/bin/su"));
    assert!(lab.stat("pipe").file_type().is_fifo());
    let long = lab.stat("long/name");
    assert_eq!((long.mtime(), long.mtime_nsec()), (1_234_567_890, 500_000_000));
    assert_eq!(unpacked.implied, ["long"]);
    assert!(!unpacked.has_root);
}

#[test]
fn extended_attributes_are_kept_except_those_of_overlayfs() {
    let lab = Lab::new();
    // cap_net_raw=ep, version 2.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.user.note", b"n")])
        .file("ping", b"x")
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
        .directory("forged/");
    let lines = b"a\n10 size=9\n16 path=../x\n";
    let tar = tar.pax(&[("SCHILY.xattr.user.lines", lines), ("path", b"two\nlines")]).file("short", b"x");
    lab.unpack(&tar.bytes()).unwrap();
    assert_eq!(lab.xattr("two\nlines", "user.lines").unwrap(), lines);
    assert_eq!(lab.xattr("ping", "security.capability").unwrap(), capability);
    assert_eq!(lab.xattr("ping", "user.note").unwrap(), b"n");
    assert_eq!(lab.xattr("forged", "trusted.overlay.opaque"), None);
    assert_eq!(lab.xattr("forged", "trusted.overlay.redirect"), None);
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    let lab = Lab::new();
    let tar = Tar::new().directory("d/").file("d/.wh.gone", b"").file("e/.wh..wh..opq", b"").file("e/new", b"x");
    lab.unpack(&tar.file(".wh..wh.plnk", b"").bytes()).unwrap();
    assert!(is_whiteout(&lab.stat("d/gone")));
    assert_eq!(lab.xattr("e", "trusted.overlay.opaque").unwrap(), b"y");
    assert!(lab.path("e/new").exists());
    assert_eq!(std::fs::read_dir(&lab.layer).unwrap().count(), 2);
}

#[test]
fn a_whiteout_does_not_hide_what_its_own_layer_has() {
    let lab = Lab::new();
    let tar = Tar::new()
        .file("file", b"new")
        .file(".wh.file", b"")
        .file(".wh.dir", b"")
        .directory("dir/")
        .file("dir/x", b"x")
        .directory("late/")
        .file(".wh.late", b"")
        .file(".wh.implied", b"")
        .file("implied/x", b"x");
    lab.unpack(&tar.bytes()).unwrap();
    assert_eq!(std::fs::read(lab.path("file")).unwrap(), b"new");
    for directory in ["dir", "late", "implied"] {
        assert_eq!(lab.xattr(directory, "trusted.overlay.opaque").unwrap(), b"y", "{directory}");
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let lab = Lab::new();
    let tar = Tar::new()
        .file("a", b"1")
        .file("a", b"22")
        .directory("dir/")
        .file("dir/deep/file", b"x")
        .file("dir", b"now a file")
        .symlink("link", "dir")
        .directory("link/")
        .file("link/inside", b"x");
    lab.unpack(&tar.bytes()).unwrap();
    assert_eq!(std::fs::read(lab.path("a")).unwrap(), b"22");
    assert_eq!(std::fs::read(lab.path("dir")).unwrap(), b"now a file");
    assert!(lab.stat("link").is_dir());
    assert!(lab.path("link/inside").exists());
}

#[test]
fn the_root_entry_describes_the_root() {
    let lab = Lab::new();
    let mut root = Tar::header(EntryType::Directory, b"./", 0);
    root.set_mode(0o1777);
    root.set_uid(7);
    assert!(lab.unpack(&Tar::new().add(root, b"").bytes()).unwrap().has_root);
    assert_eq!((lab.stat("").mode() & 0o7777, lab.stat("").uid()), (0o1777, 7));
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let plain = Tar::new().file("f", &[7; 100_000]).bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 3).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], zstd.as_slice()].concat();
    for blob in [plain.clone(), gzip.finish().unwrap(), zstd, skippable] {
        assert_eq!(Lab::new().unpack(&blob).unwrap().diff_id, Digest::of(&plain));
    }
}

#[test]
fn an_archive_whose_first_name_begins_as_a_compressed_one_does_is_not_taken_for_one() {
    for name in [b"\x28\xb5\x2f\xfd".as_slice(), b"\x1f\x8b", b"P\x2a\x4d\x18"] {
        let plain = Tar::new().add(Tar::header(EntryType::Regular, name, 1), b"x").bytes();
        assert_eq!(Lab::new().unpack(&plain).unwrap().diff_id, Digest::of(&plain), "{name:?}");
    }
}

#[test]
fn the_holes_of_a_sparse_file_are_kept() {
    let lab = Lab::new();
    let mut header = Tar::header(EntryType::GNUSparse, b"sparse", 4);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 24);
    gnu.sparse[0].set_offset((1 << 24) - 4);
    gnu.sparse[0].set_length(4);
    lab.unpack(&Tar::new().add(header, b"tail").bytes()).unwrap();
    let content = std::fs::read(lab.path("sparse")).unwrap();
    assert_eq!((content.len(), &content[content.len() - 4..]), (1 << 24, b"tail".as_slice()));
    assert!(lab.stat("sparse").blocks() * 512 < 1 << 22);
}

#[test]
fn a_name_may_be_long_but_not_beyond_the_limit() {
    let mut lab = Lab::new();
    let name = ["d".repeat(200), "e".repeat(200), "f".repeat(200)].join("/");
    let tar = || {
        let mut tar = Tar::new();
        let mut header = Tar::header(EntryType::Regular, b"", 1);
        tar.0.append_data(&mut header, &name, b"x".as_slice()).unwrap();
        tar.bytes()
    };
    lab.unpack(&tar()).unwrap();
    assert_eq!(std::fs::read(lab.path(&name)).unwrap(), b"x");
    lab.limits.path_bytes = 500;
    assert!(lab.unpack(&tar()).unwrap_err().to_string().contains("limit of 500 bytes"));
}

/// The form that the kernel has for an access control list: version, then kind, rights and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(kind, rights, id)| {
        [kind.to_le_bytes().as_slice(), &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    2u32.to_le_bytes().into_iter().chain(entries).collect()
}

#[test]
fn a_directorys_default_acl_is_for_what_a_container_makes_and_not_for_what_the_archive_describes() {
    const DEFAULT: &str = "system.posix_acl_default";
    let acl = acl(&[(1, 7, !0), (2, 7, 1000), (4, 5, !0), (0x10, 7, !0), (0x20, 0, !0)]);
    let pax = [("SCHILY.xattr.system.posix_acl_default", acl.as_slice())];
    let before = Tar::new().file("d/file", b"").directory("d/child/").pax(&pax).directory("d/").bytes();
    let after = Tar::new().pax(&pax).directory("d/").file("d/file", b"").directory("d/child/").bytes();
    for tar in [before, after] {
        let lab = Lab::new();
        lab.unpack(&tar).unwrap();
        assert_eq!(lab.xattr("d", DEFAULT).as_ref(), Some(&acl));
        for name in ["d/file", "d/child"] {
            assert_eq!((lab.xattr(name, DEFAULT), lab.xattr(name, "system.posix_acl_access")), (None, None), "{name}");
        }
    }
}
