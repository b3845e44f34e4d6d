//! The Container Runtime Interface: messages, services and their version history. No daemon code.

mod api_version;
pub mod client;
pub mod history;
pub mod socket;
pub mod survey;
mod text_or_bytes;
pub mod unimplemented;
pub mod wire;

pub use api_version::ApiVersion;

/// `runtime.v1`: the CRI's messages, its two services and their clients.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// `corten.v1`: what `corten` asks of `cortend` beyond the CRI.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod node {
    tonic::include_proto!("corten.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of both packages: what server reflection serves and what the
/// comparison with the version history reads.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
