//! The node's pod CIDR, as the kubelet passes it on: one range, or one of each family, with a comma between.

use std::net::IpAddr;

use crate::check;
use crate::error::Result;

/// The field, for messages.
pub const FIELD: &str = "runtime_config.network_config.pod_cidr";

/// The most bytes: two ranges of IPv6 are 87.
const LONGEST: usize = 256;

/// A range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCidr {
    /// As it was given.
    pub text: String,
    /// Whether it is one of IPv6.
    pub ipv6: bool,
}

/// Reads the ranges.
///
/// # Errors
/// [`Error::Invalid`](crate::error::Error::Invalid) for a text that is not `ADDRESS/PREFIX`, or several of those.
pub fn parse(text: &str) -> Result<Vec<PodCidr>> {
    if text.len() > LONGEST {
        return Err(check::invalid(FIELD, text, format!("{} bytes are more than the {LONGEST} allowed", text.len())));
    }
    let ranges: Vec<PodCidr> = text.split(',').map(|range| one(text, range.trim())).collect::<Result<_>>()?;
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [first, second] if first.ipv6 != second.ipv6 => Ok(ranges),
        _ => Err(check::invalid(FIELD, text, "must be one range, or one of IPv4 and one of IPv6")),
    }
}

fn one(whole: &str, range: &str) -> Result<PodCidr> {
    let invalid = || check::invalid(FIELD, whole, format!("{range:?} is not an address, a slash and a prefix length"));
    let (address, prefix) = range.split_once('/').ok_or_else(invalid)?;
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let longest = if address.is_ipv6() { 128 } else { 32 };
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    match prefix.parse::<u8>() {
        Ok(length) if digits && length <= longest => Ok(PodCidr { text: range.to_owned(), ipv6: address.is_ipv6() }),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_range_or_several_are_read() {
        let texts =
            |text: &str| parse(text).map(|all| all.into_iter().map(|one| (one.text, one.ipv6)).collect::<Vec<_>>());
        assert_eq!(texts("10.1.0.0/24").unwrap(), [("10.1.0.0/24".to_owned(), false)]);
        let both = texts("10.1.0.0/24, fd00::/64").unwrap();
        assert_eq!(both, [("10.1.0.0/24".to_owned(), false), ("fd00::/64".to_owned(), true)]);
        for bad in [
            "x",
            "10.1.0.0",
            "10.1.0.0/33",
            "fd00::/129",
            "10.1.0.0/+4",
            "10.1.0.0/24,",
            ",",
            "10.1.0.0/ 24",
            "10.1.0.0/24,10.2.0.0/24",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid {FIELD} ")), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_needs_no_quoting_in_json(text in any::<String>()) {
            for range in parse(&text).unwrap_or_default() {
                prop_assert!(range.text.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:/".contains(&byte)));
            }
        }
    }
}
