//! The streaming server's configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The server for exec, attach and port-forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamingConfig {
    /// The address it listens on. The kubelet passes its clients on to it from the same node; elsewhere it should have TLS.
    pub address: IpAddr,
    /// Its port; 0 for any that is free.
    pub port: u16,
    /// The certificate chain (PEM) for TLS. With `tls_key`; without both there is no TLS. Both are read again when they change.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    pub tls_key: Option<PathBuf>,
    /// How long, in seconds, a session may go on with nothing sent either way.
    pub idle_timeout_seconds: u64,
    /// How long, in seconds, a process may go on when the client that ran it is gone. Its stdin, stdout and stderr are
    /// closed (its terminal is hung up) at once; then it is killed.
    pub abandoned_seconds: u64,
    /// The most bytes of a container's output that wait for an attached client to read them; then it is cut off.
    pub attach_buffer: usize,
}

impl Default for StreamingConfig {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tls_cert: None,
            tls_key: None,
            idle_timeout_seconds: 4 * 60 * 60,
            abandoned_seconds: 10,
            attach_buffer: 4 << 20,
        }
    }
}

impl StreamingConfig {
    /// [`StreamingConfig::idle_timeout_seconds`] as a duration.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_seconds)
    }

    /// [`StreamingConfig::abandoned_seconds`] as a duration.
    pub fn abandoned(&self) -> Duration {
        Duration::from_secs(self.abandoned_seconds)
    }
}
