//! The deadline of a call, from the header that carries it.

use std::time::Duration;

use http::HeaderMap;

/// The value of `grpc-timeout`: up to eight digits and a unit, as PROTOCOL-HTTP2.md of gRPC says. Nothing if there is
/// none or it is malformed.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get("grpc-timeout")?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_tonic_writes_reads_back() {
        for seconds in [0, 1, 120, 240, 100_000] {
            let mut request = tonic::Request::new(());
            request.set_timeout(Duration::from_secs(seconds));
            let headers = request.metadata().clone().into_headers();
            assert_eq!(of(&headers).unwrap(), Duration::from_secs(seconds));
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }

    #[test]
    fn units_and_what_is_malformed() {
        assert_eq!(parse("99999999H").unwrap(), Duration::from_secs(99_999_999 * 3600));
        assert_eq!(parse("5n").unwrap(), Duration::from_nanos(5));
        for text in ["", "S", "1", "123456789S", "-1S", "1é", "1.5S", "5s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
