//! Limits on a pod's traffic, as Kubernetes puts them in annotations: a quantity of bits per second (`10M`, `1Gi`).

use std::collections::BTreeMap;

use corten_host::network::Bandwidth;

use crate::error::{Error, Result};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// What quantities may end with, and how many times over they then count.
const SUFFIXES: [(&str, u64); 8] = [
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// The limits in a pod's annotations.
pub fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Bandwidth>> {
    let limit = |key: &str| annotations.get(key).map(|text| rate(key, text)).transpose();
    match (limit(INGRESS)?, limit(EGRESS)?) {
        (None, None) => Ok(None),
        (ingress, egress) => Ok(Some(Bandwidth { ingress, egress })),
    }
}

fn rate(key: &str, text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    let scale = match suffix {
        "" => Some(1),
        _ => SUFFIXES.iter().find(|(name, _)| *name == suffix).map(|(_, scale)| *scale),
    };
    let rate = scale.and_then(|scale| digits.parse::<u64>().ok()?.checked_mul(scale)).filter(|rate| *rate > 0);
    rate.ok_or_else(|| {
        Error::invalid(
            format!("config.annotations[{key}]"),
            text,
            "is no bandwidth: want a number of bits per second, 10M say",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_are_bits_per_second() {
        for (text, bits) in [("1000", 1000), ("10M", 10_000_000), ("1Gi", 1 << 30), ("5k", 5000)] {
            assert_eq!(rate(INGRESS, text).unwrap(), bits);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_its_annotation() {
        for text in ["", "M", "-1", "0", "1X", "99999999999999T", "1.5M", "\u{663}M"] {
            let annotations = BTreeMap::from([(EGRESS.to_owned(), text.to_owned())]);
            assert!(of(&annotations).unwrap_err().to_string().contains(EGRESS), "{text:?}");
        }
    }

    #[test]
    fn a_pod_without_the_annotations_has_no_limits() {
        assert_eq!(of(&BTreeMap::new()).unwrap(), None);
    }
}
