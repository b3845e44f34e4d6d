//! The CRI log format: `2016-10-06T00:17:09.669794202Z stdout F a line\n`, one record per line, `P` instead of `F` for a
//! part of a line that goes on in the next record (kubernetes/design-proposals, CRI logging).

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Stdout => b"stdout",
            Self::Stderr => b"stderr",
        }
    }
}

/// A moment as the format writes it: RFC 3339, UTC, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; 30]);

impl Stamp {
    /// The moment that is `seconds` and `nanoseconds` after the Unix epoch. Years beyond 9999 do not exist in RFC 3339.
    pub fn at(seconds: u64, nanoseconds: u32) -> Self {
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let (year, month, day) = date_of(seconds / 86_400);
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], seconds / 3600 % 24);
        put(&mut text[14..16], seconds / 60 % 60);
        put(&mut text[17..19], seconds % 60);
        put(&mut text[20..29], u64::from(nanoseconds));
        Self(text)
    }

    /// Now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::at(since.as_secs(), since.subsec_nanos())
    }
}

fn put(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Year, month and day of the day `days` after 1970-01-01, in the Gregorian calendar. Counts in years that begin in
/// March, so that the leap day is the last.
fn date_of(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const ERA: u64 = 146_097; // the days of 400 years
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// The length of what stands before a record's content.
pub const HEAD: usize = 30 + 1 + 6 + 1 + 1 + 1;

/// Appends one record.
pub fn record(out: &mut Vec<u8>, stamp: Stamp, source: Source, full: bool, content: &[u8], more: &[u8]) {
    out.extend_from_slice(&stamp.0);
    out.push(b' ');
    out.extend_from_slice(source.name());
    out.extend_from_slice(if full { b" F " } else { b" P " });
    out.extend_from_slice(content);
    out.extend_from_slice(more);
    out.push(b'\n');
}

/// Makes records of one stream's bytes, however they come in pieces.
#[derive(Debug)]
pub struct Lines {
    source: Source,
    max: usize,
    /// The begun line, without what was already written of it; at most `max` bytes.
    begun: Vec<u8>,
}

impl Lines {
    /// For `source`, with lines split after `max` bytes.
    pub fn new(source: Source, max: usize) -> Self {
        Self { source, max: max.max(1), begun: Vec::new() }
    }

    /// Appends to `out` the records that `bytes` complete, and stops early once `out` holds `enough` bytes. Returns how
    /// many of `bytes` were taken: call again with the rest.
    pub fn push(&mut self, bytes: &[u8], stamp: Stamp, out: &mut Vec<u8>, enough: usize) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && out.len() < enough {
            let rest = &bytes[taken..];
            let room = self.max - self.begun.len();
            // One byte beyond the room may be the newline.
            let seen = &rest[..rest.len().min(room + 1)];
            match memchr::memchr(b'\n', seen) {
                Some(end) => {
                    self.emit(stamp, true, &seen[..end], out);
                    taken += end + 1;
                }
                None if seen.len() > room => {
                    self.emit(stamp, false, &seen[..room], out);
                    taken += room;
                }
                None => {
                    self.begun.extend_from_slice(seen);
                    taken += seen.len();
                }
            }
        }
        taken
    }

    /// Appends what there is of a begun line as a partial record, and forgets its buffer.
    pub fn flush(&mut self, stamp: Stamp, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.emit(stamp, false, &[], out);
        }
        self.begun = Vec::new();
    }

    fn emit(&mut self, stamp: Stamp, full: bool, content: &[u8], out: &mut Vec<u8>) {
        record(out, stamp, self.source, full, &self.begun, content);
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn text(seconds: u64, nanoseconds: u32) -> String {
        String::from_utf8(Stamp::at(seconds, nanoseconds).0.to_vec()).unwrap()
    }

    fn records(pieces: &[&[u8]], max: usize, enough: usize) -> Vec<u8> {
        let mut lines = Lines::new(Source::Stdout, max);
        let (mut all, mut out) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                piece = &piece[lines.push(piece, Stamp::at(0, 0), &mut out, enough)..];
                all.append(&mut out);
            }
        }
        lines.flush(Stamp::at(0, 0), &mut out);
        all.append(&mut out);
        all
    }

    /// The records one byte at a time, the obvious way.
    fn expected(bytes: &[u8], max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = match line.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (line, false),
            };
            let parts: Vec<&[u8]> = if content.is_empty() { vec![content] } else { content.chunks(max).collect() };
            for (index, part) in parts.iter().enumerate() {
                let full = ended && index + 1 == parts.len();
                record(&mut out, Stamp::at(0, 0), Source::Stdout, full, part, b"");
            }
        }
        out
    }

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(text(1_475_713_029, 669_794_202), "2016-10-06T00:17:09.669794202Z");
    }

    #[test]
    fn dates_at_the_calendars_edges() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_399, 999_999_999), "2000-02-28T23:59:59.999999999Z");
        assert_eq!(text(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(text(1_798_761_599, 0), "2026-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn a_line_as_long_as_allowed_is_whole_and_one_byte_more_is_split() {
        let head = "1970-01-01T00:00:00.000000000Z stdout";
        assert_eq!(records(&[b"abc\n"], 3, 1000), format!("{head} F abc\n").into_bytes());
        assert_eq!(records(&[b"abcd\n"], 3, 1000), format!("{head} P abc\n{head} F d\n").into_bytes());
    }

    #[test]
    fn an_unterminated_last_line_is_partial() {
        assert_eq!(records(&[b"ab"], 3, 1000), b"1970-01-01T00:00:00.000000000Z stdout P ab\n".to_vec());
    }

    #[test]
    fn the_head_is_as_long_as_it_says() {
        assert_eq!(records(&[b"\n"], 3, 1000).len(), HEAD + 1);
    }

    proptest! {
        /// However the bytes come in pieces and however small the output buffer, the same records come out.
        #[test]
        fn pieces_do_not_matter(
            pieces in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..40), 0..20),
            max in 1usize..20,
            enough in 1usize..200,
        ) {
            let whole: Vec<u8> = pieces.concat();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(records(&pieces, max, enough), expected(&whole, max));
        }
    }
}
