//! RuntimeConfig

use std::sync::Arc;

use corten_cri::v1;

use crate::error::Result;
use crate::node::Node;

/// Tells the kubelet which cgroup driver to use.
pub async fn handle(node: &Arc<Node>, request: v1::RuntimeConfigRequest) -> Result<v1::RuntimeConfigResponse> {
    let v1::RuntimeConfigRequest {} = request;
    let cgroup_driver = match node.driver.is_systemd() {
        true => v1::CgroupDriver::Systemd,
        false => v1::CgroupDriver::Cgroupfs,
    };
    let cgroup_driver = cgroup_driver.into();
    Ok(v1::RuntimeConfigResponse { linux: Some(v1::LinuxRuntimeConfiguration { cgroup_driver }) })
}
