//! A request's body, looked at before it is decoded.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use corten_cri::client::MAX_MESSAGE;
use hyper::body::{Body, Frame, Incoming};

/// The bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A body of which the first message has been read. It still gives all of it.
pub struct Peeked {
    read: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    rest: Incoming,
}

impl Peeked {
    /// Reads the first message, if there is a whole one that is neither compressed nor beyond [`MAX_MESSAGE`].
    pub async fn read(mut body: Incoming) -> (Self, Option<Bytes>) {
        let (mut read, mut data) = (VecDeque::new(), Vec::new());
        let message = loop {
            match length(&data) {
                Length::Unknown => {}
                Length::None => break None,
                Length::Bytes(all) if size(&data) >= all => break Some(together(&data, all)),
                Length::Bytes(_) => {}
            }
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            let Some(frame) = frame else { break None };
            let bytes = frame.as_ref().ok().and_then(Frame::data_ref).cloned();
            read.push_back(frame);
            match bytes {
                Some(bytes) => data.push(bytes),
                // Trailers or an error: no more data comes.
                None => break None,
            }
        };
        (Self { read, rest: body }, message)
    }
}

/// How many bytes the first message has, with its prefix.
enum Length {
    Unknown,
    None,
    Bytes(usize),
}

fn length(data: &[Bytes]) -> Length {
    let mut prefix = data.iter().flat_map(|bytes| bytes.iter().copied()).take(PREFIX);
    let (Some(compressed), Some(a), Some(b), Some(c), Some(d)) =
        (prefix.next(), prefix.next(), prefix.next(), prefix.next(), prefix.next())
    else {
        return Length::Unknown;
    };
    match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
        Ok(length) if compressed == 0 && length <= MAX_MESSAGE => Length::Bytes(PREFIX + length),
        _ => Length::None,
    }
}

fn size(data: &[Bytes]) -> usize {
    data.iter().map(Bytes::len).sum()
}

/// The message in the first `all` bytes.
fn together(data: &[Bytes], all: usize) -> Bytes {
    let mut message = match data {
        [one] => one.slice(..all),
        several => {
            let mut joined = BytesMut::with_capacity(size(several));
            several.iter().for_each(|bytes| joined.extend_from_slice(bytes));
            joined.freeze().slice(..all)
        }
    };
    message.advance(PREFIX);
    message
}

impl Body for Peeked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }
}
