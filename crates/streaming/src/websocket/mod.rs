//! WebSocket (RFC 6455) as Kubernetes clients speak it: the channels of `channel.k8s.io`, and a tunnel for SPDY.
//!
//! A message is handled in pieces, as it comes, and never held: a client may send an upload as one message.

pub mod channels;
pub mod frame;
pub mod handshake;
pub mod tunnel;

pub use channels::{Encoding, Protocol, channels};
pub use frame::Role;
pub use handshake::{HandshakeError, accept, is_accepted, new_key};
pub use tunnel::{Tunnel, tunnel};

#[cfg(test)]
mod interoperation;
