//! Evidence from answers.

use tonic::Status;

use super::{Finding, LIMIT, Survey, path};
use crate::client::{Connection, raw};

/// An answer to a call that only reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The RPC, by `Service/Method`.
    pub rpc: &'static str,
    /// The answer's message.
    pub message: &'static str,
    /// The answer as it came.
    pub bytes: Vec<u8>,
}

/// Calls without arguments that change nothing, with the messages they answer with.
const READERS: [(&str, &str); 8] = [
    ("RuntimeService/Version", "VersionResponse"),
    ("RuntimeService/Status", "StatusResponse"),
    ("RuntimeService/RuntimeConfig", "RuntimeConfigResponse"),
    ("RuntimeService/ListPodSandbox", "ListPodSandboxResponse"),
    ("RuntimeService/ListContainers", "ListContainersResponse"),
    ("RuntimeService/ListPodSandboxStats", "ListPodSandboxStatsResponse"),
    ("ImageService/ListImages", "ListImagesResponse"),
    ("ImageService/ImageFsInfo", "ImageFsInfoResponse"),
];

impl Survey {
    /// Makes calls that only read, of RPCs that the runtime has, and keeps their answers.
    ///
    /// Returns those that the runtime refused.
    pub async fn listen(&mut self, connection: &Connection) -> Vec<(&'static str, Status)> {
        let mut refused = Vec::new();
        for (rpc, message) in READERS {
            if self.rpcs.get(rpc) != Some(&Finding::Has) {
                continue;
            }
            match raw::call(connection, &path(rpc), Vec::new(), LIMIT).await {
                Ok(bytes) => self.heard.push(Heard { rpc, message, bytes }),
                Err(status) => refused.push((rpc, status)),
            }
        }
        refused
    }
}
