//! Bodies that come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame};

use super::sending::Sending;

/// What one side sends, as it comes. Dropped before its end, the call is cancelled.
pub(super) struct Incoming {
    stream: RecvStream,
    next: Next,
    /// What sends the request that this answers.
    _sending: Option<Sending>,
}

/// What may come.
#[derive(Clone, Copy)]
enum Next {
    Data,
    Trailers,
    Nothing,
}

impl Incoming {
    /// A request's.
    pub(super) fn request(stream: RecvStream) -> Self {
        Self { stream, next: Next::Data, _sending: None }
    }

    /// An answer's, with what still sends the request.
    pub(super) fn answer(stream: RecvStream, sending: Option<Sending>) -> Self {
        Self { _sending: sending, ..Self::request(stream) }
    }

    fn failed(&mut self, error: h2::Error) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.next = Next::Nothing;
        // The other side wants no more of a body whose end does not matter to it (RFC 9113, section 8.1).
        Poll::Ready(if error.reason() == Some(Reason::NO_ERROR) { None } else { Some(Err(error)) })
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Next::Data = self.next {
            match ready!(self.stream.poll_data(context)) {
                // It is taken: who sends may send as much again.
                Some(Ok(data)) => match self.stream.flow_control().release_capacity(data.len()) {
                    Ok(()) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return self.failed(error),
                },
                Some(Err(error)) => return self.failed(error),
                None => self.next = Next::Trailers,
            }
        }
        if let Next::Trailers = self.next {
            match ready!(self.stream.poll_trailers(context)) {
                Ok(trailers) => {
                    self.next = Next::Nothing;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Err(error) => return self.failed(error),
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
