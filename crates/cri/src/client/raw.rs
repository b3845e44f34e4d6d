//! Calls whose messages are bytes.

use std::time::Duration;

use http::uri::PathAndQuery;
use prost::bytes::{Buf, BufMut};
use tokio::time::timeout;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::{Connection, MAX_MESSAGE};

/// Messages as they are.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).into()))
    }
}

/// Calls `/package.Service/Method` with a message's bytes and returns those of the first that comes back.
///
/// # Errors
/// The server's, `DeadlineExceeded` when nothing has come within `limit`, `InvalidArgument` if the path is none.
pub async fn call(connection: &Connection, path: &str, message: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Status> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    // The request's own deadline ends with the answer's head, which a stream may send long before its first message.
    match timeout(limit, unary(connection, path, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {limit:?}"))),
    }
}

/// The same with a request that says itself how long it may take.
pub(crate) async fn unary(connection: &Connection, path: &str, request: Request<Vec<u8>>) -> Result<Vec<u8>, Status> {
    let (mut client, path) = client(connection, path).await?;
    Ok(client.unary(request, path, Raw).await?.into_inner())
}

/// The same for a stream of answers.
pub(crate) async fn stream(
    connection: &Connection,
    path: &str,
    message: Vec<u8>,
) -> Result<Streaming<Vec<u8>>, Status> {
    let (mut client, path) = client(connection, path).await?;
    Ok(client.server_streaming(Request::new(message), path, Raw).await?.into_inner())
}

async fn client(connection: &Connection, path: &str) -> Result<(Grpc<Connection>, PathAndQuery), Status> {
    let path = path.parse().map_err(|_| Status::invalid_argument(format!("{path:?} is not a path")))?;
    let mut client =
        Grpc::new(connection.clone()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    client.ready().await?;
    Ok((client, path))
}
