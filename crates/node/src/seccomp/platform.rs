//! The kernel and architecture that a profile is for.

use oci_spec::runtime::Arch;

/// A kernel's version, as far as profiles look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Kernel {
    /// Reads the first two numbers of `6.18.0-rc1-cloud` or `4.8`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

/// The kernel and architecture that a profile is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The architecture as Go spells it (`amd64`), which profiles in files refer to.
    pub(super) goarch: &'static str,
    /// The architecture and those whose programs it can run as well, itself first.
    pub(super) architectures: &'static [Arch],
    /// The kernel's version.
    pub(super) kernel: Kernel,
}

impl Platform {
    /// This machine's.
    pub fn current() -> Self {
        let uname = rustix::system::uname();
        // Linux never had another form; 5.15 is the oldest kernel supported.
        let kernel = uname.release().to_str().ok().and_then(Kernel::parse).unwrap_or(Kernel { major: 5, minor: 15 });
        Self::of(std::env::consts::ARCH, kernel)
    }

    /// Of an architecture as Rust spells it.
    pub fn of(arch: &str, kernel: Kernel) -> Self {
        let (goarch, architectures): (_, &[Arch]) = match arch {
            "x86_64" => ("amd64", &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]),
            "aarch64" => ("arm64", &[Arch::ScmpArchAarch64, Arch::ScmpArchArm]),
            "riscv64" => ("riscv64", &[Arch::ScmpArchRiscv64]),
            "loongarch64" => ("loong64", &[Arch::ScmpArchLoongarch64]),
            "s390x" => ("s390x", &[Arch::ScmpArchS390x, Arch::ScmpArchS390]),
            "powerpc64" => ("ppc64le", &[Arch::ScmpArchPpc64le]),
            _ => ("", &[Arch::ScmpArchNative]),
        };
        Self { goarch, architectures, kernel }
    }
}
