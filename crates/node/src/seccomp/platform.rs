//! The kernel and architecture that a profile is for.

use corten_host::kernel::Kernel;
use oci_spec::runtime::Arch;

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
        Self::of(std::env::consts::ARCH, Kernel::running())
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
