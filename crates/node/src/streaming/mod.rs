//! The streaming server: where exec, attach and port-forward go on after their RPCs.
//!
//! An RPC checks its request and leaves it under a token (`tokens`); the client comes with the token to the
//! server (`server`), which speaks SPDY or WebSocket with it and runs the session.

mod attach;
mod config;
mod descriptor;
mod exec;
mod idle;
mod port_forward;
mod server;
mod tls;
mod tokens;

pub use config::StreamingConfig;
pub use server::{Endpoint, Listener};
pub use tokens::Request;

use std::time::Duration;

/// How long a client may take what has been sent to it already, after what it is connected to has ended.
const LAST_WORDS: Duration = Duration::from_secs(30);
