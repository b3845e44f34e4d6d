//! Header blocks: names and values, compressed with one zlib stream a direction for all blocks of a connection. SPDY/3.1,
//! 2.6.10.
//!
//! Uncompressed: the number of names; for each the name's length, the name, the value's length, the value. Numbers have
//! four bytes. Several values of a name are separated by NUL.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary;

#[cfg(test)]
mod tests;

/// The most bytes of a block, uncompressed.
pub const BLOCK_LIMIT: usize = 64 * 1024;

/// The most headers in a block: every value counts.
pub const HEADERS_LIMIT: usize = 128;

/// The most bytes of a name. It is kept once for each of its values.
pub const NAME_LIMIT: usize = 256;

/// The most bytes, uncompressed, of a block that is sent: so that no frame is longer than what either end takes.
const SEND_LIMIT: usize = 8 * 1024;

/// How much more room an uncompressed block is given at once.
const STEP: usize = 4 * 1024;

/// What is wrong with a header block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It cannot be decompressed.
    #[error("a header block that zlib cannot read: {0}")]
    Zlib(String),
    /// It was compressed with another dictionary.
    #[error("a header block with the dictionary {0:#010x}")]
    Dictionary(u32),
    /// Nothing can come after this block.
    #[error("a header block that ends the compressed stream")]
    Ended,
    /// It is longer than [`BLOCK_LIMIT`].
    #[error("a header block of more than {BLOCK_LIMIT} bytes")]
    TooLong,
    /// It has more headers than [`HEADERS_LIMIT`].
    #[error("a header block with {0} headers or more")]
    TooMany(usize),
    /// It ends before what it says it holds, or after.
    #[error("a header block with {0} bytes that does not hold what it says")]
    Length(usize),
    /// A name with nothing in it.
    #[error("a header without a name")]
    Nameless,
    /// A name longer than [`NAME_LIMIT`].
    #[error("a header name of {0} bytes")]
    LongName(usize),
    /// A name that is not of visible lower-case ASCII.
    #[error("the header name {0:?}")]
    Name(String),
    /// A name that comes twice.
    #[error("two headers with the name {0:?}")]
    Twice(String),
    /// A value that is not UTF-8.
    #[error("a value of the header {0:?} that is not UTF-8")]
    Value(String),
}

/// The headers of a stream, in order; a name with several values comes several times. Names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of this name, in whatever case it is written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let lower = |(name, value): (N, V)| {
            let mut name = name.into();
            name.make_ascii_lowercase();
            (name, value.into())
        };
        Self(pairs.into_iter().map(lower).collect())
    }
}

/// Reads the blocks of one direction. Every block must be given to it, whether it is wanted or not, and none after an error.
#[derive(Debug)]
pub struct Decompressor(Decompress);

impl Default for Decompressor {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decompressor {
    /// What a block says.
    ///
    /// # Errors
    /// [`BlockError`]; no later block can be read then.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, BlockError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, BlockError> {
        let mut plain = Vec::new();
        loop {
            if plain.len() == plain.capacity() {
                plain.reserve_exact(STEP);
            }
            let before = self.0.total_in();
            let outcome = self.0.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in().saturating_sub(before)).unwrap_or(usize::MAX);
            block = block.get(taken..).unwrap_or_default();
            match outcome {
                Err(error) => match error.needs_dictionary() {
                    Some(dictionary::CHECKSUM) => self.set_dictionary()?,
                    Some(other) => return Err(BlockError::Dictionary(other)),
                    None => return Err(BlockError::Zlib(error.to_string())),
                },
                Ok(_) if plain.len() > BLOCK_LIMIT => return Err(BlockError::TooLong),
                Ok(Status::StreamEnd) => return Err(BlockError::Ended),
                // As long as it fills all the room it is given, there may be more.
                Ok(_) if plain.len() == plain.capacity() => {}
                Ok(_) if block.is_empty() => return Ok(plain),
                Ok(_) if taken == 0 => return Err(BlockError::Length(plain.len())),
                Ok(_) => {}
            }
        }
    }

    fn set_dictionary(&mut self) -> Result<(), BlockError> {
        self.0.set_dictionary(&dictionary::DICTIONARY).map(drop).map_err(|error| BlockError::Zlib(error.to_string()))
    }
}

fn parse(block: &[u8]) -> Result<Headers, BlockError> {
    let short = || BlockError::Length(block.len());
    let (count, mut rest) = block.split_first_chunk::<4>().ok_or_else(short)?;
    let count = usize::try_from(u32::from_be_bytes(*count)).unwrap_or(usize::MAX);
    if count > HEADERS_LIMIT {
        return Err(BlockError::TooMany(count));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for _ in 0..count {
        let name = name(prefixed(&mut rest).ok_or_else(short)?)?;
        let value = prefixed(&mut rest).ok_or_else(short)?;
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(BlockError::Twice(name));
        }
        let value = str::from_utf8(value).map_err(|_| BlockError::Value(name.clone()))?;
        for value in value.split('\0') {
            pairs.push((name.clone(), value.to_owned()));
            if pairs.len() > HEADERS_LIMIT {
                return Err(BlockError::TooMany(pairs.len()));
            }
        }
    }
    if rest.is_empty() { Ok(Headers(pairs)) } else { Err(short()) }
}

fn name(bytes: &[u8]) -> Result<String, BlockError> {
    let name = String::from_utf8_lossy(bytes);
    check(&name)?;
    Ok(name.into_owned())
}

fn check(name: &str) -> Result<(), BlockError> {
    match name.len() {
        0 => Err(BlockError::Nameless),
        length if length > NAME_LIMIT => Err(BlockError::LongName(length)),
        _ if name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()) => Ok(()),
        _ => Err(BlockError::Name(name.to_owned())),
    }
}

/// What comes after its length.
fn prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(bytes)
}

/// Writes the blocks of one direction. Every block must be sent, in order.
#[derive(Debug)]
pub struct Compressor(Compress);

impl Compressor {
    /// With nothing written yet.
    ///
    /// # Errors
    /// If zlib refuses the dictionary.
    pub fn new() -> Result<Self, BlockError> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary::DICTIONARY).map_err(|error| BlockError::Zlib(error.to_string()))?;
        Ok(Self(zlib))
    }

    /// The block that says this.
    ///
    /// # Errors
    /// [`BlockError`] if a name is none or there is too much: nothing was written then.
    pub fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, BlockError> {
        let plain = plain(headers)?;
        let mut rest = plain.as_slice();
        let mut block = Vec::with_capacity(STEP);
        loop {
            let before = self.0.total_in();
            let flushed = self.0.compress_vec(rest, &mut block, FlushCompress::Sync);
            flushed.map_err(|error| BlockError::Zlib(error.to_string()))?;
            let taken = usize::try_from(self.0.total_in().saturating_sub(before)).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            if block.len() < block.capacity() && rest.is_empty() {
                return Ok(block);
            }
            block.reserve(STEP);
        }
    }
}

fn plain(headers: &Headers) -> Result<Vec<u8>, BlockError> {
    if headers.0.len() > HEADERS_LIMIT {
        return Err(BlockError::TooMany(headers.0.len()));
    }
    let mut values: Vec<(&str, String)> = Vec::new();
    for (name, value) in headers.iter() {
        check(name)?;
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, several)) => {
                several.push('\0');
                several.push_str(value);
            }
            None => values.push((name, value.to_owned())),
        }
    }
    let mut plain = u32::try_from(values.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    for text in values.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
        plain.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        plain.extend(text.as_bytes());
    }
    if plain.len() > SEND_LIMIT { Err(BlockError::TooLong) } else { Ok(plain) }
}
