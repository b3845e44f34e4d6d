//! Compares a layer's directory with its record.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufReader, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::{
    Checksum, Sum,
    format::{Attributes, Decoder, Entry, What},
    observe::{Observer, open_beneath},
};
use crate::{beneath::DIRECTORY, disk::Names};

const BUFFER: usize = 64 << 10;
/// How many differences of one layer are told.
const FINDINGS: usize = 20;
/// How often it is told how far the check is, in entries.
const STEP: u64 = 256;

/// One difference between a layer and its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The path in the layer; empty for the layer itself.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// The differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first of them.
    pub first: Vec<Finding>,
    /// How many there are in all.
    pub count: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, path: &Path, what: impl Into<String>) {
        self.count += 1;
        if self.first.len() < FINDINGS {
            self.first.push(Finding { path: path.to_string_lossy().into_owned(), what: what.into() });
        }
    }
}

/// Where a layer and its record are.
pub(crate) struct Place<'a> {
    pub directory: &'a Path,
    pub files: &'a Path,
    pub sum: Sum,
}

/// The record's own length and checksum.
pub(crate) fn sum(path: &Path) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let (mut buffer, mut checksum, mut bytes) = (vec![0; BUFFER], Checksum::default(), 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, checksum.finish())),
            Ok(length) => {
                checksum.update(buffer.get(..length).unwrap_or_default(), u64::MAX);
                bytes += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is wrong with a record itself.
pub(crate) fn wrong_record(path: &Path, sum_wanted: &Sum) -> Option<String> {
    match sum(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("the record of its files is missing".to_owned()),
        Err(error) => Some(format!("the record of its files cannot be read: {error}")),
        Ok(found) if found != (sum_wanted.bytes, sum_wanted.checksum) => {
            Some("the record of its files is not what was written".to_owned())
        }
        Ok(_) => None,
    }
}

/// Verifies a layer. `progress` is told the number of entries done, and whether to go on is what it returns; nothing is
/// the answer when it was not.
pub(crate) fn verify(place: &Place<'_>, progress: &(dyn Fn(u64) -> bool + Send + Sync)) -> Option<Findings> {
    let mut findings = Findings::default();
    if let Some(wrong) = wrong_record(place.files, &place.sum) {
        findings.add(Path::new(""), wrong);
        return Some(findings);
    }
    let root = match rustix::fs::open(place.directory, DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => {
            findings.add(Path::new(""), "its directory is missing");
            return Some(findings);
        }
        Err(errno) => {
            findings.add(Path::new(""), format!("its directory cannot be opened: {errno}"));
            return Some(findings);
        }
    };
    let mut verifier = Verifier {
        root,
        observer: Observer::new(),
        findings,
        parent: None,
        recorded: 0,
        on_disk: 0,
        done: 0,
        progress,
    };
    let compared = verifier.compare_all(place.files);
    let compared =
        compared.and_then(|all| if all { verifier.look_for_more(place.files).map(|()| true) } else { Ok(false) });
    match compared {
        Ok(false) => return None,
        Ok(true) => {}
        Err(error) => verifier.findings.add(Path::new(""), format!("the record of its files cannot be read: {error}")),
    }
    Some(verifier.findings)
}

struct Verifier<'a> {
    root: OwnedFd,
    observer: Observer,
    findings: Findings,
    /// The directory opened last: records come directory by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Recorded names that are there.
    recorded: u64,
    /// Names in recorded directories.
    on_disk: u64,
    done: u64,
    progress: &'a (dyn Fn(u64) -> bool + Send + Sync),
}

