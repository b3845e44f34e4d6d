//! The channels of `channel.k8s.io`: a message's first byte says which one it is for.
//!
//! In `base64.channel.k8s.io` it is a character, `'0'` and on, and the rest is base64: 80 channels can be named.

mod base64;
mod demultiplexer;
mod pongs;
mod reader;
mod writer;

use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use demultiplexer::{Demultiplexer, Event, Violation};

use crate::peer::Peer;
use crate::stream::{Budget, Command, Connection, Incoming, LINGER, Outgoing, queue};
use crate::websocket::frame::{Close, Role};
use pongs::Pongs;
use reader::{Ended, Reader};
use writer::Writer;

/// In v5, the first byte of a message whose second and last byte names a channel on which its sender has said its last word.
const CLOSE_SIGNAL: u8 = 255;

/// How bytes are put into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary messages.
    Binary,
    /// Text messages.
    Base64,
}

/// A version of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// What is sent. Any kind of message is taken.
    pub encoding: Encoding,
    /// Whether a client can say that a channel has ended (v5). Before that, a channel ends with the connection.
    pub close_signal: bool,
}

/// A connection with so many channels, and both halves of each, in order. A close frame that says that nothing went wrong is
/// the other end's last word on every channel. A [`Peer`] is needed to notice that the other end vanishes while
/// nobody takes what it has sent.
///
/// Must be called in a tokio runtime.
pub fn channels<T>(
    io: T,
    peer: Option<Peer>,
    role: Role,
    protocol: Protocol,
    count: u8,
) -> (Connection, Vec<(Incoming, Outgoing)>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, commands) = queue();
    let budget = Budget::new();
    let (inlets, halves) = (0..count)
        .map(|channel| {
            let (inlet, incoming) = budget.stream();
            (inlet, (incoming, Outgoing::new(channel.into(), sender.clone())))
        })
        .unzip();
    let (read, write) = tokio::io::split(io);
    let pongs = Arc::<Pongs>::default();
    let reader = Reader::new(read, peer, Demultiplexer::new(role, protocol, count), inlets, pongs.clone());
    let writer = Writer::new(write, role, protocol, pongs);
    (Connection::new(sender, drive(reader, writer, commands)), halves)
}

async fn drive<R, W>(mut reader: Reader<R>, mut writer: Writer<W>, commands: mpsc::Receiver<Command>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let read = {
        let mut reading = pin!(reader.run());
        tokio::select! {
            ended = &mut reading => Some((ended, true)),
            written = writer.run(commands) => match written {
                Ok(()) => None,
                // What the other end sent before it stopped reading can still be read.
                Err(_) => Some((reading.await, false)),
            },
        }
    };
    let Some((ended, writes)) = read else {
        reader.end(false);
        reader.await_close().await;
        let _ = writer.shutdown().await;
        return;
    };
    reader.end(matches!(&ended, Ended::Closed(close) if close.as_ref().is_none_or(Close::is_clean)));
    if !writes {
        return;
    }
    match ended {
        Ended::Lost => {}
        Ended::Closed(close) => {
            let _ = timeout(LINGER, writer.close(close.as_ref())).await;
        }
        Ended::Violated(violation) => {
            tracing::debug!(%violation, "a websocket connection is closed");
            let closing = async {
                let _ = writer.close(Some(&Close::new(violation.code(), violation.to_string()))).await;
                // A socket that is closed while something comes is reset, and the other end may not hear why.
                reader.drain().await;
            };
            let _ = timeout(LINGER, closing).await;
        }
    }
}

#[cfg(test)]
mod tests;
