//! Unmarshalling, of bytes that anything may be in.

use super::Error;

/// The bytes of a message or of its body, read from the front. Both begin at a multiple of 8.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

const SHORT: Error = Error::Malformed("a message is shorter than it says");

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], big_endian: bool) -> Self {
        Self { bytes, at: 0, big_endian }
    }

    /// How far it has been read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(length).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn align(&mut self, to: usize) -> Result<(), Error> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.take(padding).map(drop)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    pub(super) fn number(&mut self) -> Result<u32, Error> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| SHORT)?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// `s`, `o`
    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let length = self.number()?;
        self.ended_text(length as usize)
    }

    /// `g`
    pub(super) fn signature(&mut self) -> Result<&'a str, Error> {
        let length = self.byte()?;
        self.ended_text(length.into())
    }

    fn ended_text(&mut self, length: usize) -> Result<&'a str, Error> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Error::Malformed("a text is not UTF-8"))?;
        match self.byte()? {
            0 => Ok(text),
            _ => Err(Error::Malformed("a text does not end with a zero")),
        }
    }

    /// Passes over a value of a basic type.
    pub(super) fn skip(&mut self, signature: &str) -> Result<(), Error> {
        let size = match signature {
            "s" | "o" => return self.text().map(drop),
            "g" => return self.signature().map(drop),
            "y" => 1,
            "n" | "q" => 2,
            "b" | "i" | "u" | "h" => 4,
            "x" | "t" | "d" => 8,
            _ => return Err(Error::Malformed("a header field is of a type that none has")),
        };
        self.align(size)?;
        self.take(size).map(drop)
    }
}