impl Verifier<'_> {
    /// Compares all that is recorded; whether it came to the end.
    fn compare_all(&mut self, files: &Path) -> io::Result<bool> {
        let mut record = open(files)?;
        while let Some(entry) = record.next()? {
            if self.done.is_multiple_of(STEP) && !(self.progress)(self.done) {
                return Ok(false);
            }
            self.done += 1;
            match self.compare(&entry) {
                Ok(()) => {}
                Err(Errno::CANCELED) => return Ok(false),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.findings.add(&entry.path, "is missing"),
                Err(errno) => self.findings.add(&entry.path, format!("cannot be read: {errno}")),
            }
        }
        Ok((self.progress)(self.done))
    }

    fn compare(&mut self, entry: &Entry) -> Result<(), Errno> {
        let Some(name) = entry.path.file_name() else { return self.compare_root(entry) };
        let parent = entry.path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(path, _)| path != parent) {
            self.parent = None;
            self.parent = Some((parent.to_owned(), open_beneath(&self.root, parent)?));
        }
        let Some((_, at)) = &self.parent else { return Err(Errno::NOENT) };
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.recorded += 1;
        if let What::HardLink(target) = &entry.what {
            let same = self.inode(target).is_ok_and(|inode| inode == (stat.st_dev, stat.st_ino));
            if !same {
                self.findings.add(&entry.path, format!("is not the same file as {}", target.display()));
            }
            return Ok(());
        }
        let progress = self.progress;
        let done = self.done;
        let found = self.observer.look(at.as_fd(), name, &|| progress(done))?;
        self.report(entry, found.as_ref());
        if matches!((&entry.what, found), (What::Directory(_), Some(What::Directory(_)))) {
            let names = Names::of(open_beneath(&self.root, &entry.path)?)?;
            self.count(names)?;
        }
        Ok(())
    }

    fn compare_root(&mut self, entry: &Entry) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(&self.root)?;
        let attributes = self.observer.attributes_of(&self.root, &stat)?;
        self.report(entry, Some(&What::Directory(attributes)));
        let names = Names::of(open_beneath(&self.root, Path::new(""))?)?;
        self.count(names)
    }

    fn count(&mut self, names: Names) -> Result<(), Errno> {
        for name in names {
            name?;
            self.on_disk += 1;
        }
        Ok(())
    }

    fn inode(&self, path: &Path) -> Result<(u64, u64), Errno> {
        let parent = open_beneath(&self.root, path.parent().unwrap_or(Path::new("")))?;
        let stat = rustix::fs::statat(&parent, path.file_name().ok_or(Errno::NOENT)?, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn report(&mut self, entry: &Entry, found: Option<&What>) {
        for difference in differences(&entry.what, found) {
            self.findings.add(&entry.path, difference);
        }
    }

    /// Finds names that are not recorded, if the numbers say that there are any.
    fn look_for_more(&mut self, files: &Path) -> io::Result<()> {
        if self.recorded == self.on_disk {
            return Ok(());
        }
        // What a name is known by: a layer has millions of them at most, and this is 64 bits.
        let known = |path: &Path| Checksum::of(path.as_os_str().as_bytes());
        let (mut names, mut record) = (HashSet::new(), open(files)?);
        while let Some(entry) = record.next()? {
            names.insert(known(&entry.path));
        }
        let mut record = open(files)?;
        while let Some(entry) = record.next()? {
            let What::Directory(_) = entry.what else { continue };
            let Ok(children) = open_beneath(&self.root, &entry.path).and_then(Names::of) else { continue };
            for name in children.map_while(Result::ok) {
                let path = entry.path.join(name);
                if !names.contains(&known(&path)) {
                    self.findings.add(&path, "is not of this layer");
                }
            }
        }
        Ok(())
    }
}

fn open(files: &Path) -> io::Result<Decoder<BufReader<File>>> {
    Decoder::new(BufReader::with_capacity(BUFFER, File::open(files)?))
}

fn differences(wanted: &What, found: Option<&What>) -> Vec<String> {
    let kinds = |found: &str| vec![format!("is {found}, was {}", kind(wanted))];
    let Some(found) = found else { return kinds("a socket") };
    let mut told = match (wanted, found) {
        (What::Directory(wanted), What::Directory(found)) | (What::Fifo(wanted), What::Fifo(found)) => {
            attributes(wanted, found)
        }
        (What::File { attributes: wanted, .. }, What::File { attributes: found, .. }) => attributes(wanted, found),
        // The mode of a link means nothing, and the kernel keeps none.
        (What::Symlink(wanted, _), What::Symlink(found, _)) => {
            attributes(&Attributes { mode: found.mode, ..wanted.clone() }, found)
        }
        (What::Device { attributes: wanted, block, .. }, What::Device { attributes: found, block: other, .. })
            if block == other =>
        {
            attributes(wanted, found)
        }
        (What::Whiteout, What::Whiteout) => Vec::new(),
        _ => return kinds(kind(found)),
    };
    match (wanted, found) {
        (What::File { size, checksum, .. }, What::File { size: found, checksum: other, .. }) => {
            if size != found {
                told.push(format!("has {found} bytes, had {size}"));
            } else if checksum != other {
                told.push("has another content".to_owned());
            }
        }
        (What::Symlink(_, target), What::Symlink(_, found)) if target != found => {
            told.push(format!("leads to {found:?}, led to {target:?}"));
        }
        (What::Device { major, minor, .. }, What::Device { major: found, minor: other, .. })
            if (major, minor) != (found, other) =>
        {
            told.push(format!("is device {found}:{other}, was {major}:{minor}"));
        }
        _ => {}
    }
    told
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Directory(_) => "a directory",
        What::File { .. } | What::HardLink(_) => "a file",
        What::Symlink(..) => "a symbolic link",
        What::Fifo(_) => "a fifo",
        What::Device { block: true, .. } => "a block device",
        What::Device { block: false, .. } => "a character device",
        What::Whiteout => "a whiteout",
    }
}

fn attributes(wanted: &Attributes, found: &Attributes) -> Vec<String> {
    let mut told = Vec::new();
    if wanted.mode != found.mode {
        told.push(format!("has mode {:04o}, had {:04o}", found.mode, wanted.mode));
    }
    if (wanted.uid, wanted.gid) != (found.uid, found.gid) {
        told.push(format!("is owned by {}:{}, was by {}:{}", found.uid, found.gid, wanted.uid, wanted.gid));
    }
    if wanted.mtime != found.mtime {
        let text =
            |attributes: &Attributes| format!("{}.{:09}", attributes.mtime.seconds, attributes.mtime.nanoseconds);
        told.push(format!("was changed at {}, not at {}", text(found), text(wanted)));
    }
    for xattr in &wanted.xattrs {
        match found.xattrs.iter().find(|other| other.name == xattr.name) {
            None => told.push(format!("lacks the extended attribute {:?}", xattr.name)),
            Some(other) if other != xattr => told.push(format!("has another value of {:?}", xattr.name)),
            Some(_) => {}
        }
    }
    let more = found.xattrs.iter().filter(|xattr| !wanted.xattrs.iter().any(|other| other.name == xattr.name));
    told.extend(more.map(|xattr| format!("has the extended attribute {:?}", xattr.name)));
    told
}

#[cfg(test)]
mod tests;
