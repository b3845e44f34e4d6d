//! The client side of the CRI: a connection that behaves as the kubelet's does.
//!
//! It dials a unix socket, agrees on a version of the interface, dials again when the runtime went away, bounds every
//! call as the kubelet bounds it, and gets along without the RPCs that a runtime may lack.

mod backoff;
mod connection;
mod deadlines;
mod dial;
mod endpoint;
mod error;
mod handshake;
mod link;
mod optional;
pub mod raw;
mod timeout;

use std::time::Duration;

use tonic::{Code, Status};

pub use self::{
    connection::Connection,
    deadlines::{Deadlines, Rule},
    endpoint::socket_path,
    error::Error,
    handshake::Handshake,
    optional::{Answer, Event, Events, Lists, POLLING, PodStats, Streams},
};
use crate::{
    ApiVersion,
    node::node_client::NodeClient,
    v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// The largest message either side sends, in bytes: what the kubelet allows.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// How long connecting, and agreeing on a version, may take each.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the CRI's RuntimeService.
pub type RuntimeClient = RuntimeServiceClient<Connection>;

/// A client of the CRI's ImageService.
pub type ImageClient = ImageServiceClient<Connection>;

/// Connects to the runtime behind `endpoint` (see [`socket_path`]) and agrees on the newest version both know.
///
/// # Errors
/// [`Error`], naming the socket: the endpoint is malformed, nothing listens there, or no version fits.
pub async fn connect(endpoint: &str) -> Result<Connection, Error> {
    dial::open(endpoint, &ApiVersion::ALL, Handshake::Version).await
}

/// As [`connect`], with a version and no other.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as(endpoint: &str, version: ApiVersion) -> Result<Connection, Error> {
    dial::open(endpoint, &[version], Handshake::Version).await
}

/// As [`connect`], to an endpoint that may have the ImageService alone.
///
/// # Errors
/// As [`connect`].
pub async fn connect_images(endpoint: &str) -> Result<Connection, Error> {
    dial::open(endpoint, &ApiVersion::ALL, Handshake::ImageFsInfo).await
}

/// A client of the CRI's RuntimeService that takes messages up to [`MAX_MESSAGE`].
pub fn runtime(connection: Connection) -> RuntimeClient {
    RuntimeServiceClient::new(connection).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// A client of the CRI's ImageService that takes messages up to [`MAX_MESSAGE`].
pub fn images(connection: Connection) -> ImageClient {
    ImageServiceClient::new(connection).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// A client of cortend's own service that takes messages up to [`MAX_MESSAGE`].
pub fn node(connection: Connection) -> NodeClient<Connection> {
    NodeClient::new(connection).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// Whether a runtime says that it has no such RPC.
pub fn is_unimplemented(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}

#[cfg(test)]
mod tests;
