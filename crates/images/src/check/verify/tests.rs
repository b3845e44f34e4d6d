#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*};
use rustix::fs::{FileType, XattrFlags};
use tar::{Builder, EntryType, Header};

use super::*;
use crate::{
    Limits,
    disk::Trash,
    layer::{LayerError, Target, unpack_blob},
};

/// An archive being written.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, mode: u32, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(100);
        header.set_mtime(1_000_000_000);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, name, 0o4755, "", content)
    }

    fn directory(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, 0o750, "", b"")
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.add(kind, name, 0o640, target, b"")
    }

    fn pax(mut self, extensions: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(extensions.iter().copied()).unwrap();
        self
    }
}

/// A layer that was unpacked, with its record beside it.
struct Lab {
    _base: tempfile::TempDir,
    directory: PathBuf,
    files: PathBuf,
    sum: Sum,
}

impl Lab {
    fn unpack(tar: Tar) -> Result<Self, LayerError> {
        let base = tempfile::tempdir().unwrap();
        let (directory, files) = (base.path().join("layer"), base.path().join("files"));
        fs::create_dir(&directory).unwrap();
        let trash = Arc::new(Trash::open(&base.path().join("trash")).unwrap());
        let limits = Limits::default();
        let target = Target { directory: &directory, trash: &trash, limits: &limits };
        let recorded = unpack_blob(tar.0.into_inner().unwrap().as_slice(), &target)?.files;
        recorded.file.keep(&files).unwrap();
        Ok(Self { _base: base, directory, files, sum: recorded.sum })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn verify(&self) -> Findings {
        let place = Place { directory: &self.directory, files: &self.files, sum: self.sum };
        verify(&place, &|_| true).unwrap()
    }

    /// Changes a file and nothing else: also not the times of it and of its directory.
    fn write(&self, name: &str, content: &[u8]) {
        let before = fs::metadata(self.path(name)).unwrap();
        fs::write(self.path(name), content).unwrap();
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }

    fn set_xattr(&self, name: &str, key: &str, value: &[u8]) {
        rustix::fs::lsetxattr(self.path(name), key, value, XattrFlags::empty()).unwrap();
    }
}

/// Something of every kind.
fn everything() -> Tar {
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Tar::new()
        .directory("bin/")
        .file("bin/su", b"set-user-id")
        .link(EntryType::Link, "bin/su2", "bin/su")
        .link(EntryType::Symlink, "sh", "bin/su")
        .link(EntryType::Link, "sh2", "sh")
        .link(EntryType::Fifo, "pipe", "")
        .link(EntryType::Char, "null", "")
        .pax(&[("mtime", b"-1234567890.123456789")])
        .file("implied/deep/old", &vec![7; 600_000])
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.user.note", b"n")])
        .file("ping", b"")
        .directory("cover/")
        .file("cover/.wh..wh..opq", b"")
        .file("cover/.wh.gone", b"")
        .pax(&[("SCHILY.xattr.user.note", b"directory")])
        .directory("cover/")
}

#[test]
fn a_layer_is_as_it_was_recorded() {
    let lab = Lab::unpack(everything()).unwrap();
    assert_eq!(lab.verify(), Findings::default());
    assert_eq!(lab.sum.entries, 14);
    assert_eq!(lab.sum.bytes, fs::metadata(&lab.files).unwrap().len());
}

/// What is done to a layer, and what is to be said of which path.
type Damage = (&'static str, &'static str, fn(&Lab));

#[test]
fn every_difference_is_found_and_named() {
    let damages: [Damage; 25] = [
        ("bin/su", "another content", |lab| lab.write("bin/su", b"Set-user-id")),
        ("bin/su", "has 3 bytes, had 11", |lab| lab.write("bin/su", b"set")),
        ("implied/deep/old", "another content", |lab| {
            let mut content = fs::read(lab.path("implied/deep/old")).unwrap();
            content[599_999] ^= 1;
            lab.write("implied/deep/old", &content);
        }),
        ("bin/su", "has mode 0755, had 4755", |lab| {
            fs::set_permissions(lab.path("bin/su"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("implied", "has mode", |lab| {
            fs::set_permissions(lab.path("implied"), fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("", "has mode", |lab| {
            fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("sh", "is owned by 0:100, was by 1000:100", |lab| lchown(lab.path("sh"), Some(0), Some(100)).unwrap()),
        ("bin/su", "was changed at 5.000000000, not at 1000000000.000000000", |lab| {
            let file = File::options().write(true).open(lab.path("bin/su")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        }),
        ("ping", "is missing", |lab| fs::remove_file(lab.path("ping")).unwrap()),
        ("implied/deep/old", "is missing", |lab| fs::remove_dir_all(lab.path("implied")).unwrap()),
        ("bin/more", "is not of this layer", |lab| fs::write(lab.path("bin/more"), "x").unwrap()),
        ("more", "is not of this layer", |lab| fs::create_dir_all(lab.path("more/deep")).unwrap()),
        // As many as before.
        ("pong", "is not of this layer", |lab| fs::rename(lab.path("ping"), lab.path("pong")).unwrap()),
        ("ping", "another value of \"user.note\"", |lab| lab.set_xattr("ping", "user.note", b"N")),
        ("ping", "lacks the extended attribute \"security.capability\"", |lab| {
            rustix::fs::removexattr(lab.path("ping"), "security.capability").unwrap();
        }),
        ("bin/su", "has the extended attribute \"user.new\"", |lab| lab.set_xattr("bin/su", "user.new", b"")),
        ("cover", "lacks the extended attribute \"trusted.overlay.opaque\"", |lab| {
            rustix::fs::removexattr(lab.path("cover"), "trusted.overlay.opaque").unwrap();
        }),
        ("ping", "is a symbolic link, was a file", |lab| {
            fs::remove_file(lab.path("ping")).unwrap();
            symlink("/bin/su", lab.path("ping")).unwrap();
        }),
        ("bin/su", "is missing", |lab| {
            fs::rename(lab.path("bin"), lab.path("other")).unwrap();
            symlink("other", lab.path("bin")).unwrap();
        }),
        ("bin/su2", "is not the same file as bin/su", |lab| {
            fs::copy(lab.path("bin/su"), lab.path("copy")).unwrap();
            fs::rename(lab.path("copy"), lab.path("bin/su2")).unwrap();
        }),
        ("sh", "leads to \"elsewhere\", led to \"bin/su\"", |lab| {
            fs::remove_file(lab.path("sh")).unwrap();
            symlink("elsewhere", lab.path("sh")).unwrap();
        }),
        ("cover/gone", "is missing", |lab| fs::remove_file(lab.path("cover/gone")).unwrap()),
        ("cover/gone", "is a file, was a whiteout", |lab| {
            fs::remove_file(lab.path("cover/gone")).unwrap();
            fs::write(lab.path("cover/gone"), "x").unwrap();
        }),
        ("pipe", "is a socket, was a fifo", |lab| {
            fs::remove_file(lab.path("pipe")).unwrap();
            std::os::unix::net::UnixListener::bind(lab.path("pipe")).unwrap();
        }),
        ("null", "is device 1:5, was 1:3", |lab| {
            fs::remove_file(lab.path("null")).unwrap();
            let number = rustix::fs::makedev(1, 5);
            let kind = FileType::CharacterDevice;
            rustix::fs::mknodat(rustix::fs::CWD, lab.path("null"), kind, Mode::empty(), number).unwrap();
        }),
    ];
    for (path, what, damage) in damages {
        let lab = Lab::unpack(everything()).unwrap();
        damage(&lab);
        let findings = lab.verify();
        let found = findings.first.iter().any(|finding| finding.path == path && finding.what.contains(what));
        assert!(found, "{path} {what}: {findings:?}");
        // Of the whole layer, what is above and beside it.
        assert!(findings.count <= 6, "{findings:?}");
    }
}

#[test]
fn a_record_that_is_not_what_was_written_proves_nothing() {
    let damages: [Damage; 4] = [
        ("", "is not what was written", |lab| {
            let mut bytes = fs::read(&lab.files).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&lab.files, bytes).unwrap();
        }),
        ("", "is not what was written", |lab| fs::write(&lab.files, "").unwrap()),
        ("", "is missing", |lab| fs::remove_file(&lab.files).unwrap()),
        ("", "its directory is missing", |lab| fs::remove_dir_all(&lab.directory).unwrap()),
    ];
    for (path, what, damage) in damages {
        let lab = Lab::unpack(everything()).unwrap();
        damage(&lab);
        let findings = lab.verify();
        assert_eq!((findings.count, findings.first[0].path.as_str()), (1, path));
        assert!(findings.first[0].what.contains(what), "{findings:?}");
    }
}

#[test]
fn what_an_archive_replaces_counts_by_the_last() {
    let old = || Tar::new().directory("usr/").directory("usr/lib/").file("usr/lib/so", b"old").file("whole", b"1");
    for tar in [
        old().file("usr/lib/so", b"newer"),
        old().file("usr", b"now a file"),
        old().link(EntryType::Symlink, "lib", "usr/lib").file("lib/so", b"through").file("lib/so2", b"more"),
        old().link(EntryType::Link, "linked", "whole").file("whole", b"two"),
        old().link(EntryType::Link, "linked", "whole").link(EntryType::Link, "third", "linked").file("whole", b"two"),
        old().file("d/.wh.x", b"").file("d/x", b"back").file("d/.wh.y", b"").directory("d/y/"),
        old().file("d/.wh.x", b"").file("d/x/below", b"implied where a whiteout was"),
        old().add(EntryType::Directory, "./", 0o1777, "", b"").file("whole", b"3"),
        // A directory that a link replaces: its times are no longer anybody's.
        old().directory("lib/").file("lib", b"").link(EntryType::Symlink, "lib", "usr/lib"),
    ] {
        let lab = Lab::unpack(tar).unwrap();
        assert_eq!(lab.verify(), Findings::default());
        fs::write(lab.path("more"), "x").unwrap();
        assert!(lab.verify().first.iter().any(|finding| finding.path == "more"));
    }
}

#[test]
fn what_the_file_system_adds_is_recorded_as_it_is() {
    // user::rwx user:1000:rwx group::r-x mask::rwx other::--- for what is made in the directory (acl(5)).
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.system.posix_acl_default", &acl)])
        .directory("d/")
        .file("d/file", b"x")
        .link(EntryType::Fifo, "d/pipe", "")
        .link(EntryType::Symlink, "d/link", "x")
        .file("d/implied/file", b"x")
        .directory("d/made/");
    let lab = Lab::unpack(tar).unwrap();
    assert_eq!(lab.verify(), Findings::default());
    // The group of a directory whose bit says so.
    let tar = Tar::new().add(EntryType::Directory, "set/", 0o2755, "", b"").file("set/implied/file", b"x");
    let lab = Lab::unpack(tar.file("set/.wh.gone", b"")).unwrap();
    assert_eq!(fs::metadata(lab.path("set/implied")).unwrap().gid(), 100);
    assert_eq!(lab.verify(), Findings::default());
}

#[test]
fn a_check_ends_when_nobody_wants_to_know() {
    let lab = Lab::unpack(everything()).unwrap();
    let place = Place { directory: &lab.directory, files: &lab.files, sum: lab.sum };
    assert_eq!(verify(&place, &|_| false), None);
}

fn name() -> impl Strategy<Value = String> {
    vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_unpacked_checks_good(entries in vec((0..9_u8, name(), name(), 0..0o10000_u32), 1..20)) {
        let mut tar = Tar::new();
        for (kind, name, other, mode) in &entries {
            let (parent, last) = name.rsplit_once('/').map_or((String::new(), name.as_str()), |(parent, last)| {
                (format!("{parent}/"), last)
            });
            tar = match kind {
                0 | 1 => tar.add(EntryType::Regular, name, *mode, "", other.as_bytes()),
                2 | 3 => tar.add(EntryType::Directory, name, *mode, "", b""),
                4 => tar.link(EntryType::Symlink, name, other),
                5 => tar.link(EntryType::Link, name, other),
                6 => tar.file(&format!("{parent}.wh.{last}"), b""),
                7 => tar.file(&format!("{name}/.wh..wh..opq"), b""),
                _ => tar.link(EntryType::Fifo, name, ""),
            };
        }
        if let Ok(lab) = Lab::unpack(tar) {
            prop_assert_eq!(lab.verify(), Findings::default());
        }
    }
}
