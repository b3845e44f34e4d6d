//! The bodies of what goes by.

use std::{
    error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::{
    grpc::{broken, framed, trailers},
    incoming::Incoming,
    relay::{Requests, Responses},
};

/// Why a body ends before its end. With an HTTP/2 reason among its causes, the stream is reset for that.
pub(super) type Error = Box<dyn error::Error + Send + Sync>;

/// What is sent to the runtime.
pub(super) enum Sent {
    /// The client's bytes as they come.
    Plain(Incoming),
    /// Message by message.
    Staged(Box<Requests>),
    /// One message of our own.
    Own(Option<Bytes>),
}

impl Sent {
    pub(super) fn own(message: &[u8]) -> Self {
        Self::Own(Some(framed(message)))
    }
}

/// What the client gets.
pub(super) enum Answered {
    /// The runtime's bytes as they come. A connection that breaks is told as a status.
    Plain(Incoming),
    /// Message by message.
    Staged(Box<Responses>),
    /// Nothing: all is in the headers.
    Nothing,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

impl Body for Sent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Plain(incoming) => Pin::new(incoming).poll_frame(context).map_err(Into::into),
            Self::Staged(requests) => Pin::new(requests.as_mut()).poll_frame(context),
            Self::Own(message) => Poll::Ready(message.take().map(|message| Ok(Frame::data(message)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(incoming) => incoming.is_end_stream(),
            Self::Staged(requests) => requests.is_end_stream(),
            Self::Own(message) => message.is_none(),
        }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Plain(incoming) => match ready!(Pin::new(incoming).poll_frame(context)) {
                Some(Err(error)) if !error.is_reset() => {
                    *self = Self::Nothing;
                    Poll::Ready(Some(Ok(Frame::trailers(trailers(&broken())))))
                }
                other => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            },
            Self::Staged(responses) => Pin::new(responses.as_mut()).poll_frame(context),
            Self::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(incoming) => incoming.is_end_stream(),
            Self::Staged(responses) => responses.is_end_stream(),
            Self::Nothing => true,
        }
    }
}
