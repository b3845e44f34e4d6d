//! As much of D-Bus as it takes to ask systemd for something: method calls, their answers, and one kind of signal.
//!
//! D-Bus Specification 0.43, <https://dbus.freedesktop.org/doc/dbus-specification.html>. Everything blocks.

mod connection;
mod message;
mod reader;
mod writer;

pub(super) use connection::{Address, Connection};
pub(super) use message::Call;
pub use writer::Value;
pub(super) use writer::Writer;

/// Why a call has no answer, or not the one it should have.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other end cannot be reached, or is gone.
    #[error("{what}: {source}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection ended before the answer came.
    #[error("the connection was closed")]
    Closed,
    /// What came is not D-Bus, or more than is taken.
    #[error("{0}")]
    Malformed(&'static str),
    /// No answer in time.
    #[error("no answer to {member} in {seconds} seconds")]
    Timeout {
        /// The method called.
        member: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The answer is an error.
    #[error("{name}: {text}")]
    Refused {
        /// The error's name.
        name: String,
        /// Its text.
        text: String,
    },
}
