//! Container logs in the CRI's format: `TIME STREAM TAGS CONTENT`, one entry per line, where the tag `P` says that the
//! next entry of the stream goes on in the same line.

mod follow;
mod tail;

use jiff::Timestamp;

pub use self::{
    follow::{Follower, Progress},
    tail::start_of_last,
};

/// The longest line taken for an entry, in bytes. Runtimes split at 16 KiB.
pub const MAX_LINE: usize = 1 << 20;

/// Which stream an entry was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// The time as it is in the file.
    pub time_text: &'a str,
    /// Where to.
    pub stream: Stream,
    /// Whether the container's line goes on in the next entry.
    pub partial: bool,
    /// What was written, without the newline.
    pub content: &'a [u8],
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are not four parts.
    #[error("not an entry of a CRI log")]
    Shape,
    /// It does not begin with a time.
    #[error("no time at its beginning")]
    Time,
    /// The stream is neither of the two.
    #[error("neither stdout nor stderr")]
    Stream,
    /// The first tag is neither P nor F.
    #[error("neither partial (P) nor full (F)")]
    Tag,
    /// It is longer than any runtime writes.
    #[error("longer than {MAX_LINE} bytes")]
    Length,
}

impl<'a> Entry<'a> {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`Error`], for a line no runtime writes.
    pub fn parse(line: &'a [u8]) -> Result<Self, Error> {
        if line.len() > MAX_LINE {
            return Err(Error::Length);
        }
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let mut word = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).ok_or(Error::Shape);
        let (time_text, stream, tags) = (word()?, word()?, word()?);
        let stream = match stream {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return Err(Error::Stream),
        };
        let partial = match tags.split(':').next() {
            Some("P") => true,
            Some("F") => false,
            _ => return Err(Error::Tag),
        };
        let time = time_text.parse().map_err(|_| Error::Time)?;
        // An empty line of the container may lack the space before its nothing.
        Ok(Self { time, time_text, stream, partial, content: parts.next().unwrap_or_default() })
    }
}

/// What to show of each entry.
#[derive(Debug, Clone, Copy, Default)]
pub struct View {
    /// Put the time before each line.
    pub timestamps: bool,
    /// Leave out what is older.
    pub since: Option<Timestamp>,
}

/// Turns the lines of a log file into what the container wrote.
#[derive(Debug, Default)]
pub struct Printer {
    view: View,
    inside_line: [bool; 2],
}

impl Printer {
    /// A printer at the beginning of a line.
    pub fn new(view: View) -> Self {
        Self { view, inside_line: [false; 2] }
    }

    /// What to write for one line of the file, and to which stream; `None` for nothing.
    ///
    /// # Errors
    /// [`Error`], for a line no runtime writes. The next line can be printed all the same.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<(Stream, Vec<u8>)>, Error> {
        let entry = Entry::parse(line)?;
        if self.view.since.is_some_and(|since| entry.time < since) {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(line.len() + 1);
        let inside = &mut self.inside_line[entry.stream as usize];
        if self.view.timestamps && !*inside {
            out.extend_from_slice(entry.time_text.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.content);
        if !entry.partial {
            out.push(b'\n');
        }
        *inside = entry.partial;
        Ok(Some((entry.stream, out)))
    }
}

#[cfg(test)]
mod tests;
