//! Which transport a session is spoken over.

use std::path::PathBuf;

use clap::ValueEnum;
use corten_streaming::client::{self, Transport};
use http::Uri;

use super::connect::{Stream, Target};
use crate::error::Error;

/// Which transports to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Choice {
    /// WebSocket, and SPDY if the server refuses that.
    #[default]
    Auto,
    /// WebSocket only.
    Websocket,
    /// SPDY/3.1 only.
    Spdy,
}

impl Choice {
    fn transports(self) -> (Transport, Option<Transport>) {
        match self {
            Self::Auto => (Transport::WebSocket, Some(Transport::Spdy)),
            Self::Websocket => (Transport::WebSocket, None),
            Self::Spdy => (Transport::Spdy, None),
        }
    }
}

/// How to reach a streaming server.
#[derive(Debug, Clone)]
pub struct Way {
    /// Which transports to try.
    pub choice: Choice,
    /// A PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// Opens a session. `url` asks the runtime for a URL, which is good for one attempt; `start` speaks over a connection to
/// it. A server that refuses the first transport is asked for the second.
///
/// # Errors
/// What `url` says, why there is no connection, or (`what` was attempted) why there is no session.
pub async fn open<S>(
    what: &str,
    way: &Way,
    url: impl AsyncFn() -> Result<String, Error>,
    start: impl AsyncFn(Box<dyn Stream>, Uri, Transport) -> Result<S, client::Error>,
) -> Result<S, Error> {
    let attempt = async |transport| {
        let target = Target::parse(&url().await?)?;
        let stream = target.connect(way.ca.as_deref()).await?;
        Ok::<_, Error>(start(stream, target.uri, transport).await)
    };
    let (first, second) = way.choice.transports();
    let result = match (attempt(first).await?, second) {
        (Err(client::Error::Refused { .. }), Some(second)) => attempt(second).await?,
        (result, _) => result,
    };
    result.map_err(|error| Error::condition(what, explain(way.choice, &error)))
}

fn explain(choice: Choice, error: &client::Error) -> String {
    match error {
        client::Error::Refused { status, .. } if choice == Choice::Websocket => {
            format!("the streaming server refuses WebSocket ({status}); --transport spdy may work")
        }
        client::Error::Refused { status, body } if body.is_empty() => format!("the streaming server answered {status}"),
        error => error.to_string(),
    }
}
