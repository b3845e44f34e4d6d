//! A request's body, looked at before it is decoded.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use corten_cri::client::MAX_MESSAGE;
use hyper::body::{Body, Frame, Incoming};

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A body of which the first message has been read. It still gives all of it.
pub struct Peeked {
    /// What has been read, as one piece: many small frames cost no more than their bytes.
    read: Bytes,
    /// What came instead of more data: trailers or an error.
    after: Option<Result<Frame<Bytes>, hyper::Error>>,
    rest: Incoming,
}

impl Peeked {
    /// Reads the first message, if there is a whole one that is neither compressed nor beyond [`MAX_MESSAGE`].
    pub async fn read(mut body: Incoming) -> (Self, Option<Bytes>) {
        let (mut read, mut after) = (BytesMut::new(), None);
        let all = loop {
            match length(&read) {
                Length::None => break None,
                Length::Bytes(all) if read.len() >= all => break Some(all),
                Length::Unknown | Length::Bytes(_) => {}
            }
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            match frame {
                Some(Ok(frame)) if frame.is_data() => read.extend(frame.into_data()),
                // No more data comes.
                other => {
                    after = other;
                    break None;
                }
            }
        };
        let read = read.freeze();
        let message = all.map(|all| read.slice(PREFIX..all));
        (Self { read, after, rest: body }, message)
    }
}

/// How many bytes the first message has, with its prefix.
enum Length {
    Unknown,
    None,
    Bytes(usize),
}

fn length(data: &[u8]) -> Length {
    let Some(&[compressed, a, b, c, d]) = data.first_chunk::<PREFIX>() else { return Length::Unknown };
    match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
        Ok(length) if compressed == 0 && length <= MAX_MESSAGE => Length::Bytes(PREFIX + length),
        _ => Length::None,
    }
}

impl Body for Peeked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        match self.after.take() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.after.is_none() && self.rest.is_end_stream()
    }
}
