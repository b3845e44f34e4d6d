//! The real monitor, over real sockets, with real containers. Needs root and Debian's busybox-static and runc.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod attach;
mod containers;
mod daemon;
mod external;
mod harness;
mod logs;
mod pods;
mod threads;
mod users;
