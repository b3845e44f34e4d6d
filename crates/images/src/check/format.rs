//! The form of a record: a line of text with the version, then entries, each a kind and what the kind has. Numbers are
//! of variable length (seven bits a byte, the lowest first), checksums eight bytes, lowest first. A path says how much
//! of it is as in the entry before. It ends with the number of entries.

use std::{
    ffi::OsString,
    io::{self, BufRead, ErrorKind, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The first line.
pub(super) const HEADER: &[u8] = b"corten layer files 1\n";
/// More than any path that an archive's limits let through.
const PATH_BYTES: u64 = 1 << 20;
/// The kernel's own limit for all names of one file's extended attributes is 64 KiB.
const XATTRS: u64 = 32 << 10;
const XATTR_NAME_BYTES: u64 = 255;

const END: u8 = 0;
const DIRECTORY: u8 = b'd';
const FILE: u8 = b'f';
const SYMLINK: u8 = b'l';
const HARD_LINK: u8 = b'h';
const FIFO: u8 = b'p';
const CHARACTER_DEVICE: u8 = b'c';
const BLOCK_DEVICE: u8 = b'b';
const WHITEOUT: u8 = b'w';

/// One name in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the layer's directory, which is the empty path, and through no symbolic link.
    pub path: PathBuf,
    pub what: What,
}

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory(Attributes),
    File {
        attributes: Attributes,
        size: u64,
        /// Of the content.
        checksum: u64,
    },
    Symlink(Attributes, OsString),
    /// The same inode as an entry before.
    HardLink(PathBuf),
    Fifo(Attributes),
    Device {
        attributes: Attributes,
        block: bool,
        major: u32,
        minor: u32,
    },
    /// Its attributes mean nothing.
    Whiteout,
}

/// Ownership and the like, as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Xattr {
    pub name: OsString,
    /// Of the value.
    pub checksum: u64,
}

/// Puts entries into bytes.
#[derive(Default)]
pub(super) struct Encoder {
    last: Vec<u8>,
}

impl Encoder {
    pub fn entry(&mut self, path: &Path, what: &What, out: &mut Vec<u8>) {
        let kind = match what {
            What::Directory(_) => DIRECTORY,
            What::File { .. } => FILE,
            What::Symlink(..) => SYMLINK,
            What::HardLink(_) => HARD_LINK,
            What::Fifo(_) => FIFO,
            What::Device { block: true, .. } => BLOCK_DEVICE,
            What::Device { block: false, .. } => CHARACTER_DEVICE,
            What::Whiteout => WHITEOUT,
        };
        out.push(kind);
        self.path(path.as_os_str().as_bytes(), out);
        match what {
            What::Directory(attributes) | What::Fifo(attributes) => put_attributes(attributes, out),
            What::File { attributes, size, checksum } => {
                put_attributes(attributes, out);
                put_number(*size, out);
                out.extend_from_slice(&checksum.to_le_bytes());
            }
            What::Symlink(attributes, target) => {
                put_attributes(attributes, out);
                put_bytes(target.as_bytes(), out);
            }
            What::HardLink(target) => put_bytes(target.as_os_str().as_bytes(), out),
            What::Device { attributes, major, minor, .. } => {
                put_attributes(attributes, out);
                put_number((*major).into(), out);
                put_number((*minor).into(), out);
            }
            What::Whiteout => {}
        }
    }

    fn path(&mut self, path: &[u8], out: &mut Vec<u8>) {
        let same = self.last.iter().zip(path).take_while(|(one, other)| one == other).count();
        put_number(same as u64, out);
        put_bytes(path.get(same..).unwrap_or_default(), out);
        self.last.clear();
        self.last.extend_from_slice(path);
    }
}

