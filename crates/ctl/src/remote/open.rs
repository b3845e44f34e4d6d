//! Which transport a session is spoken over.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use corten_streaming::client::{self, Transport};
use http::Uri;
use tokio::time::timeout;

use super::connect::{Stream, Target};
use crate::error::Error;

/// How long a server may take to open the streams.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let started = timeout(PATIENCE, start(stream, target.uri, transport)).await;
        started.map_err(|_| Error::condition(what, "the streaming server does not answer"))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::cell::Cell;

    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;

    /// Refuses every upgrade that is asked of it; what each asks for.
    async fn refuse(listener: TcpListener, times: usize) -> Vec<String> {
        let mut asked = Vec::new();
        for _ in 0..times {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut request).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            asked.push(request.to_ascii_lowercase());
        }
        asked
    }

    /// Opens a session with a server that refuses it; the error, what the server was asked, and the number of URLs.
    async fn refused(choice: Choice, times: usize) -> (String, Vec<String>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server: JoinHandle<_> = tokio::spawn(refuse(listener, times));
        let urls = Cell::new(0);
        let url = async || {
            urls.set(urls.get() + 1);
            Ok(format!("http://{address}/token{}", urls.get()))
        };
        let start = async |io, uri, transport| client::port_forward(io, &uri, transport).await;
        let error = open("try", &Way { choice, ca: None }, url, start).await.unwrap_err().to_string();
        (error, server.await.unwrap(), urls.get())
    }

    #[tokio::test]
    async fn a_server_that_refuses_websocket_is_asked_for_spdy_at_a_new_url() {
        let (error, asked, urls) = refused(Choice::Auto, 2).await;
        assert_eq!(error, "try: the streaming server answered 403 Forbidden");
        assert!(asked[0].starts_with("get /token1 ") && asked[0].contains("upgrade: websocket\r\n"), "{asked:?}");
        assert!(asked[1].starts_with("post /token2 ") && asked[1].contains("upgrade: spdy/3.1\r\n"), "{asked:?}");
        assert_eq!(urls, 2);
    }

    #[tokio::test]
    async fn a_transport_that_was_chosen_is_the_only_one() {
        let (error, asked, urls) = refused(Choice::Websocket, 1).await;
        assert!(error.contains("refuses WebSocket (403 Forbidden); --transport spdy may work"), "{error}");
        assert_eq!((asked.len(), urls), (1, 1));
        let (_, asked, urls) = refused(Choice::Spdy, 1).await;
        assert!(asked[0].starts_with("post "), "{asked:?}");
        assert_eq!(urls, 1);
    }
}
