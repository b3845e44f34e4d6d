//! Remote commands (exec, attach) and port forwarding between a Kubernetes client and a container runtime: SPDY/3.1 and
//! WebSocket, both ends. No CRI types, and nothing of what the streams are connected to.
//!
//! | module | what it holds |
//! |---|---|
//! | [`stream`] | the streams of a connection, whatever multiplexes them, and their bounds |
//! | [`spdy`] | SPDY/3.1 as Kubernetes clients speak it |
//! | [`websocket`] | RFC 6455, the channels of `channel.k8s.io`, and a tunnel for SPDY |
//! | [`protocol`] | the protocols' names, and which one a client and a server agree on |
//! | [`remote_command`] | the streams of an exec or attach |
//! | [`port_forward`] | the streams of a port-forward |
//! | [`status`] | how a command ended, as `metav1.Status` |
//! | [`server`], [`client`] | the HTTP upgrade, from either end |

pub mod client;
pub mod peer;
pub mod port_forward;
pub mod protocol;
pub mod remote_command;
pub mod server;
pub mod spdy;
pub mod status;
pub mod stream;
pub mod websocket;
