//! Layers, unpacked, compared with their record, packed and unpacked again.

use std::{
    io::{Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::Lab;
use crate::{
    Limits,
    check::{self, Place},
    digest::Digest,
    disk::Workspace,
    error::Fault,
    layer::{LayerError, Packing, Target, Unpacked, decompress, unpack_blob},
};

const BLOCK: usize = 512;
const ENTRIES: u64 = 100;
const BYTES: u64 = 1 << 20;

impl Lab {
    /// The first byte of the input says what becomes of the rest before it is unpacked, and what is allowed.
    pub fn layer(&self, input: &[u8]) {
        let [form, archive @ ..] = input else { return };
        let mut archive = archive.to_vec();
        if form & 1 == 0 {
            correct_checksums(&mut archive);
        }
        let blob = compressed(*form >> 1 & 3, &archive);
        let allow_device_nodes = form & 8 != 0;
        let limits = Limits { layer_entries: ENTRIES, layer_bytes: BYTES, allow_device_nodes, ..Limits::default() };
        self.confined(|| {
            let (directory, unpacked) = match self.unpack(&blob, &limits) {
                Err(error) => return blamed(&error),
                Ok(unpacked) => unpacked,
            };
            assert_eq!(unpacked.diff_id, diff_id(&blob));
            within(directory.path(), &limits);
            as_recorded(directory.path(), &unpacked);
            self.again(directory.path(), &unpacked, &limits);
        });
    }

    fn unpack(&self, blob: &[u8], limits: &Limits) -> Result<(Workspace, Unpacked), LayerError> {
        let directory = self.trash.workspace().unwrap();
        let target = Target { directory: directory.path(), trash: &self.trash, limits };
        let unpacked = unpack_blob(blob, &target)?;
        Ok((directory, unpacked))
    }

    /// What was unpacked can be packed, and what comes of that is packed to the same bytes.
    fn again(&self, directory: &Path, unpacked: &Unpacked, limits: &Limits) {
        let archive = packed(directory, unpacked);
        // Markers are entries of their own; and sparse files take more than their content.
        let limits = Limits { layer_entries: 4 * ENTRIES, layer_bytes: 4 * BYTES, ..limits.clone() };
        let (second, again) = self.unpack(&archive, &limits).unwrap_or_else(|error| panic!("packed again: {error}"));
        assert_eq!(again.diff_id, Digest::of(&archive));
        as_recorded(second.path(), &again);
        assert!(packed(second.path(), &again) == archive, "it is packed in another way the second time");
    }
}

fn packed(directory: &Path, unpacked: &Unpacked) -> Vec<u8> {
    let implied = unpacked.implied.iter().cloned().collect();
    let packing = Packing { directory: directory.to_owned(), has_root: unpacked.has_root, implied };
    let mut archive = Vec::new();
    packing.write(&mut archive).unwrap();
    archive
}

/// A disk that works is not what is wrong, but for attributes: whether it could keep them only it knows.
fn blamed(error: &LayerError) {
    let attribute = matches!(error, LayerError::Disk { operation: "set an extended attribute of", .. });
    assert!(attribute || error.fault() == Fault::Outside, "{error}");
}

/// A change of a header would seldom come with the checksum that it needs.
fn correct_checksums(archive: &mut [u8]) {
    for header in archive.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn compressed(how: u8, archive: &[u8]) -> Vec<u8> {
    match how {
        1 => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(archive).unwrap();
            gzip.finish().unwrap()
        }
        2 => zstd::encode_all(archive, 1).unwrap(),
        _ => archive.to_vec(),
    }
}

fn diff_id(blob: &[u8]) -> Digest {
    let (mut blob, mut archive) = (blob, Vec::new());
    decompress(&mut blob).unwrap().read_to_end(&mut archive).unwrap();
    Digest::of(&archive)
}

/// No more than the limits allow, and nothing that is not.
fn within(directory: &Path, limits: &Limits) {
    let (mut names, mut bytes) = (0, 0);
    let mut directories: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // Names may be longer together than the kernel takes at once.
        let Ok(children) = std::fs::read_dir(&directory) else { continue };
        for child in children {
            let child = child.unwrap().path();
            let Ok(stat) = std::fs::symlink_metadata(&child) else { continue };
            names += 1;
            assert!(!stat.file_type().is_socket());
            if stat.is_dir() {
                directories.push(child);
            } else if stat.is_file() {
                bytes += stat.size() / stat.nlink();
            } else if stat.file_type().is_block_device() {
                assert!(limits.allow_device_nodes);
            }
        }
    }
    assert!(names <= limits.layer_entries && bytes <= limits.layer_bytes, "{names} names, {bytes} bytes");
}

/// The record says what is there.
fn as_recorded(directory: &Path, unpacked: &Unpacked) {
    let place = Place { directory, files: unpacked.files.file.path(), sum: unpacked.files.sum };
    let findings = check::verify(&place, &|_| true).unwrap();
    assert_eq!(findings.count, 0, "{findings:?}");
}
