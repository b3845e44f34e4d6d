//! A container's log file, and what happens when it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::format::{self, Source, Stamp};

/// Opens (or makes) the log file at `path` for appending. The last component may not be a symbolic link, and it must be
/// a regular file: containers may be able to write to the directory.
///
/// # Errors
/// What open(2) says, and `InvalidInput` for anything but a regular file.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file.into())
}

/// The log file. While it cannot be written (a full disk, an I/O error), records are dropped and counted, and the
/// container goes on; the first write that succeeds again begins with a record that says how many were lost. Records in the
/// file are always whole: one that was cut off is completed first.
#[derive(Debug)]
pub struct LogFile<W = File> {
    path: PathBuf,
    file: W,
    /// The end of a record of which only the beginning is in the file.
    torn: Vec<u8>,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Lost {
    records: u64,
    bytes: u64,
    why: String,
}

impl LogFile {
    /// `file` is open at `path`.
    pub fn new(path: PathBuf, file: OwnedFd) -> Self {
        Self { path, file: file.into(), torn: Vec::new(), lost: None }
    }

    /// Opens the path afresh, after rotation. On failure the file open so far stays in use.
    ///
    /// # Errors
    /// As [`open`].
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?.into();
        // The beginning of a torn record is in the old file; half a record would spoil the new one.
        self.torn = Vec::new();
        Ok(())
    }
}

impl<W: Write> LogFile<W> {
    /// Writes whole records. Never fails: what cannot be written is counted as lost.
    pub fn write(&mut self, records: &[u8]) {
        if (self.lost.is_some() || !self.torn.is_empty()) && !self.recover() {
            return self.lose(records, None);
        }
        if let Err((written, error)) = write_all(&mut self.file, records) {
            let begun = memchr::memrchr(b'\n', &records[..written]).map_or(0, |end| end + 1);
            let rest = &records[written..];
            let cut = if written > begun { memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1) } else { 0 };
            self.torn = rest[..cut].to_vec();
            self.lose(&rest[cut..], Some(&error));
        }
    }

    /// Completes a torn record and notes what was lost. Whether that succeeded.
    fn recover(&mut self) -> bool {
        if let Err((written, _)) = write_all(&mut self.file, &self.torn) {
            self.torn.drain(..written);
            return false;
        }
        self.torn = Vec::new();
        let Some(lost) = &self.lost else { return true };
        let note =
            format!("corten: {} records ({} bytes) of this log are lost: {}", lost.records, lost.bytes, lost.why);
        let mut record = Vec::new();
        format::record(&mut record, Stamp::now(), Source::Stderr, true, note.as_bytes(), b"");
        match write_all(&mut self.file, &record) {
            Ok(()) => {
                self.lost = None;
                true
            }
            Err((0, _)) => false,
            Err((written, _)) => {
                self.lost = None;
                self.torn = record.split_off(written);
                false
            }
        }
    }

    fn lose(&mut self, records: &[u8], why: Option<&io::Error>) {
        if records.is_empty() {
            return;
        }
        let lost = self.lost.get_or_insert_with(|| Lost {
            records: 0,
            bytes: 0,
            why: why.map_or_else(|| "the file could not be written".to_owned(), ToString::to_string),
        });
        lost.records += u64::try_from(memchr::memchr_iter(b'\n', records).count()).unwrap_or(u64::MAX);
        lost.bytes += u64::try_from(records.len()).unwrap_or(u64::MAX);
    }
}

/// Writes everything, or says how much was written before the error.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// A disk with so much room left.
    struct Disk {
        content: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            self.room -= n;
            self.content.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn file(room: usize) -> LogFile<Disk> {
        LogFile { path: PathBuf::new(), file: Disk { content: Vec::new(), room }, torn: Vec::new(), lost: None }
    }

    #[test]
    fn after_a_full_disk_every_record_is_whole_and_the_loss_is_noted() {
        let mut log = file(9);
        log.write(b"one 1\ntwo 2\nthree\n");
        log.write(b"four\n");
        assert_eq!(log.file.content, b"one 1\ntwo");
        log.file.room = 1000;
        log.write(b"five\n");
        let text = String::from_utf8(log.file.content).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3], lines.len()), ("one 1", "two 2", "five", 4));
        assert!(lines[2].ends_with(
            "stderr F corten: 2 records (11 bytes) of this log are lost: No space left on device (os error 28)"
        ));
    }

    #[test]
    fn however_little_room_comes_back_records_stay_whole() {
        for step in 1..40 {
            let mut log = file(9);
            log.write(b"one 1\ntwo 2\nthree\n");
            for _ in 0..300 {
                log.file.room += step;
                log.write(b"again\n");
            }
            let text = String::from_utf8(log.file.content).unwrap();
            let whole = text.lines().rev().skip(1);
            for line in whole {
                assert!(
                    ["one 1", "two 2", "again"].contains(&line) || line.contains("are lost: "),
                    "step {step}: {line}"
                );
            }
        }
    }

    #[test]
    fn a_symbolic_link_and_a_fifo_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert_eq!(open(&dir.path().join("link")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(open(&fifo).is_err());
    }
}
