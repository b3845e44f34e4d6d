//! The built-in launcher, from inside the containers it launches. Needs root and Debian's busybox-static.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod confinement;
mod errors;
mod exec;
mod filter;
mod harness;
mod identity;
mod mounts;
mod runc;
mod setup;
mod users;
