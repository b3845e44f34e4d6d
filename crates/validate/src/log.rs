//! Container logs, in the CRI's format: `TIME STREAM TAGS TEXT`, a line each.

use std::path::Path;

use crate::{
    expect::{holds, shown},
    make::Output,
    verdict::{Checked, Stop},
};

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written, as it says: RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether the line ends here (`F`) or goes on in the next (`P`).
    pub full: bool,
    /// What was written.
    pub text: String,
}

/// Reads a log.
///
/// # Errors
/// [`Stop::Failed`] if there is none or it is not in the CRI's format.
pub fn read(path: &Path) -> Checked<Vec<Line>> {
    let bytes = std::fs::read(path)
        .map_err(|error| Stop::failed(format!("the log {}", path.display()), "it can be read", error))?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// Takes the text of a log apart.
///
/// # Errors
/// [`Stop::Failed`] if it is not in the CRI's format.
pub fn parse(text: &str) -> Checked<Vec<Line>> {
    holds("a log's last line", text.is_empty() || text.ends_with('\n'), "it ends", shown(text))?;
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n').filter(|_| !text.is_empty());
    lines.map(line).collect()
}

fn line(text: &str) -> Checked<Line> {
    let wrong = || Stop::failed("a line of a log", "TIME stdout|stderr F|P TEXT", shown(text));
    let mut parts = text.splitn(4, ' ');
    let (Some(time), Some(stream), Some(tags), Some(rest)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let is_time = time.len() >= 20 && time.as_bytes().get(10) == Some(&b'T') && nanoseconds(time).is_some();
    // More tags may follow, after colons.
    let full = match tags.split(':').next() {
        Some("F") => true,
        Some("P") => false,
        _ => return Err(wrong()),
    };
    if !is_time || !matches!(stream, "stdout" | "stderr") {
        return Err(wrong());
    }
    Ok(Line { time: time.to_owned(), stream: stream.to_owned(), full, text: rest.to_owned() })
}

/// The whole seconds since 1970-01-01 UTC of an RFC 3339 time.
pub fn seconds(time: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days since 0000-03-01, by which leap days come last in a year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let clock = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let zone = time.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    Some((days - 719_468) * 86_400 + clock - offset)
}

/// The fraction of a second of a time.
fn nanoseconds(time: &str) -> Option<u32> {
    let (_, fraction) = time.split_once('.')?;
    let digits: String = fraction.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What both streams said, as the process wrote it.
pub fn output(lines: &[Line], code: i32) -> Output {
    let stream = |name: &str| {
        let lines = lines.iter().filter(|line| line.stream == name);
        lines.map(|line| format!("{}{}", line.text, if line.full { "\n" } else { "" })).collect()
    };
    Output { code, stdout: stream("stdout"), stderr: stream("stderr") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn lines_are_put_together_by_stream() {
        let text = "2026-01-31T12:00:00.000000001Z stdout P par\n2026-01-31T12:00:00.000000002+01:00 stderr F oh  no\n\
                    2026-01-31T12:00:00.1Z stdout F tial\n2026-01-31T12:00:00.1Z stdout F \n";
        let output = output(&parse(text).unwrap(), 3);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str(), output.code), ("partial\n\n", "oh  no\n", 3));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00.0Z"), Some(0));
        assert_eq!(seconds("2026-01-31T12:00:00.123456789Z"), Some(1_769_860_800));
        assert_eq!(seconds("2026-01-31T14:00:00.5+02:00"), Some(1_769_860_800));
        assert_eq!(seconds("2024-02-29T23:59:59-01:30"), Some(1_709_256_599));
        for text in ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00+x"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_in_the_format_is_refused() {
        for text in [
            "\n",
            "hello\n",
            "2026-01-31T12:00:00.1Z stdout F cut off",
            "2026-01-31T12:00:00.1Z stdin F x\n",
            "2026-01-31T12:00:00.1Z stdout X x\n",
            "2026-01-31T12:00:00.1Z stdout F\n",
            "yesterday stdout F x\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
