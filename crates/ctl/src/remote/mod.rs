//! Streams to what runs in a container: exec, attach and port-forward, over the runtime's streaming server.
//!
//! | module | what it holds |
//! |---|---|
//! | [`connect`], [`tls`] | from the URL of the runtime's answer to a connection |
//! | [`open`] | which transport it is spoken over |
//! | [`ports`] | which local ports go to which of a pod |
//! | [`session`] | a command's streams, connected to ours |
//! | [`stdio`], [`terminal`], [`detach`] | our end: standard input and output, the terminal, the keys that detach |

pub mod connect;
pub mod detach;
pub mod open;
pub mod ports;
pub mod session;
pub mod stdio;
pub mod terminal;
pub mod tls;
