//! What can go wrong with the bridge.

use std::io;
use std::path::PathBuf;

use super::super::{netlink, netns};

/// Why a pod could not be attached or detached, or the bridge not opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or argument is not valid.
    #[error("bridge network: {key} `{value}`: {reason}")]
    Invalid {
        /// Which one.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is expected.
        reason: String,
    },
    /// A host port is in use by another pod.
    #[error("host port {port} is taken by sandbox {holder}")]
    HostPortTaken {
        /// Protocol, address and port.
        port: String,
        /// The sandbox that holds it.
        holder: String,
    },
    /// Every address is in use.
    #[error("no free address in {subnets}: {pods} pods have one")]
    PoolExhausted {
        /// The subnets.
        subnets: String,
        /// How many pods hold addresses.
        pods: usize,
    },
    /// There is a link of that name, of another kind.
    #[error("link {name} is there and is not a bridge")]
    NotABridge {
        /// The link.
        name: String,
    },
    /// A link that was just made is not there.
    #[error("link {link} has disappeared")]
    LinkMissing {
        /// The link.
        link: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The pod's network namespace could not be used.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// A file of ours, or a sysctl, could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A record is not what we wrote.
    #[error("record {}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }
}
