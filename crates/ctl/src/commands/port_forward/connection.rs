//! One forwarded connection.

use std::{future::pending, io};

use bytes::BytesMut;
use corten_streaming::{
    client::Forwarded,
    stream::{CHUNK, Gone, Incoming, Outgoing},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

/// The most bytes of what the other side says went wrong.
const MAX_ERROR: usize = 4096;

/// Copies both ways until both sides have said everything, or one has gone. Returns what went wrong on the other side.
pub(super) async fn forward(mut stream: TcpStream, forwarded: Forwarded) -> Option<String> {
    let Forwarded { receive, send, error } = forwarded;
    let (local_read, local_write) = stream.split();
    // The error stream ends when the other side is done with the connection.
    let from_pod = async {
        let (received, ()) = tokio::try_join!(to_local(receive, local_write), failure(error))?;
        Ok(received?)
    };
    let end = tokio::select! {
        end = from_pod => end,
        end = to_pod(local_read, &send) => end,
    };
    let why = match end {
        Ok(()) => return None,
        // Whoever was connected here has gone, and needs no explanation.
        Err(Broken::Here) => None,
        Err(Broken::There) => Some(Gone.to_string()),
        Err(Broken::Said(why)) => Some(why),
    };
    send.reset().await;
    why
}

/// Which side broke off.
enum Broken {
    Here,
    There,
    /// The other side, with an explanation.
    Said(String),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Here
    }
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::There
    }
}

/// Returns when the other side has said everything or (inner error) breaks off, which its error stream may explain.
async fn to_local(mut receive: Incoming, mut local: WriteHalf<'_>) -> Result<Result<(), Gone>, Broken> {
    loop {
        match receive.next().await {
            Ok(Some(bytes)) => local.write_all(&bytes).await?,
            Ok(None) => break,
            Err(Gone) => return Ok(Err(Gone)),
        }
    }
    // It may have closed both ways already.
    let _ = local.shutdown().await;
    Ok(Ok(()))
}

/// Returns when the other side is done, as an error if it says that something went wrong.
async fn failure(mut error: Incoming) -> Result<(), Broken> {
    let said = error.collect(MAX_ERROR).await;
    if said.is_empty() { Ok(()) } else { Err(Broken::Said(String::from_utf8_lossy(&said).trim().to_owned())) }
}

/// Returns only on an error: that this side has said everything is not the end.
async fn to_pod(mut local: ReadHalf<'_>, send: &Outgoing) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if local.read_buf(&mut buffer).await? == 0 {
            break;
        }
        send.send(buffer.split().freeze()).await?;
    }
    send.finish().await?;
    pending().await
}
