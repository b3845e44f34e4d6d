//! What a host answers when it is asked for some bytes of a blob (RFC 9110, 14).

use std::ops::Range;

use reqwest::{Response, StatusCode, header::CONTENT_RANGE};

/// An answer, as far as it can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The bytes asked for, up to this one; these may be fewer.
    Part { end: u64 },
    /// The whole blob.
    Whole,
    /// Something else: this host does not do ranges.
    Wrong,
}

impl Answer {
    /// What the answer to a request for some bytes of a blob of `size` bytes is.
    pub fn of(response: &Response, asked: Option<&Range<u64>>, size: u64) -> Self {
        match (response.status(), asked) {
            (StatusCode::OK, _) => Self::Whole,
            (StatusCode::PARTIAL_CONTENT, Some(asked)) => {
                let header = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                match header.and_then(|header| usable(header, asked, size)) {
                    Some(end) => Self::Part { end },
                    None => Self::Wrong,
                }
            }
            _ => Self::Wrong,
        }
    }
}

/// Where a Content-Range ends, if it begins where it should and is of the right blob.
fn usable(header: &str, asked: &Range<u64>, size: u64) -> Option<u64> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total_fits = total.trim() == "*" || total.trim().parse() == Ok(size);
    let fits = first == asked.start && last >= first && last < asked.end && total_fits;
    fits.then(|| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_bytes_asked_for_are_used() {
        let asked = 100..200;
        assert_eq!(usable("bytes 100-199/1000", &asked, 1000), Some(200));
        assert_eq!(usable("bytes 100-149/1000", &asked, 1000), Some(150));
        assert_eq!(usable("bytes 100-199/*", &asked, 1000), Some(200));
        for wrong in [
            "bytes 0-99/1000",
            "bytes 100-200/1000",
            "bytes 100-99/1000",
            "bytes 100-199/999",
            "bytes */1000",
            "bytes 100-199",
            "items 100-199/1000",
            "bytes 100-18446744073709551615/*",
            "bytes 100-99999999999999999999/*",
            "",
        ] {
            assert_eq!(usable(wrong, &asked, 1000), None, "{wrong}");
        }
    }

    proptest! {
        /// Whatever a host says, the bytes used are among those asked for.
        #[test]
        fn any_header_is_survived(header in "(bytes )?[-0-9/* ]{0,40}|\\PC{0,40}", start in 0..50_u64, length in 1..50_u64) {
            if let Some(end) = usable(&header, &(start..start + length), 99) {
                prop_assert!(end > start && end <= start + length);
            }
        }
    }
}
