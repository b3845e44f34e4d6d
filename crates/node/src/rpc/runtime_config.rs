//! RuntimeConfig

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;

/// Tells the kubelet which cgroup driver to use.
pub async fn handle(_node: &Arc<Node>, request: v1::RuntimeConfigRequest) -> Result<v1::RuntimeConfigResponse> {
    let v1::RuntimeConfigRequest {} = request;
    let cgroup_driver = v1::CgroupDriver::Cgroupfs.into();
    Ok(v1::RuntimeConfigResponse { linux: Some(v1::LinuxRuntimeConfiguration { cgroup_driver }) })
}
