//! Puts entries into a layer's directory.

use std::{
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, SeekFrom},
    io::Errno,
};

use super::{
    LayerError, Target,
    directory::{Before, LayerDir, apply, apply_at, child_directory, is_whiteout, mark_opaque, set_xattr, text},
    entry::{Attributes, Described, Kind, Place},
    paths::SetLast,
};
use crate::{
    Limits,
    check::{Checksum, Recorded, Recorder},
    disk::Usage,
};

const BUFFER: usize = 256 << 10;
const BLOCK: u64 = 4096;
const DEFAULT_ACL: &str = "system.posix_acl_default";
/// What every container has in /dev in any case.
const HARMLESS: [(u32, u32); 8] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];

/// What an archive held, beside its digest.
pub(super) struct Contents {
    pub usage: Usage,
    pub has_root: bool,
    pub implied: Vec<String>,
    pub files: Recorded,
}

/// A layer being unpacked.
pub(super) struct Unpacker<'a> {
    directory: LayerDir<'a>,
    limits: &'a Limits,
    usage: Usage,
    content: u64,
    has_root: bool,
    set_last: SetLast,
    record: Recorder,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub fn new(target: &Target<'a>) -> Result<Self, LayerError> {
        let directory = LayerDir::open(target.directory, target.trash, target.limits.layer_entries)?;
        rustix::fs::fchmod(directory.root(), Mode::from_raw_mode(0o755))
            .map_err(LayerError::disk("set mode of", target.directory))?;
        Ok(Self {
            directory,
            limits: target.limits,
            usage: Usage { bytes: BLOCK, inodes: 1 },
            content: 0,
            has_root: false,
            set_last: SetLast::default(),
            record: Recorder::new(target.trash)?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Counts an entry and its content. What is passed over counts too, because it is read.
    pub fn admit(&mut self, size: u64) -> Result<(), LayerError> {
        self.directory.admit()?;
        self.content = self.content.saturating_add(size);
        if self.content > self.limits.layer_bytes {
            return Err(LayerError::Limit { what: "unpacked bytes", limit: self.limits.layer_bytes });
        }
        Ok(())
    }

    /// Unpacks one entry.
    pub fn entry<R: Read>(&mut self, described: Described, content: &mut R) -> Result<(), LayerError> {
        let Described { kind, place, attributes, size } = described;
        match kind {
            Kind::Root => self.root(attributes),
            Kind::Opaque => self.opaque(&place),
            Kind::Whiteout => self.whiteout(&place),
            Kind::Directory => self.make_directory(&place, attributes),
            Kind::File { sparse } => self.file(&place, &attributes, content, size, sparse),
            Kind::Symlink(target) => self.symlink(&place, &attributes, &target),
            Kind::HardLink(target) => self.hard_link(&place, &target),
            Kind::Fifo => self.node(&place, &attributes, FileType::Fifo, 0),
            Kind::Device { block, major, minor } => self.device(&place, &attributes, block, (major, minor)),
        }
    }

    /// Sets what had to wait for the end.
    pub fn finish(mut self) -> Result<Contents, LayerError> {
        for (path, acl) in self.set_last.default_acls() {
            match self.directory.readable(path) {
                Err(_) if self.directory.disturbed => {}
                directory => set_xattr(directory?, DEFAULT_ACL, acl, path)?,
            }
        }
        for (path, times) in self.set_last.iter() {
            let directory = match self.directory.readable(path) {
                // A later entry may have replaced it.
                Err(_) if self.directory.disturbed => continue,
                result => result?,
            };
            rustix::fs::futimens(&directory, times).map_err(LayerError::disk("set times of", path))?;
            if !self.directory.disturbed {
                self.record.directory(path, &directory)?;
            }
        }
        self.record_undescribed()?;
        let implied = self.directory.implied.iter().map(text).collect();
        let made = self.directory.made;
        let usage = Usage { bytes: self.usage.bytes + made * BLOCK, inodes: self.usage.inodes + made };
        Ok(Contents { usage, has_root: self.has_root, implied, files: self.record.finish()? })
    }

    /// Records the directories that have no entries of their own, or, where names were replaced, everything anew.
    fn record_undescribed(&mut self) -> Result<(), LayerError> {
        if self.directory.disturbed {
            return self.record.anew(self.directory.root());
        }
        let implied: Vec<_> = self.directory.implied.iter().map(Path::to_owned).collect();
        for path in implied {
            self.record.directory(&path, self.directory.readable(&path)?)?;
        }
        if self.has_root { Ok(()) } else { self.record.directory(Path::new(""), self.directory.root()) }
    }

    fn count(&mut self, bytes: u64) {
        self.usage.inodes += 1;
        self.usage.bytes += bytes.div_ceil(BLOCK) * BLOCK;
    }

    /// What a directory gives to all that is made in it is for containers: what the archive describes is as it says.
    fn hold_default_acl(&mut self, attributes: &mut Attributes, path: &Path) -> Result<(), LayerError> {
        let held = attributes.xattrs.extract_if(.., |(name, _)| name == DEFAULT_ACL).last();
        held.map_or(Ok(()), |(_, acl)| self.set_last.insert_default_acl(path, acl))
    }

    fn root(&mut self, mut attributes: Attributes) -> Result<(), LayerError> {
        self.hold_default_acl(&mut attributes, Path::new(""))?;
        apply(self.directory.root(), &attributes, Path::new("."))?;
        self.has_root = true;
        self.set_last.insert(PathBuf::new(), attributes.times)
    }

    fn opaque(&mut self, place: &Place) -> Result<(), LayerError> {
        // A parent may have been opened as a path only, which takes no attributes.
        let parent = self.directory.parent(&place.parent)?;
        let directory = child_directory(&parent, ".".as_ref(), &place.parent)?;
        mark_opaque(&directory, &place.parent)
    }

    /// A whiteout is about the layers below only: what this layer itself has there stays.
    fn whiteout(&mut self, place: &Place) -> Result<(), LayerError> {
        let parent = self.directory.parent(&place.parent)?;
        let path = place.path();
        match rustix::fs::mknodat(&*parent, &place.name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                self.count(0);
                self.record.whiteout(&path)
            }
            Err(Errno::EXIST) if is_directory(&parent, place) => {
                mark_opaque(&child_directory(&parent, &place.name, &path)?, &path)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(LayerError::disk("create whiteout", &path)(errno)),
        }
    }

    fn make_directory(&mut self, place: &Place, mut attributes: Attributes) -> Result<(), LayerError> {
        let parent = self.directory.parent(&place.parent)?;
        let path = place.path();
        self.hold_default_acl(&mut attributes, &path)?;
        let before = self.directory.clear(&parent, place, true)?;
        if before != Before::Directory {
            rustix::fs::mkdirat(&*parent, &place.name, Mode::from_raw_mode(0o700))
                .map_err(LayerError::disk("create directory", &path))?;
            self.count(BLOCK);
        }
        let directory = child_directory(&parent, &place.name, &path)?;
        apply(&directory, &attributes, &path)?;
        if before == Before::Whiteout {
            mark_opaque(&directory, &path)?;
        }
        self.directory.implied.remove(&path);
        self.set_last.insert(path, attributes.times)
    }

    fn file<R: Read>(
        &mut self,
        place: &Place,
        attributes: &Attributes,
        content: &mut R,
        size: u64,
        sparse: bool,
    ) -> Result<(), LayerError> {
        let path = place.path();
        let parent = self.directory.parent(&place.parent)?;
        self.directory.clear(&parent, place, false)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*parent, &place.name, flags, Mode::from_raw_mode(0o600))
            .map_err(LayerError::disk("create", &path))?;
        let checksum = self.fill(&file, content, size, sparse, &path)?;
        apply(&file, attributes, &path)?;
        rustix::fs::futimens(&file, &attributes.times).map_err(LayerError::disk("set times of", &path))?;
        self.count(size);
        self.record.file(&path, attributes, size, checksum, &file)
    }

    /// Copies an entry's content and returns its checksum; the holes of a sparse file stay holes.
    fn fill<R: Read>(
        &mut self,
        file: &OwnedFd,
        content: &mut R,
        size: u64,
        sparse: bool,
        path: &Path,
    ) -> Result<u64, LayerError> {
        let (mut copied, mut checksum) = (0, Checksum::default());
        loop {
            let length = content.read(&mut self.buffer)?;
            if length == 0 {
                break;
            }
            copied += length as u64;
            let chunk = self.buffer.get(..length).unwrap_or_default();
            checksum.update(chunk, size);
            if sparse && chunk.iter().all(|&byte| byte == 0) {
                rustix::fs::seek(file, SeekFrom::Start(copied)).map_err(LayerError::disk("seek in", path))?;
            } else {
                write_all(file, chunk).map_err(LayerError::disk("write", path))?;
            }
        }
        if copied != size {
            return Err(LayerError::entry(path, format!("ends after {copied} of {size} bytes")));
        }
        if sparse {
            rustix::fs::ftruncate(file, size).map_err(LayerError::disk("set size of", path))?;
        }
        Ok(checksum.finish())
    }

    fn symlink(&mut self, place: &Place, attributes: &Attributes, target: &Path) -> Result<(), LayerError> {
        let parent = self.directory.parent(&place.parent)?;
        self.directory.clear(&parent, place, false)?;
        rustix::fs::symlinkat(target, &*parent, &place.name)
            .map_err(LayerError::disk("create symbolic link", &place.path()))?;
        self.count(0);
        apply_at(&parent, place, attributes)?;
        self.record.symlink(&place.path(), attributes, &parent, target)
    }

    /// The target must be in this same layer: the archive of a layer holds every name of an inode it holds.
    fn hard_link(&mut self, place: &Place, target: &Place) -> Result<(), LayerError> {
        let path = place.path();
        let refuse = |why: &str| LayerError::entry(&path, format!("hard link to {:?}: {why}", target.path()));
        if place.path() == target.path() {
            return Err(refuse("is itself"));
        }
        let from = self.directory.existing(&target.parent).map_err(|error| match error {
            LayerError::Entry { why, .. } => refuse(&why),
            error => error,
        })?;
        if is_whiteout(&from, &target.name) {
            return Err(refuse("no such file in this layer"));
        }
        let parent = self.directory.parent(&place.parent)?;
        self.directory.clear(&parent, place, false)?;
        match rustix::fs::linkat(&from, &target.name, &*parent, &place.name, AtFlags::empty()) {
            Err(Errno::NOENT) => Err(refuse("no such file in this layer")),
            Err(Errno::PERM) => Err(refuse("it is a directory")),
            Err(Errno::MLINK) => Err(refuse("it has too many links")),
            result => result.map_err(LayerError::disk("create hard link", &path)),
        }?;
        self.record.hard_link(&path, &target.path())
    }

    fn device(
        &mut self,
        place: &Place,
        attributes: &Attributes,
        block: bool,
        number: (u32, u32),
    ) -> Result<(), LayerError> {
        let (major, minor) = number;
        if !self.limits.allow_device_nodes && (block || !HARMLESS.contains(&number)) {
            let kind = if block { "block" } else { "character" };
            let why = format!("{kind} device {major}:{minor} is not allowed (registry.limits.allow_device_nodes)");
            return Err(LayerError::entry(&place.path(), why));
        }
        let file_type = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
        self.node(place, attributes, file_type, rustix::fs::makedev(major, minor))
    }

    fn node(
        &mut self,
        place: &Place,
        attributes: &Attributes,
        file_type: FileType,
        device: u64,
    ) -> Result<(), LayerError> {
        let parent = self.directory.parent(&place.parent)?;
        self.directory.clear(&parent, place, false)?;
        rustix::fs::mknodat(&*parent, &place.name, file_type, Mode::from_raw_mode(0o600), device)
            .map_err(LayerError::disk("create node", &place.path()))?;
        self.count(0);
        apply_at(&parent, place, attributes)?;
        let device = (file_type != FileType::Fifo).then_some((file_type.is_block_device(), device));
        self.record.special(&place.path(), attributes, &parent, device)
    }
}

fn is_directory(at: &OwnedFd, place: &Place) -> bool {
    rustix::fs::statat(at, &place.name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
