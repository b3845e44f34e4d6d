//! The members of a tar archive, one after the other (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar
//! Format"), read as containerd's parser does where forms leave a choice.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{
    LayerError,
    pax::Extended,
    sparse::{self, Piece},
};

pub(super) const BLOCK: u64 = 512;

/// What the headers of one member say.
pub(crate) struct Member {
    pub header: Header,
    pub path: Vec<u8>,
    /// Where a link leads.
    pub link: Option<Vec<u8>>,
    /// Bytes of content, with holes.
    pub size: u64,
    pub(super) extended: Extended,
}

/// An archive. As a reader it is the content of the member that came last.
pub(crate) struct Members<R> {
    archive: R,
    current: Piece,
    pieces: std::vec::IntoIter<Piece>,
    /// Bytes of the member that are still in the archive, and what fills its last block.
    stored: u64,
    padding: u64,
}

/// What comes before a member's own header.
#[derive(Default)]
struct Before {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    extended: Option<Vec<u8>>,
}

impl<R: Read> Members<R> {
    pub fn new(archive: R) -> Self {
        Self { archive, current: Piece::Stored(0), pieces: Vec::new().into_iter(), stored: 0, padding: 0 }
    }

    /// The archive, read as far as it was.
    pub fn into_inner(self) -> R {
        self.archive
    }

    /// The next member; nothing at the end. What is left of the last one is passed over.
    pub fn next(&mut self) -> Result<Option<Member>, LayerError> {
        self.skip()?;
        let mut before = Before::default();
        while let Some(header) = self.header()? {
            let slot = match header.entry_type() {
                EntryType::GNULongName => &mut before.path,
                EntryType::GNULongLink => &mut before.link,
                EntryType::XHeader => &mut before.extended,
                EntryType::XGlobalHeader => return self.member(header, Before::default()).map(Some),
                _ => return self.member(header, before).map(Some),
            };
            if slot.is_some() {
                return Err(LayerError::format("two headers of one kind before an entry"));
            }
            *slot = Some(self.whole(&header)?);
        }
        match before {
            Before { path: None, link: None, extended: None } => Ok(None),
            _ => Err(LayerError::format("it ends after a header that describes what comes next")),
        }
    }

    /// Passes over what is left of the member.
    pub fn skip(&mut self) -> Result<(), LayerError> {
        let left = self.stored.saturating_add(self.padding);
        let skipped = io::copy(&mut self.archive.by_ref().take(left), &mut io::sink())?;
        (self.stored, self.padding, self.current, self.pieces) = (0, 0, Piece::Stored(0), Vec::new().into_iter());
        if skipped == left { Ok(()) } else { Err(LayerError::format("it ends within an entry")) }
    }

    /// The next header block; nothing where the archive ends.
    fn header(&mut self) -> Result<Option<Header>, LayerError> {
        let mut header = Header::new_old();
        let mut bytes = Vec::with_capacity(header.as_bytes().len());
        self.archive.by_ref().take(BLOCK).read_to_end(&mut bytes)?;
        if bytes.iter().all(|&byte| byte == 0) && matches!(bytes.len() as u64, 0 | BLOCK) {
            return Ok(None);
        }
        if bytes.len() as u64 != BLOCK {
            return Err(LayerError::format("it ends within a header"));
        }
        header.as_mut_bytes().copy_from_slice(&bytes);
        let told = header.cksum()?;
        // The checksum counts itself as spaces.
        let own = header.as_old().cksum.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let sum = bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>() - own + 8 * u32::from(b' ');
        if sum == told { Ok(Some(header)) } else { Err(LayerError::format("the checksum of a header is wrong")) }
    }

    /// The content of a header that describes what comes next. Whoever reads the archive bounds what this may take.
    fn whole(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        self.begin(size(header)?)?;
        let mut content = Vec::new();
        let wanted = self.stored;
        self.read_to_end(&mut content)?;
        if content.len() as u64 != wanted {
            return Err(LayerError::format("it ends within a header"));
        }
        self.skip()?;
        Ok(content)
    }

    fn member(&mut self, header: Header, before: Before) -> Result<Member, LayerError> {
        let named = |why| LayerError::Entry { entry: String::from_utf8_lossy(&header.path_bytes()).into_owned(), why };
        let mut extended = Extended::parse(&before.extended.unwrap_or_default()).map_err(named)?;
        let path = before.path.map(until_nul).or_else(|| extended.path.take());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = before.link.map(until_nul).or_else(|| extended.link.take());
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let mut size = match extended.size {
            _ if is_header_alone(header.entry_type()) => 0,
            Some(size) => size,
            None => size(&header)?,
        };
        if header.entry_type() == EntryType::GNUSparse {
            let (pieces, whole) = sparse::pieces(&header, size, &mut self.archive)?;
            self.begin(size)?;
            (self.current, self.pieces, size) = (Piece::Stored(0), pieces.into_iter(), whole);
        } else {
            self.begin(size)?;
        }
        Ok(Member { header, path, link, size, extended })
    }

    /// Content of so many bytes comes.
    fn begin(&mut self, stored: u64) -> Result<(), LayerError> {
        let whole =
            stored.checked_next_multiple_of(BLOCK).ok_or_else(|| LayerError::format("an entry longer than can be"))?;
        (self.stored, self.padding, self.current) = (stored, whole - stored, Piece::Stored(stored));
        Ok(())
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let (Piece::Hole(left) | Piece::Stored(left)) = self.current;
            if left == 0 {
                let Some(next) = self.pieces.next() else { return Ok(0) };
                self.current = next;
                continue;
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let buffer = buffer.get_mut(..length).unwrap_or_default();
            if let Piece::Hole(_) = self.current {
                buffer.fill(0);
                self.current = Piece::Hole(left - length as u64);
                return Ok(length);
            }
            let length = self.archive.read(buffer)?;
            self.current = Piece::Stored(left - length as u64);
            self.stored -= length as u64;
            return Ok(length);
        }
    }
}

/// These have no content, whatever size their headers tell.
fn is_header_alone(kind: EntryType) -> bool {
    use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
    matches!(kind, Link | Symlink | Char | Block | Directory | Fifo)
}

fn size(header: &Header) -> Result<u64, LayerError> {
    if is_blank(&header.as_old().size) { Ok(0) } else { Ok(header.entry_size()?) }
}

/// Some writers leave out what is zero.
pub(super) fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|&byte| matches!(byte, 0 | b' '))
}

/// GNU's long names end with a NUL.
fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests;
