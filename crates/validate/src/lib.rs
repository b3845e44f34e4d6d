//! Black-box checks of a CRI runtime's documented behaviour.
//!
//! [`checks::all`] lists them; [`run::run`] runs them against any runtime (containerd, CRI-O, cortend) through its
//! socket, on the node it runs on. Each check needs nothing but the CRI, this crate's test images, which it serves on
//! loopback, and a directory. It makes pods of its own, marked by a label, and removes them whatever happens.

mod cgroup;
pub mod check;
pub mod checks;
pub mod context;
pub mod expect;
pub mod image;
pub mod knowledge;
pub mod log;
pub mod make;
pub mod random;
pub mod registry;
pub mod report;
pub mod rpc;
pub mod run;
mod sweep;
pub mod time;
pub mod verdict;
