//! A client of the channels of a WebSocket that is not ours.

use base64::{Engine, engine::general_purpose::STANDARD};
use corten_e2e::streaming::{LONG, dial};
use futures::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::CloseFrame},
};

/// A WebSocket client with channels.
pub struct Channels {
    socket: WebSocketStream<TcpStream>,
    base64: bool,
}

/// What came up to the end of a connection.
pub struct Heard {
    channels: [Vec<u8>; 8],
    /// The frame that closed the connection.
    pub close: Option<CloseFrame>,
}

impl Heard {
    /// What came on a channel.
    pub fn on(&self, channel: u8) -> &[u8] {
        &self.channels[usize::from(channel)]
    }

    /// The same as text.
    pub fn text(&self, channel: u8) -> String {
        String::from_utf8_lossy(self.on(channel)).into_owned()
    }

    fn add(&mut self, channel: u8, bytes: &[u8]) {
        self.channels[usize::from(channel)].extend_from_slice(bytes);
    }
}

impl Channels {
    /// Upgrades with this subprotocol, or none; the server must choose the same.
    pub async fn open(url: &str, protocol: Option<&'static str>) -> Self {
        let mut request = url.replacen("http", "ws", 1).into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
        }
        let (socket, answer) = client_async(request, dial(url).await).await.unwrap();
        let chosen = answer.headers().get("Sec-WebSocket-Protocol").map(|name| name.to_str().unwrap().to_owned());
        assert_eq!(chosen.as_deref(), protocol);
        Self { socket, base64: protocol.is_some_and(|name| name.contains("base64")) }
    }

    /// Sends a message on a channel.
    pub async fn say(&mut self, channel: u8, bytes: &[u8]) {
        let message = match self.base64 {
            true => Message::text(format!("{channel}{}", STANDARD.encode(bytes))),
            false => Message::binary([&[channel], bytes].concat()),
        };
        self.socket.send(message).await.unwrap();
    }

    /// Says by v5's signal that a channel has ended.
    pub async fn end(&mut self, channel: u8) {
        self.socket.send(Message::binary(vec![255, channel])).await.unwrap();
    }

    /// The next message: its channel and bytes; nothing at the end of the connection.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let message = timeout(LONG, self.socket.next()).await.expect("nothing comes");
        match message?.unwrap() {
            Message::Binary(bytes) => {
                assert!(!self.base64, "a binary message");
                Some((bytes[0], bytes[1..].to_vec()))
            }
            Message::Text(text) => {
                assert!(self.base64, "a text message");
                Some((text.as_bytes()[0] - b'0', STANDARD.decode(&text.as_bytes()[1..]).unwrap()))
            }
            other => panic!("neither data nor the end: {other:?}"),
        }
    }

    /// Listens to the end of the connection, after what has been heard before.
    pub async fn rest(&mut self) -> Heard {
        let mut heard = Heard { channels: Default::default(), close: None };
        while let Some(message) = timeout(LONG, self.socket.next()).await.expect("nothing comes") {
            match message.unwrap() {
                Message::Binary(bytes) if !self.base64 => heard.add(bytes[0], &bytes[1..]),
                Message::Text(text) if self.base64 => {
                    heard.add(text.as_bytes()[0] - b'0', &STANDARD.decode(&text.as_bytes()[1..]).unwrap());
                }
                Message::Close(close) => heard.close = close,
                other => panic!("neither data nor the end: {other:?}"),
            }
        }
        heard
    }

    /// Listens until this has come on a channel.
    pub async fn wait_for(&mut self, channel: u8, text: &str) {
        let mut come = Vec::new();
        while !String::from_utf8_lossy(&come).contains(text) {
            let (on, bytes) = self.next().await.unwrap_or_else(|| panic!("{text:?} does not come, but {come:?}"));
            if on == channel {
                come.extend_from_slice(&bytes);
            }
        }
    }

    /// Closes the connection and listens to its end.
    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while timeout(LONG, self.socket.next()).await.unwrap().is_some() {}
    }
}
