//! Which kernel this is, for what cannot be found out by asking it.

/// A kernel's version: the first two numbers of its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Kernel {
    /// The oldest that Corten is made for.
    pub const OLDEST: Self = Self { major: 5, minor: 15 };

    /// Reads the first two numbers of `6.18.0-rc1-cloud` or `4.8`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }

    /// The one that runs. (Linux never called its releases anything but such numbers.)
    pub fn running() -> Self {
        rustix::system::uname().release().to_str().ok().and_then(Self::parse).unwrap_or(Self::OLDEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_two_numbers() {
        for (text, numbers) in [
            ("6.18.44-fc-v595", Some((6, 18))),
            ("6.1.0-56-cloud-amd64", Some((6, 1))),
            ("6.18.0-rc1+cloud", Some((6, 18))),
            ("5.15-generic", Some((5, 15))),
            ("4.8", Some((4, 8))),
            ("7", None),
            ("six", None),
            ("", None),
            ("next.1", None),
        ] {
            assert_eq!(Kernel::parse(text).map(|kernel| (kernel.major, kernel.minor)), numbers, "{text:?}");
        }
        assert!(Kernel { major: 5, minor: 19 } < Kernel { major: 6, minor: 1 });
    }
}
