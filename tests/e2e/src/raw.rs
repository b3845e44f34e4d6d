//! Calls whose messages are bytes.

use bytes::{Buf, BufMut};
use tonic::{
    Request, Status,
    client::{Grpc, GrpcService},
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Body, Bytes, StdError},
};

/// Messages as they are.
#[derive(Debug, Default, Clone, Copy)]
struct Raw;

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

/// Calls `/package.Service/Method` with a message and returns the first one that comes back.
///
/// # Errors
/// The server's.
///
/// # Panics
/// If the path is none, or the connection is gone.
pub async fn call<T>(channel: T, path: &str, message: Vec<u8>) -> Result<Vec<u8>, Status>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError> + std::fmt::Debug,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let mut client = Grpc::new(channel);
    client.ready().await.expect("a connection");
    let path = path.parse().expect("a path");
    Ok(client.unary(Request::new(message), path, Raw).await?.into_inner())
}

/// A field of wire type LEN below others: the fields' numbers from the outermost, and what the innermost holds. Appended
/// to a message it adds to what is there, as the encoding says of a message that comes twice.
pub fn nested(numbers: &[u32], content: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(content.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        prost::encoding::encode_key(*number, prost::encoding::WireType::LengthDelimited, &mut outer);
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    })
}

/// A field of wire type VARINT.
pub fn varint(number: u32, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::uint64::encode(number, &value, &mut field);
    field
}
