//! SPDY/3.1 as Kubernetes clients speak it: streams with headers over one connection, without flow control.
//!
//! The specification is the Chromium project's "SPDY Protocol - Draft 3.1". The other end is nearly always Go's
//! `moby/spdystream`, which sends no SETTINGS and no WINDOW_UPDATE and obeys none, so neither does this.
//!
//! | module | what it holds |
//! |---|---|
//! | [`frame`] | frames, to and from bytes |
//! | [`header_block`] | the compressed headers in SYN_STREAM, SYN_REPLY and HEADERS |
//! | [`connection`] | the driver of a connection, either end |

pub mod connection;
mod dictionary;
pub mod frame;
pub mod header_block;

pub use connection::{Offer, Opener, connect, serve};
pub use header_block::Headers;
