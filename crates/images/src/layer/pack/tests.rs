#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink},
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

use super::*;
use crate::{
    Limits,
    disk::Trash,
    layer::{Target, Unpacked, unpack_blob},
};

fn pack(directory: &Path, has_root: bool, implied: &[&str]) -> Vec<u8> {
    let implied = implied.iter().map(|path| (*path).to_owned()).collect();
    let mut archive = Vec::new();
    Packing { directory: directory.to_owned(), has_root, implied }.write(&mut archive).unwrap();
    archive
}

fn unpack(archive: &[u8], directory: &Path) -> Unpacked {
    fs::create_dir_all(directory).unwrap();
    let trash = Arc::new(Trash::open(&directory.with_extension("trash")).unwrap());
    let limits = Limits { allow_device_nodes: true, ..Limits::default() };
    unpack_blob(archive, &Target { directory, trash: &trash, limits: &limits }).unwrap()
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn node(path: &Path, file_type: FileType, mode: u32, device: u64) {
    rustix::fs::mknodat(CWD, path, file_type, Mode::from_raw_mode(mode), device).unwrap();
}

/// A layer's directory with everything that can be in one.
fn everything(root: &Path) {
    let long = "n".repeat(200);
    fs::create_dir_all(root.join("d/implied")).unwrap();
    fs::write(root.join("d/implied/file"), "content").unwrap();
    fs::write(root.join("d").join(&long), "long name").unwrap();
    symlink("t".repeat(300), root.join("d/link")).unwrap();
    fs::write(root.join("suid"), vec![7; 1000]).unwrap();
    std::os::unix::fs::chown(root.join("suid"), Some(3_000_000), Some(70_000)).unwrap();
    fs::set_permissions(root.join("suid"), Permissions::from_mode(0o4755)).unwrap();
    rustix::fs::setxattr(root.join("suid"), "user.odd", b"a\0b=", XattrFlags::empty()).unwrap();
    for name in ["d/linked", "z"] {
        fs::hard_link(root.join("suid"), root.join(name)).unwrap();
    }
    node(&root.join("fifo"), FileType::Fifo, 0o640, 0);
    node(&root.join("null"), FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
    node(&root.join("disk"), FileType::BlockDevice, 0o600, rustix::fs::makedev(259, 70_000));
    node(&root.join("gone"), FileType::CharacterDevice, 0, 0);
    fs::create_dir(root.join("opaque")).unwrap();
    rustix::fs::setxattr(root.join("opaque"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    // More than the first two headers of a sparse file hold.
    for number in 0..30 {
        sparse.write_all_at(b"data", number * (256 << 10) + (100 << 10)).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    fs::set_permissions(root.join("d"), Permissions::from_mode(0o1777)).unwrap();
    set_time(&root.join("suid"), 1_700_000_000, 123_456_789);
    set_time(&root.join("fifo"), -5, 500_000_000);
    set_time(&root.join("d/link"), 99, 0);
    set_time(&root.join("d"), 1234, 5);
}

#[test]
fn what_was_packed_unpacks_the_same_and_packs_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    fs::create_dir(&first).unwrap();
    everything(&first);
    let archive = pack(&first, true, &["d/implied"]);
    assert!(archive.len() < 4 << 20, "holes are packed: {} bytes", archive.len());
    let unpacked = unpack(&archive, &second);
    assert_eq!((unpacked.has_root, unpacked.implied.as_slice()), (true, &["d/implied".to_owned()][..]));
    let at = |name: &str| fs::symlink_metadata(second.join(name)).unwrap();
    assert_eq!((at("suid").mode() & 0o7777, at("suid").uid(), at("suid").gid()), (0o4755, 3_000_000, 70_000));
    assert_eq!((at("suid").mtime(), at("suid").mtime_nsec(), at("suid").nlink()), (1_700_000_000, 123_456_789, 3));
    assert_eq!((at("suid").ino(), at("suid").ino()), (at("z").ino(), at("d/linked").ino()));
    assert_eq!((at("fifo").mtime(), at("fifo").mtime_nsec()), (-5, 500_000_000));
    assert!(at("fifo").file_type().is_fifo() && at("disk").file_type().is_block_device());
    assert_eq!(at("disk").rdev(), rustix::fs::makedev(259, 70_000));
    assert_eq!((at("gone").rdev(), at("gone").file_type().is_char_device()), (0, true));
    assert_eq!((at("d").mode() & 0o7777, at("d").mtime(), at("d/link").mtime()), (0o1777, 1234, 99));
    assert_eq!(fs::read_link(second.join("d/link")).unwrap().as_os_str().len(), 300);
    assert_eq!(fs::read(second.join("sparse")).unwrap(), fs::read(first.join("sparse")).unwrap());
    assert!(at("sparse").blocks() * 512 < at("sparse").len() / 2, "holes are holes again: {}", at("sparse").blocks());
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(second.join("suid"), "user.odd", &mut value).unwrap();
    assert_eq!(value[..length], *b"a\0b=");
    assert_eq!(rustix::fs::getxattr(second.join("opaque"), "trusted.overlay.opaque", &mut value).unwrap(), 1);
    assert!(pack(&second, true, &["d/implied"]) == archive, "packed again it is another archive");
}

#[test]
fn an_undescribed_root_stays_undescribed() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    fs::create_dir(&first).unwrap();
    fs::write(first.join("file"), "").unwrap();
    assert!(!unpack(&pack(&first, false, &[]), &second).has_root);
}
