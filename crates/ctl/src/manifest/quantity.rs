//! Kubernetes quantities: `100m`, `1.5`, `128Mi`, `1G`, `2e3`.

use serde::{Deserialize, Deserializer, de};

/// An amount, exact. Never negative: a negative amount of a resource means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    numerator: u128,
    denominator: u128,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with a number.
    #[error("quantity {0:?}: not a number")]
    Number(String),
    /// It ends in something that is no unit.
    #[error("quantity {0:?}: unknown unit {1:?} (known: n u m k M G T P E, Ki Mi Gi Ti Pi Ei, exponents)")]
    Unit(String, String),
    /// It is below zero.
    #[error("quantity {0:?}: must not be negative")]
    Negative(String),
    /// It does not fit.
    #[error("quantity {0:?}: too large or too precise")]
    Range(String),
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// [`Error`], which quotes the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let unsigned = match text.strip_prefix('-') {
            Some(_) => return Err(Error::Negative(text.to_owned())),
            None => text.strip_prefix('+').unwrap_or(text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (mantissa, decimals) = decimal(number).ok_or_else(|| Error::Number(text.to_owned()))?;
        let (up, down) = unit(suffix).ok_or_else(|| Error::Unit(text.to_owned(), suffix.to_owned()))?;
        let scaled = || {
            let numerator = mantissa?.checked_mul(up?)?;
            let denominator = 10u128.checked_pow(decimals)?.checked_mul(down?)?;
            Some(Self { numerator, denominator })
        };
        scaled().ok_or_else(|| Error::Range(text.to_owned()))
    }

    /// In whole units, rounded up; `None` when that exceeds 63 bits.
    pub fn value(self) -> Option<i64> {
        self.times(1)
    }

    /// In thousandths, rounded up; `None` when that exceeds 63 bits.
    pub fn milli(self) -> Option<i64> {
        self.times(1000)
    }

    fn times(self, factor: u128) -> Option<i64> {
        i64::try_from(self.numerator.checked_mul(factor)?.div_ceil(self.denominator)).ok()
    }
}

/// The digits as an integer (`None`: it does not fit) and how many of them are decimals. Outer `None`: not a number.
fn decimal(number: &str) -> Option<(Option<u128>, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction_digits = fraction.trim_end_matches('0');
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = format!("0{whole}{fraction_digits}");
    Some((digits.parse().ok(), u32::try_from(fraction_digits.len()).ok()?))
}

/// What a unit multiplies and divides by. Inner `None`: it does not fit. Outer `None`: no such unit.
fn unit(suffix: &str) -> Option<(Option<u128>, Option<u128>)> {
    let times = |factor: u128| Some((Some(factor), Some(1)));
    let over = |factor: u128| Some((Some(1), Some(factor)));
    match suffix {
        "" => times(1),
        "n" => over(1_000_000_000),
        "u" => over(1_000_000),
        "m" => over(1_000),
        "k" => times(1_000),
        "M" => times(1_000_000),
        "G" => times(1_000_000_000),
        "T" => times(1_000_000_000_000),
        "P" => times(1_000_000_000_000_000),
        "E" => times(1_000_000_000_000_000_000),
        "Ki" => times(1 << 10),
        "Mi" => times(1 << 20),
        "Gi" => times(1 << 30),
        "Ti" => times(1 << 40),
        "Pi" => times(1 << 50),
        "Ei" => times(1 << 60),
        _ => exponent(suffix.strip_prefix(['e', 'E'])?),
    }
}

fn exponent(text: &str) -> Option<(Option<u128>, Option<u128>)> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let power = digits.parse().ok().and_then(|power| 10u128.checked_pow(power));
    Some(if text.starts_with('-') { (Some(1), power) } else { (power, Some(1)) })
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(serde_json::Number),
        }
        let text = match Either::deserialize(deserializer) {
            Ok(Either::Text(text)) => text,
            Ok(Either::Number(number)) => number.to_string(),
            Err(_) => return Err(de::Error::custom("a quantity is a string or a number")),
        };
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn milli(text: &str) -> i64 {
        Quantity::parse(text).unwrap().milli().unwrap()
    }

    fn value(text: &str) -> i64 {
        Quantity::parse(text).unwrap().value().unwrap()
    }

    #[test]
    fn cpu_amounts() {
        for (text, expected) in [
            ("100m", 100),
            ("1.5", 1500),
            ("2", 2000),
            (".5", 500),
            ("0.1", 100),
            ("1e-1", 100),
            ("0", 0),
            ("1.", 1000),
        ] {
            assert_eq!(milli(text), expected, "{text}");
        }
    }

    #[test]
    fn memory_amounts() {
        for (text, expected) in [
            ("128Mi", 128 << 20),
            ("1G", 1_000_000_000),
            ("1.5Gi", 3 << 29),
            ("64Ki", 65536),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("12E+2", 1200),
            ("129000000000m", 129_000_000),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn amounts_round_up() {
        assert_eq!(milli("1n"), 1);
        assert_eq!(value("100m"), 1);
        assert_eq!(value("1.1Ki"), 1127);
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", "m", "Mi", "1.2.3", ".", "--1", "one"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
        for text in ["1mi", "1 Mi", "1KI", "1e", "1e+", "1e1.5", "1Mib", "1_000"] {
            assert!(matches!(Quantity::parse(text), Err(Error::Unit(..) | Error::Number(_))), "{text:?}");
        }
        assert_eq!(Quantity::parse("-1"), Err(Error::Negative("-1".into())));
        assert_eq!(Quantity::parse("1e99"), Err(Error::Range("1e99".into())));
    }

    #[test]
    fn what_exceeds_63_bits_has_no_value() {
        assert_eq!(Quantity::parse("8Ei").unwrap().value(), None);
        assert_eq!(Quantity::parse("7Ei").unwrap().value(), Some(7 << 60));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Quantity::parse(&text).map(|quantity| (quantity.value(), quantity.milli()));
        }

        #[test]
        fn anything_shaped_like_a_quantity_is_safe(text in "[-+]?[0-9.]{0,45}([numkMGTPEi]{0,2}|[eE][-+]?[0-9]{0,12})") {
            let _ = Quantity::parse(&text).map(|quantity| (quantity.value(), quantity.milli()));
        }

        #[test]
        fn whole_numbers_are_themselves(n in 0..i64::MAX / 1000) {
            prop_assert_eq!(value(&n.to_string()), n);
            prop_assert_eq!(milli(&n.to_string()), n * 1000);
            prop_assert_eq!(milli(&format!("{n}m")), n);
        }
    }
}
