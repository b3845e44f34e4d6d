//! Seccomp: the runtime's default profile, profiles in files, and compiling them to BPF.
//!
//! A profile is in the terms of the OCI runtime spec ([`LinuxSeccomp`](oci_spec::runtime::LinuxSeccomp)). [`default_profile`] makes the `RuntimeDefault` one,
//! [`load_localhost`] reads one of the administrator's; both settle what depends on capabilities, so that what goes into the OCI spec
//! is final. [`Cache`] compiles each once; the monitor only loads the bytes.
//!
//! Everything blocks (reading a file, some milliseconds of computing): not for a reactor thread.

mod cache;
mod compile;
mod default_profile;
mod enosys;
mod error;
mod localhost;
mod platform;
mod table;

pub use cache::Cache;
pub use compile::{Compiled, compile};
pub use default_profile::default_profile;
pub use error::Error;
pub use localhost::load_localhost;
pub use platform::Platform;

#[cfg(test)]
mod tests;
