//! A client that sends what it likes, byte by byte.

use std::{io, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use corten_e2e::{
    cri::PATIENCE,
    streaming::{dial, uri},
};
use corten_streaming::{
    spdy::{
        Headers,
        frame::{Decoder as SpdyDecoder, Frame},
        header_block::Compressor,
    },
    websocket::{
        Role,
        frame::{Decoder as WebSocketDecoder, Frame as WebSocketFrame},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// After so long without a byte taken, the other end does not read.
const STALLED: Duration = Duration::from_millis(500);

/// How a flood of bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// All was taken.
    Taken,
    /// After so many bytes the other end has not taken any more, but is there.
    Stalled(usize),
    /// After so many bytes the other end was gone.
    Closed(usize),
}

/// A connection to the streaming server.
pub struct Raw {
    socket: TcpStream,
    input: BytesMut,
}

impl Raw {
    /// Connects to the server of a URL and says nothing.
    pub async fn connect(url: &str) -> Self {
        Self { socket: dial(url).await, input: BytesMut::new() }
    }

    /// Asks for an upgrade, and gets it.
    async fn upgrade(url: &str, method: &str, headers: &str) -> Self {
        let mut raw = Self::connect(url).await;
        let path = uri(url).path().to_owned();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n{headers}\r\n");
        raw.send(request.as_bytes()).await.unwrap();
        let answer = raw.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        raw
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.socket.write_all(bytes)).await.expect("the server takes nothing")
    }

    /// Sends a piece again and again until so many bytes are sent, or no more are taken.
    pub async fn flood(&mut self, piece: &[u8], length: usize) -> Flood {
        let mut sent = 0;
        while sent < length {
            let part = &piece[sent % piece.len()..];
            match timeout(STALLED, self.socket.write(part)).await {
                Ok(Ok(written)) => sent += written,
                Ok(Err(_)) => return Flood::Closed(sent),
                Err(_) => return Flood::Stalled(sent),
            }
        }
        Flood::Taken
    }

    /// Receives something more; whether the other end had something to say.
    pub async fn receive(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.input)).await.expect("the server says nothing");
        matches!(read, Ok(1..))
    }

    /// The head of an HTTP answer, or what there was of it when the connection was closed.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                return String::from_utf8_lossy(&self.input.split_to(end + 4)).into_owned();
            }
            if !self.receive().await {
                return String::from_utf8_lossy(&self.input).into_owned();
            }
        }
    }

    /// Whether these bytes are among what was received and not looked at.
    pub fn has_received(&self, bytes: &[u8]) -> bool {
        self.input.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Reads until the server has closed the connection.
    pub async fn closed(&mut self) {
        while self.receive().await {
            self.input.clear();
        }
    }

    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Vanishes by a reset.
    pub fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }
}

/// A client of SPDY.
pub struct Spdy {
    pub raw: Raw,
    compressor: Compressor,
    decoder: SpdyDecoder,
}

impl Spdy {
    /// Of the fourth version of exec and attach.
    pub async fn command(url: &str) -> Self {
        Self::upgrade(url, "v4.channel.k8s.io").await
    }

    /// Of port-forward.
    pub async fn port_forward(url: &str) -> Self {
        Self::upgrade(url, "portforward.k8s.io").await
    }

    async fn upgrade(url: &str, protocol: &str) -> Self {
        let headers = format!("Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n");
        let raw = Raw::upgrade(url, "POST", &headers).await;
        Self { raw, compressor: Compressor::new().unwrap(), decoder: SpdyDecoder::default() }
    }

    /// A frame that opens a stream.
    pub fn syn(&mut self, stream: u32, headers: &[(&str, &str)]) -> Frame {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let block = self.compressor.write(&headers.collect::<Headers>()).unwrap().into();
        Frame::SynStream { stream, associated: 0, priority: 0, fin: false, unidirectional: false, block }
    }

    /// Opens a stream of a command.
    pub async fn open(&mut self, stream: u32, kind: &str) {
        let frame = self.syn(stream, &[("streamtype", kind)]);
        self.frame(&frame).await;
    }

    /// Sends a frame.
    pub async fn frame(&mut self, frame: &Frame) {
        self.raw.send(&encoded(frame)).await.unwrap();
    }

    /// The next frame; none at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.raw.input).unwrap() {
                return Some(frame);
            }
            if !self.raw.receive().await {
                return None;
            }
        }
    }

    /// Reads until this frame comes.
    pub async fn until(&mut self, expected: &Frame) {
        while let Some(frame) = self.next().await {
            if frame == *expected {
                return;
            }
        }
        panic!("the connection was closed without {expected:?}");
    }

    /// Reads until these bytes, in however many frames, have come on a stream.
    pub async fn hears(&mut self, stream: u32, text: &[u8]) {
        let mut heard = Vec::new();
        while heard != text {
            match self.next().await {
                Some(Frame::Data { stream: on, bytes, .. }) if on == stream => heard.extend_from_slice(&bytes),
                Some(_) => {}
                None => panic!("the connection was closed after {heard:?}"),
            }
        }
    }

    /// Reads until the server has closed the connection for a violation of the protocol.
    pub async fn closed_for_a_violation(&mut self) {
        let mut last = None;
        while let Some(frame) = self.next().await {
            last = Some(frame);
        }
        assert!(matches!(last, Some(Frame::GoAway { status: 1, .. })), "{last:?}");
    }
}

/// A frame's bytes.
pub fn encoded(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.freeze()
}

/// A client of WebSocket.
pub struct WebSocket {
    pub raw: Raw,
    decoder: WebSocketDecoder,
}

impl WebSocket {
    /// With a subprotocol.
    pub async fn upgrade(url: &str, protocol: &str) -> Self {
        let headers = format!(
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n"
        );
        let raw = Raw::upgrade(url, "GET", &headers).await;
        Self { raw, decoder: WebSocketDecoder::new(Role::Client) }
    }

    /// The code that the server closes the connection with.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            let mut come = self.raw.input.split();
            let mut input = &mut come[..];
            while let Some(frame) = self.decoder.next(&mut input).unwrap() {
                if let WebSocketFrame::Close(close) = frame {
                    return close.expect("a code").code;
                }
            }
            assert!(self.raw.receive().await, "closed without a word");
        }
    }
}

/// A masked frame's header: its first byte, and a payload of this length. The mask is zero.
pub fn websocket_header(first: u8, length: u64) -> Bytes {
    let mut header = BytesMut::new();
    header.put_u8(first);
    match length {
        0..126 => header.put_u8(0x80 | length as u8),
        126..0x1_0000 => {
            header.put_u8(0x80 | 126);
            header.put_u16(length as u16);
        }
        _ => {
            header.put_u8(0x80 | 127);
            header.put_u64(length);
        }
    }
    header.put_u32(0);
    header.freeze()
}

/// A masked frame: its first byte and its payload.
pub fn websocket_frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&websocket_header(first, payload.len() as u64)[..]);
    frame.put_slice(payload);
    frame.freeze()
}