/// The end, after which nothing comes.
pub(super) fn end(entries: u64, out: &mut Vec<u8>) {
    out.push(END);
    put_number(entries, out);
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_attributes(attributes: &Attributes, out: &mut Vec<u8>) {
    let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    put_number((*mode).into(), out);
    put_number((*uid).into(), out);
    put_number((*gid).into(), out);
    // The sign in the lowest bit, so that times shortly before 1970 are short too.
    put_number(((mtime.seconds << 1) ^ (mtime.seconds >> 63)).cast_unsigned(), out);
    put_number(mtime.nanoseconds.into(), out);
    put_number(xattrs.len() as u64, out);
    for Xattr { name, checksum } in xattrs {
        put_bytes(name.as_bytes(), out);
        out.extend_from_slice(&checksum.to_le_bytes());
    }
}

/// Reads a record entry by entry.
pub(super) struct Decoder<R> {
    reader: R,
    last: Vec<u8>,
    entries: u64,
}

impl<R: BufRead> Decoder<R> {
    /// Reads the first line.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut header = Vec::new();
        reader.by_ref().take(HEADER.len() as u64).read_to_end(&mut header)?;
        if header != HEADER {
            return Err(wrong("not a record of this version"));
        }
        Ok(Self { reader, last: Vec::new(), entries: 0 })
    }

    /// The next entry; nothing at the end.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let kind = self.byte()?;
        if kind == END {
            return self.end().map(|()| None);
        }
        let path = self.path()?;
        let what = match kind {
            DIRECTORY => What::Directory(self.attributes()?),
            FIFO => What::Fifo(self.attributes()?),
            FILE => What::File { attributes: self.attributes()?, size: self.number()?, checksum: self.checksum()? },
            SYMLINK => What::Symlink(self.attributes()?, OsString::from_vec(self.bytes(PATH_BYTES)?)),
            HARD_LINK => What::HardLink(PathBuf::from(OsString::from_vec(self.bytes(PATH_BYTES)?))),
            CHARACTER_DEVICE | BLOCK_DEVICE => What::Device {
                attributes: self.attributes()?,
                block: kind == BLOCK_DEVICE,
                major: self.short()?,
                minor: self.short()?,
            },
            WHITEOUT => What::Whiteout,
            _ => return Err(wrong("an entry of no known kind")),
        };
        self.entries += 1;
        Ok(Some(Entry { path, what }))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.number()? != self.entries {
            return Err(wrong("another number of entries than it says"));
        }
        if self.reader.fill_buf()?.is_empty() { Ok(()) } else { Err(wrong("something after the end")) }
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        let same = usize::try_from(self.number()?).ok().filter(|same| *same <= self.last.len());
        let rest = self.bytes(PATH_BYTES)?;
        self.last.truncate(same.ok_or_else(|| wrong("a path like a longer one than the last"))?);
        self.last.extend_from_slice(&rest);
        if self.last.len() as u64 > PATH_BYTES || self.last.contains(&0) {
            return Err(wrong("a path that cannot be"));
        }
        Ok(PathBuf::from(OsString::from_vec(self.last.clone())))
    }

    fn attributes(&mut self) -> io::Result<Attributes> {
        let (mode, uid, gid) = (self.short()?, self.short()?, self.short()?);
        let seconds = self.number()?;
        let seconds = (seconds >> 1).cast_signed() ^ -((seconds & 1).cast_signed());
        let mtime = Time { seconds, nanoseconds: self.short()? };
        let count = self.number()?;
        if count > XATTRS {
            return Err(wrong("more extended attributes than can be"));
        }
        let xattr = |_| {
            let name = OsString::from_vec(self.bytes(XATTR_NAME_BYTES)?);
            Ok(Xattr { name, checksum: self.checksum()? })
        };
        let xattrs = (0..count).map(xattr).collect::<io::Result<_>>()?;
        Ok(Attributes { mode, uid, gid, mtime, xattrs })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(wrong("a number that is too large"))
    }

    fn short(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| wrong("a number that is too large"))
    }

    fn checksum(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.reader.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let length = self.number()?;
        if length > limit {
            return Err(wrong("a name that is too long"));
        }
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn attributes() -> impl Strategy<Value = Attributes> {
        let xattr = (vec(1..=255_u8, 1..20), any::<u64>());
        let xattr = xattr.prop_map(|(name, checksum)| Xattr { name: OsString::from_vec(name), checksum });
        let time = (any::<i64>(), 0..1_000_000_000_u32);
        let time = time.prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds });
        let all = (0..0o10000_u32, any::<u32>(), any::<u32>(), time, vec(xattr, 0..3));
        all.prop_map(|(mode, uid, gid, mtime, xattrs)| Attributes { mode, uid, gid, mtime, xattrs })
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        vec(prop_oneof![Just(b'/'), Just(b'a'), 1..=255_u8], 0..40).prop_map(|path| OsString::from_vec(path).into())
    }

    fn what() -> impl Strategy<Value = What> {
        let device = (attributes(), any::<bool>(), any::<u32>(), any::<u32>());
        prop_oneof![
            attributes().prop_map(What::Directory),
            attributes().prop_map(What::Fifo),
            (attributes(), any::<u64>(), any::<u64>()).prop_map(|(attributes, size, checksum)| What::File {
                attributes,
                size,
                checksum
            }),
            (attributes(), path()).prop_map(|(attributes, target)| What::Symlink(attributes, target.into())),
            path().prop_map(What::HardLink),
            device.prop_map(|(attributes, block, major, minor)| What::Device { attributes, block, major, minor }),
            Just(What::Whiteout),
        ]
    }

    fn encode(entries: &[Entry]) -> Vec<u8> {
        let (mut out, mut encoder) = (HEADER.to_vec(), Encoder::default());
        entries.iter().for_each(|entry| encoder.entry(&entry.path, &entry.what, &mut out));
        end(entries.len() as u64, &mut out);
        out
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut decoder = Decoder::new(bytes)?;
        std::iter::from_fn(|| decoder.next().transpose()).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in vec((path(), what()).prop_map(|(path, what)| Entry { path, what }), 0..8)) {
            prop_assert_eq!(decode(&encode(&entries)).unwrap(), entries);
        }

        #[test]
        fn a_part_is_never_taken_for_the_whole(
            entries in vec((path(), what()).prop_map(|(path, what)| Entry { path, what }), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encode(&entries);
            let cut = cut.index(bytes.len());
            prop_assert!(decode(&bytes[..cut]).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = decode(&[HEADER, &bytes].concat());
        }
    }
}
