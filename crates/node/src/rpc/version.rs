//! Version

use std::sync::Arc;

use corten_cri::{ApiVersion, v1};

use crate::error::Result;
use crate::node::Node;

/// What the kubelet requires the version of its own interface to be.
const KUBELET_API: &str = "0.1.0";

/// Names this runtime, and the version of the interface that the call is of. The version that the client says it speaks is
/// of no consequence.
pub async fn handle(_node: &Arc<Node>, called: ApiVersion, request: v1::VersionRequest) -> Result<v1::VersionResponse> {
    let v1::VersionRequest { version: _ } = request;
    Ok(v1::VersionResponse {
        version: KUBELET_API.into(),
        runtime_name: "corten".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: called.name().into(),
    })
}
