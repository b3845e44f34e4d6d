//! The unix socket that the CRI is spoken on.

mod listener;
mod stream;

pub use listener::{ListenError, Listener};
pub use stream::Stream;
