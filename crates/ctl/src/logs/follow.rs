//! Reading a log file line by line, through rotation and truncation.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{MAX_LINE, start_of_last};

const BLOCK: usize = 64 * 1024;

/// Reads a log file as it grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: File,
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    unfinished: Vec<u8>,
}

/// What a look at the file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Lines were handed over; there may be more.
    Lines,
    /// Nothing new.
    Idle,
}

impl Follower {
    /// Opens a log, at its beginning or before its last lines.
    ///
    /// # Errors
    /// What the kernel says about opening or reading.
    pub fn open(path: &Path, tail: Option<usize>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let offset = tail.map_or(Ok(0), |count| start_of_last(&mut file, count))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { path: path.to_owned(), file, offset, unfinished: Vec::new() })
    }

    /// Hands the complete lines of the next block over. At the end of a file that was rotated away it goes on with the
    /// one that took its place.
    ///
    /// # Errors
    /// What the kernel says about reading, or what `each` says.
    pub fn read<E: From<io::Error>>(&mut self, each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<Progress, E> {
        let mut block = vec![0; BLOCK];
        let length = self.file.read(&mut block)?;
        if length == 0 {
            let moved = self.reopen()?;
            if moved && self.offset == 0 {
                self.finish(each)?;
            }
            return Ok(if moved { Progress::Lines } else { Progress::Idle });
        }
        self.offset += length as u64;
        self.unfinished.extend_from_slice(block.get(..length).unwrap_or_default());
        self.lines(each)?;
        Ok(Progress::Lines)
    }

    /// Hands over a last line that never got its newline.
    ///
    /// # Errors
    /// What `each` says.
    pub fn finish<E>(&mut self, each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let line = std::mem::take(&mut self.unfinished);
        if line.is_empty() { Ok(()) } else { each(&line) }
    }

    fn lines<E>(&mut self, each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let all = std::mem::take(&mut self.unfinished);
        let mut rest = all.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            each(line)?;
            rest = after.get(1..).unwrap_or_default();
        }
        if rest.len() > MAX_LINE {
            // No runtime writes this: say so once and go on, without keeping it all.
            return each(rest);
        }
        self.unfinished = rest.to_vec();
        Ok(())
    }

    /// After the end of the file: whether there is another file at the path, or this one was cut.
    fn reopen(&mut self) -> io::Result<bool> {
        let here = self.file.metadata()?;
        if here.len() < self.offset {
            return self.start_over().map(|()| true);
        }
        let there = match fs::metadata(&self.path) {
            // Between the rename and the new file there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        if (there.dev(), there.ino()) == (here.dev(), here.ino()) {
            return Ok(false);
        }
        if here.len() > self.offset {
            // Written between our last read and now; it is read before the file is left.
            return Ok(true);
        }
        self.file = File::open(&self.path)?;
        self.start_over().map(|()| true)
    }

    fn start_over(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.offset = 0;
        Ok(())
    }
}
