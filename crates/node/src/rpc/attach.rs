//! Attach

use corten_cri::v1;
use corten_streaming::remote_command::Wanted;

use crate::container::process;
use crate::error::Result;
use crate::node::Node;
use crate::rpc::streams;
use crate::streaming::Request;

/// Prepares the streams of a running container; the client is connected to them at the URL.
pub async fn handle(node: &Node, request: v1::AttachRequest) -> Result<v1::AttachResponse> {
    let v1::AttachRequest { container_id, stdin, tty, stdout, stderr } = request;
    let container = node.containers.find(&container_id)?;
    let wanted = streams::wanted(Wanted { stdin, stdout, stderr, tty })?;
    process::running(&container)?;
    let url = node.streaming.url(Request::Attach { container, wanted })?;
    Ok(v1::AttachResponse { url })
}
