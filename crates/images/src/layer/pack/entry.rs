//! Entries of an archive as they are written: ustar, with PAX headers (POSIX pax, "pax Interchange Format") for what ustar
//! has no room for.

use std::io::{self, Write};

use rustix::fs::Stat;
use tar::{EntryType, Header};

use crate::layer::pax;

pub(super) const BLOCK: usize = 512;
/// What the name and link fields of a ustar header hold.
const NAME: usize = 100;

/// What an entry says of a file.
#[derive(Clone)]
pub(crate) struct Entry<'a> {
    pub name: &'a [u8],
    pub kind: EntryType,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970, and nanoseconds after them.
    pub time: (i64, u32),
    /// Bytes of content that follow.
    pub size: u64,
    /// The target of a link.
    pub link: &'a [u8],
    /// Major and minor number.
    pub device: (u32, u32),
    /// Sorted by name.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl<'a> Entry<'a> {
    /// A file of root's, from 1970.
    pub fn new(name: &'a [u8], mode: u32, size: u64) -> Self {
        let kind = EntryType::Regular;
        Self { name, kind, mode, uid: 0, gid: 0, time: (0, 0), size, link: &[], device: (0, 0), xattrs: &[] }
    }

    /// Owner, mode and time of a file, without its content.
    pub fn of(stat: &Stat, name: &'a [u8]) -> Self {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            time: (stat.st_mtime as _, nanoseconds),
            ..Self::new(name, stat.st_mode & 0o7777, 0)
        }
    }

    /// Writes the headers. The content is for the caller to write, and to [`pad`].
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.write_extended(out)?;
        let mut header = Header::new_ustar();
        self.fill(&mut header);
        header.set_size(self.size);
        header.set_cksum();
        out.write_all(header.as_bytes())
    }

    /// What all forms of the header have in common.
    pub(super) fn fill(&self, header: &mut Header) {
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.uid.into());
        header.set_gid(self.gid.into());
        header.set_mtime(u64::try_from(self.time.0).unwrap_or(0));
        if matches!(self.kind, EntryType::Char | EntryType::Block) {
            // Both are there in either form.
            let _ = header.set_device_major(self.device.0);
            let _ = header.set_device_minor(self.device.1);
        }
        let fields = header.as_old_mut();
        copy(&mut fields.name, self.name);
        copy(&mut fields.linkname, self.link);
    }

    /// Writes what the header has no room for.
    pub(super) fn write_extended(&self, out: &mut impl Write) -> io::Result<()> {
        let mut records = Vec::new();
        if self.name.len() > NAME {
            pax::append(&mut records, b"path", self.name);
        }
        if self.link.len() > NAME {
            pax::append(&mut records, b"linkpath", self.link);
        }
        if self.time.0 < 0 || self.time.1 > 0 {
            pax::append(&mut records, b"mtime", time(self.time).as_bytes());
        }
        // A link is another name of a file, whose attributes are told with its first.
        for (name, value) in self.xattrs {
            if name.contains(&b'=') {
                return Err(io::Error::other("an extended attribute whose name has a \"=\""));
            }
            pax::append(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        let extended = Entry { kind: EntryType::XHeader, ..Entry::new(b"PaxHeader", 0o644, 0) };
        extended.fill(&mut header);
        header.set_size(records.len() as u64);
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        out.write_all(&records)?;
        pad(out, records.len() as u64)
    }
}

/// Fills the last block of a content of so many bytes.
pub(crate) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    let zeros = [0; BLOCK];
    out.write_all(zeros.get(used..).filter(|_| used > 0).unwrap_or_default())
}

/// Ends an archive.
pub(crate) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

/// A name too long for the field is cut there, and whole in the extended header.
fn copy(field: &mut [u8], value: &[u8]) {
    field.iter_mut().zip(value).for_each(|(place, byte)| *place = *byte);
}

/// Seconds with a fraction; before 1970 both count backwards.
fn time((seconds, nanoseconds): (i64, u32)) -> String {
    let text = match (seconds < 0, nanoseconds) {
        (_, 0) => return seconds.to_string(),
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
        (true, _) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    };
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1970_in_both_directions() {
        for (given, expected) in [
            ((0, 0), "0"),
            ((1, 500_000_000), "1.5"),
            ((1, 1), "1.000000001"),
            ((-1, 0), "-1"),
            ((-2, 500_000_000), "-1.5"),
            ((-1, 500_000_000), "-0.5"),
        ] {
            assert_eq!(time(given), expected);
        }
    }
}
