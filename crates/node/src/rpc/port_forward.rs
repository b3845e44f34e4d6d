//! PortForward

use corten_cri::v1;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::streaming::Request;

/// Prepares connections to ports of a ready pod; the client asks for them at the URL.
pub async fn handle(node: &Node, request: v1::PortForwardRequest) -> Result<v1::PortForwardResponse> {
    let v1::PortForwardRequest { pod_sandbox_id, port } = request;
    let pod = node.pods.find(&pod_sandbox_id)?;
    let ports = port.into_iter().map(|port| {
        let number = u16::try_from(port).ok().filter(|port| *port > 0);
        number.ok_or_else(|| Error::invalid("port", port, "must be from 1 to 65535"))
    });
    let ports = ports.collect::<Result<Vec<_>>>()?;
    if pod.ready().is_none() {
        return Err(Error::Precondition(format!("pod sandbox {:?} is {}, not ready", pod.id, pod.state().name())));
    }
    let url = node.streaming.url(Request::PortForward { pod, ports })?;
    Ok(v1::PortForwardResponse { url })
}
