//! Exec

use corten_cri::v1;
use corten_streaming::remote_command::Wanted;

use crate::container::process;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::rpc::streams;
use crate::streaming::Request;

/// Prepares a command in a running container; the client runs it at the URL.
pub async fn handle(node: &Node, request: v1::ExecRequest) -> Result<v1::ExecResponse> {
    let v1::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request;
    let container = node.containers.find(&container_id)?;
    if cmd.is_empty() {
        return Err(Error::invalid("cmd", "", "must not be empty"));
    }
    let wanted = streams::wanted(Wanted { stdin, stdout, stderr, tty })?;
    process::running(&container)?;
    let url = node.streaming.url(Request::Exec { container, command: cmd, wanted })?;
    Ok(v1::ExecResponse { url })
}
