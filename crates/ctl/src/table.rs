//! Tables, and the words in them.

use std::fmt;

/// Rows of cells under a heading, aligned in columns.
#[derive(Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with its heading.
    pub fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row. Control characters, which could come from anywhere, are shown as a replacement character.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("   ").trim_end())?;
        }
        Ok(())
    }
}

/// A text without control characters.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The first 13 characters of an id, without the algorithm of a digest.
pub fn short_id(id: &str) -> String {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.chars().take(13).collect()
}

/// How long ago something was, in nanoseconds since the epoch both: "2 minutes ago".
pub fn age(then: i64, now: i64) -> String {
    if then <= 0 {
        return "-".to_owned();
    }
    let seconds = now.saturating_sub(then).max(0) / 1_000_000_000;
    let units = [(604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    // Two weeks of days say more than one week and something.
    let fits = |(length, name): &(i64, &str)| seconds >= if *name == "week" { 2 * length } else { *length };
    match units.iter().find(|unit| fits(unit)) {
        None => "just now".to_owned(),
        Some((length, name)) => {
            let count = seconds / length;
            format!("{count} {name}{} ago", if count == 1 { "" } else { "s" })
        }
    }
}

/// Bytes with three significant digits, in powers of 1000: "12.3MB".
pub fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    // In hundredths, so that no float rounds 999.9 up to the next unit's number.
    let hundredths = u128::from(bytes) * 100 / u128::from(unit);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{rest:02}{name}"),
        10..100 => format!("{whole}.{}{name}", rest / 10),
        _ => format!("{whole}{name}"),
    }
}

/// Now, in nanoseconds since the epoch.
pub fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(["NAME", "STATE", "AGE"]);
        table.row(["web".into(), "Ready".into(), "".into()]);
        table.row(["a-long-name".into(), "".into(), "1s".into()]);
        assert_eq!(table.to_string(), "NAME          STATE   AGE\nweb           Ready\na-long-name           1s\n");
    }

    #[test]
    fn cells_cannot_move_the_cursor() {
        let mut table = Table::new(["A"]);
        table.row(["x\x1b[2J\ny".into()]);
        assert_eq!(table.to_string(), "A\nx\u{fffd}[2J\u{fffd}y\n");
    }

    #[test]
    fn ages() {
        let ago = |seconds: i64| age(SECOND, SECOND + seconds * SECOND);
        for (seconds, expected) in [
            (0, "just now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (86_400 * 13, "13 days ago"),
            (86_400 * 14, "2 weeks ago"),
            (-5, "just now"),
        ] {
            assert_eq!(ago(seconds), expected);
        }
        assert_eq!(age(0, SECOND), "-");
        assert_eq!(age(1, i64::MAX), "15250 weeks ago");
    }

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.00kB"),
            (12_345_678, "12.3MB"),
            (999_999_999, "999MB"),
            (1_500_000_000, "1.50GB"),
            (u64::MAX, "18446744TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn ids_are_cut_to_13() {
        assert_eq!(short_id("0123456789abcdef"), "0123456789abc");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789abc");
        assert_eq!(short_id("short"), "short");
    }
}
