//! Writes a layer's record while the layer is unpacked.

use std::{
    fs::File,
    io::{BufReader, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{
    Checksum,
    format::{Attributes, Decoder, Encoder, HEADER, Time, What, end},
    observe::{Observer, open_beneath},
};
use crate::{
    disk::{Names, Trash, Workspace},
    layer::{self, LayerError},
};

/// How much is written at once.
const BUFFER: usize = 64 << 10;

/// What the index has of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// Names in the layer, with its own directory.
    pub entries: u64,
    pub bytes: u64,
    /// XXH3 over all bytes.
    pub checksum: u64,
}

/// A record that is written, but not yet durable nor in its place.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub file: Workspace,
    pub sum: Sum,
}

/// A record being written.
///
/// An archive says what its files are to be like, and that is what is recorded: it costs no look at the disk. Only where
/// a file system may keep something else (extended attributes, times beyond 32 bits or finer than a second) is what it
/// kept recorded. A name that is replaced later in the same archive, or reached through a symbolic link, is a reason to
/// begin anew from what is on disk, when all is there: see [`Recorder::anew`].
pub(crate) struct Recorder {
    workspace: Workspace,
    file: File,
    encoder: Encoder,
    buffer: Vec<u8>,
    checksum: Checksum,
    entries: u64,
    bytes: u64,
    observer: Option<Observer>,
}

impl Recorder {
    pub fn new(trash: &Arc<Trash>) -> Result<Self, LayerError> {
        let (workspace, file) = trash.file().map_err(failed("create", Path::new("")))?;
        Ok(Self {
            workspace,
            file,
            encoder: Encoder::default(),
            buffer: HEADER.to_vec(),
            checksum: Checksum::default(),
            entries: 0,
            bytes: 0,
            observer: None,
        })
    }

    /// A file that is written and has all its attributes.
    pub fn file(
        &mut self,
        path: &Path,
        attributes: &layer::Attributes,
        size: u64,
        checksum: u64,
        file: impl AsFd,
    ) -> Result<(), LayerError> {
        let attributes = match self.plain(attributes) {
            Some(attributes) => attributes,
            None => self.attributes_of(file, path)?,
        };
        self.put(path, &What::File { attributes, size, checksum })
    }

    /// A symbolic link, a fifo or a device, with all its attributes.
    fn node(
        &mut self,
        path: &Path,
        attributes: &layer::Attributes,
        at: &OwnedFd,
        what: impl FnOnce(Attributes) -> What,
    ) -> Result<(), LayerError> {
        let attributes = match (self.plain(attributes), path.file_name()) {
            (Some(attributes), _) => attributes,
            (None, Some(name)) => {
                let stat = rustix::fs::statat(at, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
                let stat = stat.map_err(failed("look at", path))?;
                self.observer().attributes_at(at.as_fd(), name, &stat).map_err(failed("look at", path))?
            }
            (None, None) => return Err(failed("look at", path)(Errno::INVAL)),
        };
        self.put(path, &what(attributes))
    }

    /// A symbolic link.
    pub fn symlink(
        &mut self,
        path: &Path,
        attributes: &layer::Attributes,
        at: &OwnedFd,
        target: &Path,
    ) -> Result<(), LayerError> {
        self.node(path, attributes, at, |attributes| What::Symlink(attributes, target.as_os_str().to_owned()))
    }

    /// A fifo, or a device by its number.
    pub fn special(
        &mut self,
        path: &Path,
        attributes: &layer::Attributes,
        at: &OwnedFd,
        device: Option<(bool, u64)>,
    ) -> Result<(), LayerError> {
        self.node(path, attributes, at, |attributes| match device {
            None => What::Fifo(attributes),
            Some((block, number)) => {
                let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
                What::Device { attributes, block, major, minor }
            }
        })
    }

    pub fn whiteout(&mut self, path: &Path) -> Result<(), LayerError> {
        self.put(path, &What::Whiteout)
    }

    /// Another name of what has one already.
    pub fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), LayerError> {
        self.put(path, &What::HardLink(target.to_owned()))
    }

