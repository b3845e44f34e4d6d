//! RunPodSandbox

use std::sync::Arc;

use corten_cri::v1;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::pod;
use crate::pod::config::PodConfig;

/// Runs a pod sandbox, or joins or acknowledges the run that made it.
pub async fn handle(node: &Arc<Node>, request: v1::RunPodSandboxRequest) -> Result<v1::RunPodSandboxResponse> {
    let v1::RunPodSandboxRequest { config, runtime_handler } = request;
    let config = config.ok_or_else(|| Error::invalid("config", "", "must be set"))?;
    let pod_sandbox_id = pod::run::run(node, PodConfig::from_cri(config)?, runtime_handler).await?;
    Ok(v1::RunPodSandboxResponse { pod_sandbox_id })
}
