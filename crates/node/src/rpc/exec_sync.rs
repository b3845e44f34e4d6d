//! ExecSync

use std::sync::Arc;
use std::time::Duration;

use corten_cri::v1;

use crate::container::exec;
use crate::error::{Error, Result};
use crate::node::Node;

/// Runs a command in a container and returns what it printed; `timeout` is in seconds, 0 for none.
pub async fn handle(node: &Arc<Node>, request: v1::ExecSyncRequest) -> Result<v1::ExecSyncResponse> {
    let v1::ExecSyncRequest { container_id, cmd, timeout } = request;
    let container = node.containers.find(&container_id)?;
    if cmd.is_empty() {
        return Err(Error::invalid("cmd", "", "must not be empty"));
    }
    let limit = u64::try_from(timeout).map_err(|_| Error::invalid("timeout", timeout, "must not be negative"))?;
    let limit = (limit > 0).then(|| Duration::from_secs(limit));
    let exec::Outcome { stdout, stderr, code } = exec::exec_sync(node, &container, &cmd, limit).await?;
    Ok(v1::ExecSyncResponse { stdout, stderr, exit_code: code })
}