    /// A directory in which nothing changes any more.
    pub fn directory(&mut self, path: &Path, directory: impl AsFd) -> Result<(), LayerError> {
        let attributes = self.attributes_of(directory, path)?;
        self.put(path, &What::Directory(attributes))
    }

    /// Begins anew with what is on disk now. Directories come before what is in them, so that the record itself is the
    /// list of those still to be gone through: any depth and width takes the same memory.
    pub fn anew(&mut self, root: &OwnedFd) -> Result<(), LayerError> {
        let top = Path::new("");
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(failed("rewind", top))?;
        (self.encoder, self.checksum, self.entries, self.bytes) = Default::default();
        HEADER.clone_into(&mut self.buffer);
        self.directory(top, root)?;
        self.flush()?;
        let file = File::open(self.workspace.path()).map_err(failed("open", top))?;
        let mut queue = Decoder::new(BufReader::new(file)).map_err(failed("read", top))?;
        let mut read = 0;
        while read < self.entries {
            let Some(entry) = queue.next().map_err(failed("read", top))? else { break };
            read += 1;
            if let What::Directory(_) = entry.what {
                self.children(root, &entry.path)?;
                self.flush()?;
            }
        }
        Ok(())
    }

    fn children(&mut self, root: &OwnedFd, parent: &Path) -> Result<(), LayerError> {
        let directory = open_beneath(root, parent).map_err(failed("open", parent))?;
        let mut names = Names::of(directory).map_err(failed("list", parent))?;
        while let Some(name) = names.next() {
            let name = name.map_err(failed("list", parent))?;
            let (at, path) = (names.directory().map_err(failed("list", parent))?, parent.join(&name));
            let what = self.observer().look(at, &name, &|| true).map_err(failed("look at", &path))?;
            let what = what.ok_or(Errno::NOTSUP).map_err(failed("look at", &path))?;
            self.put(&path, &what)?;
        }
        Ok(())
    }

    /// The record, complete.
    pub fn finish(mut self) -> Result<Recorded, LayerError> {
        end(self.entries, &mut self.buffer);
        self.flush()?;
        let sum = Sum { entries: self.entries, bytes: self.bytes, checksum: self.checksum.finish() };
        Ok(Recorded { file: self.workspace, sum })
    }

    fn observer(&mut self) -> &mut Observer {
        self.observer.get_or_insert_with(Observer::new)
    }

    fn attributes_of(&mut self, file: impl AsFd, path: &Path) -> Result<Attributes, LayerError> {
        let stat = rustix::fs::fstat(&file).map_err(failed("look at", path))?;
        self.observer().attributes_of(&file, &stat).map_err(failed("look at", path))
    }

    /// Attributes that every file system keeps as they are.
    fn plain(&self, attributes: &layer::Attributes) -> Option<Attributes> {
        let layer::Attributes { mode, uid, gid, times, xattrs } = attributes;
        let mtime = &times.last_modification;
        let kept = mtime.tv_nsec == 0 && i32::try_from(mtime.tv_sec).is_ok_and(|seconds| seconds >= 0);
        if !xattrs.is_empty() || !kept {
            return None;
        }
        let mtime = Time { seconds: mtime.tv_sec, nanoseconds: 0 };
        Some(Attributes { mode: *mode, uid: *uid, gid: *gid, mtime, xattrs: Vec::new() })
    }

    fn put(&mut self, path: &Path, what: &What) -> Result<(), LayerError> {
        self.encoder.entry(path, what, &mut self.buffer);
        self.entries += 1;
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LayerError> {
        self.file.write_all(&self.buffer).map_err(failed("write", Path::new("")))?;
        // How much there will be is not known yet.
        self.checksum.update(&self.buffer, u64::MAX);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn failed<E: Into<std::io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> LayerError {
    LayerError::disk(
        match operation {
            "look at" => "look at what was unpacked,",
            "list" => "list what was unpacked,",
            "create" => "create the record of files",
            "write" => "write the record of files",
            _ => "read the record of files",
        },
        path,
    )
}
