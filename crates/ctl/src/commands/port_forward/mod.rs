//! `corten port-forward`

mod connection;
mod listen;

use corten_cri::v1;
use corten_streaming::client::{self, PortForward as Session};
use tokio::{net::TcpStream, task::JoinSet};

use self::listen::Listener;
use super::{interrupt::Interrupt, known};
use crate::{args::PortForward, error::Error, output, remote::open, runtime::Runtime, table::short_id};

/// Forwards until somebody ends it.
pub async fn run(runtime: &Runtime, args: PortForward) -> Result<(), Error> {
    let pod_sandbox_id = known(runtime).await?.pod(&args.pod)?.id;
    let what = format!("forward ports of pod {}", short_id(&pod_sandbox_id));
    let interrupt = Interrupt::listen()?;
    let listeners = listen::all(&args.address, &args.ports).await?;
    let port = args.ports.iter().map(|ports| ports.remote.get().into()).collect();
    let request = v1::PortForwardRequest { pod_sandbox_id, port };
    let url = async || runtime.port_forward(request.clone()).await;
    let start = async |io, uri, transport| client::port_forward(io, &uri, transport).await;
    let session = open::open(&what, &args.streaming.into(), url, start).await?;
    for listener in &listeners {
        output::line(&format!("Forwarding from {} -> {}", listener.address, listener.remote))?;
    }
    tokio::select! {
        ended = serve(session, &what, listeners) => ended,
        () = interrupt.wanted() => Ok(()),
    }
}

/// Forwards every connection that comes. Returns only with an error: the session's end, or nobody reads our output.
async fn serve(mut session: Session, what: &str, listeners: Vec<Listener>) -> Result<(), Error> {
    let mut incoming = listen::accept(listeners);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = incoming.recv() => accepted,
            () = session.ended() => None,
            Some(_) = connections.join_next() => continue,
        };
        let lost = || Error::condition(what, "the streaming connection was lost");
        let (stream, remote, local) = accepted.ok_or_else(lost)?;
        output::line(&format!("Handling connection for {local}"))?;
        let forwarded = session.open(remote).await.map_err(|_| lost())?;
        connections.spawn(forward(stream, forwarded, local, remote));
    }
}

async fn forward(stream: TcpStream, forwarded: client::Forwarded, local: u16, remote: u16) {
    if let Some(why) = connection::forward(stream, forwarded).await {
        output::note(&format!("forward {local} -> {remote}: {why}"));
    }
}
